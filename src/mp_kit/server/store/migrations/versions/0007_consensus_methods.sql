ALTER TABLE consensus
  ADD COLUMN late BOOLEAN DEFAULT false NOT NULL,
  ADD COLUMN deployment_id TEXT,
  ADD COLUMN vendor_id TEXT,
  ADD CONSTRAINT fk_consensus_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id);

CREATE TABLE consensus_settings (
  singleton BOOLEAN DEFAULT true NOT NULL,
  primary_method TEXT NOT NULL,
  changed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_consensus_settings PRIMARY KEY (singleton),
  CONSTRAINT ck_consensus_settings_one_row CHECK (singleton)
);

CREATE TABLE vendor_consensus_batches (
  id BIGINT NOT NULL,
  deployment_id TEXT NOT NULL,
  idempotency_key TEXT,
  body_sha256 BYTEA NOT NULL,
  answer BYTEA,
  accepted INTEGER NOT NULL,
  received_at TIMESTAMP WITH TIME ZONE NOT NULL,
  shown_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_vendor_consensus_batches PRIMARY KEY (id),
  CONSTRAINT uq_vendor_consensus_batches_deployment_id_idempotency_key UNIQUE (deployment_id, idempotency_key),
  CONSTRAINT fk_vendor_consensus_batches_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id)
);

CREATE INDEX ix_vendor_consensus_batches_unshown ON vendor_consensus_batches (id) WHERE shown_at IS NULL AND accepted > 0;

CREATE TABLE vendor_consensus (
  event_time TIMESTAMP WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP WITH TIME ZONE NOT NULL,
  ts TIMESTAMP WITH TIME ZONE NOT NULL,
  batch_id BIGINT NOT NULL,
  confidence DOUBLE PRECISION NOT NULL,
  row_no INTEGER NOT NULL,
  late BOOLEAN NOT NULL,
  deployment_id TEXT NOT NULL,
  vendor_id TEXT,
  model_id TEXT,
  symbol TEXT NOT NULL,
  timeframe TEXT NOT NULL,
  model_version TEXT NOT NULL,
  decision TEXT NOT NULL,
  contributions JSONB DEFAULT '{}'::jsonb NOT NULL,
  rationale JSONB,
  metadata JSONB,
  CONSTRAINT ck_vendor_consensus_confidence CHECK (confidence >= 0 AND confidence <= 1),
  CONSTRAINT ck_vendor_consensus_decision CHECK (decision IN ('BUY', 'SELL', 'HOLD')),
  CONSTRAINT ck_vendor_consensus_timeframe CHECK (timeframe IN ('1m', '5m', '15m', '1h', '4h', '1d')),
  CONSTRAINT ck_vendor_consensus_attributed CHECK ((vendor_id IS NULL) = (deployment_id = 'house')),
  CONSTRAINT fk_vendor_consensus_batch_id FOREIGN KEY(batch_id) REFERENCES vendor_consensus_batches (id),
  CONSTRAINT fk_vendor_consensus_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id),
  CONSTRAINT uq_vendor_consensus_identity UNIQUE (event_time, deployment_id, symbol, timeframe, model_version)
);

CREATE INDEX ix_vendor_consensus_batch_id ON vendor_consensus (batch_id);
