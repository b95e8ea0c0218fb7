CREATE TABLE signal_chains (
  deployment_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  head TEXT NOT NULL,
  key_id TEXT,
  CONSTRAINT pk_signal_chains PRIMARY KEY (deployment_id),
  CONSTRAINT fk_signal_chains_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id),
  CONSTRAINT fk_signal_chains_key_id FOREIGN KEY(key_id) REFERENCES signing_keys (id)
);

CREATE TABLE signal_receipts (
  deployment_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  batch_id BIGINT NOT NULL,
  payload TEXT NOT NULL,
  key_id TEXT NOT NULL,
  signature TEXT NOT NULL,
  CONSTRAINT pk_signal_receipts PRIMARY KEY (deployment_id, seq),
  CONSTRAINT fk_signal_receipts_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id),
  CONSTRAINT uq_signal_receipts_batch_id UNIQUE (batch_id),
  CONSTRAINT ck_signal_receipts_seq CHECK (seq > 0),
  CONSTRAINT fk_signal_receipts_key_id FOREIGN KEY(key_id) REFERENCES signing_keys (id)
);

CREATE TRIGGER signal_receipts_grow BEFORE UPDATE OR DELETE ON signal_receipts
  FOR EACH ROW EXECUTE FUNCTION refuse_change();
