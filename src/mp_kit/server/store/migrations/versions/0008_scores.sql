CREATE TABLE model_scores (
  round_id TEXT NOT NULL,
  deployment_id TEXT NOT NULL,
  timeframe TEXT NOT NULL,
  enough_data BOOLEAN NOT NULL,
  reason TEXT,
  bars INTEGER NOT NULL,
  sharpe DOUBLE PRECISION,
  dsr DOUBLE PRECISION,
  card JSONB DEFAULT '{}'::jsonb NOT NULL,
  standing JSONB DEFAULT '{}'::jsonb NOT NULL,
  tries_by_round JSONB DEFAULT '{}'::jsonb NOT NULL,
  computed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_scores PRIMARY KEY (round_id, deployment_id),
  CONSTRAINT ck_model_scores_timeframe CHECK (timeframe IN ('1m', '5m', '15m', '1h', '4h', '1d')),
  CONSTRAINT fk_model_scores_round_id FOREIGN KEY(round_id) REFERENCES dataset_rounds (id),
  CONSTRAINT fk_model_scores_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id)
);

CREATE INDEX ix_model_scores_deployment_id_timeframe ON model_scores (deployment_id, timeframe);

CREATE TABLE signal_rollups (
  deployment_id TEXT NOT NULL,
  symbol TEXT NOT NULL,
  timeframe TEXT NOT NULL,
  predictions BIGINT NOT NULL,
  confidence DOUBLE PRECISION NOT NULL,
  CONSTRAINT pk_signal_rollups PRIMARY KEY (deployment_id, symbol, timeframe),
  CONSTRAINT fk_signal_rollups_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id)
);

CREATE TABLE uncounted_batches (
  batch_id BIGINT NOT NULL,
  deployment_id TEXT NOT NULL,
  first_event TIMESTAMP WITH TIME ZONE NOT NULL,
  last_event TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_uncounted_batches PRIMARY KEY (batch_id),
  CONSTRAINT fk_uncounted_batches_batch_id FOREIGN KEY(batch_id) REFERENCES signal_batches (id)
);

-- What was pushed is counted later, and never forgotten: the note is part of the batch's own transaction.
CREATE FUNCTION note_uncounted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO uncounted_batches VALUES (NEW.id, NEW.deployment_id, NEW.first_event, NEW.last_event);
  RETURN NULL;
END $$;

CREATE TRIGGER signal_batches_count AFTER INSERT ON signal_batches
  FOR EACH ROW WHEN (NEW.accepted > 0) EXECUTE FUNCTION note_uncounted();

INSERT INTO uncounted_batches SELECT id, deployment_id, first_event, last_event FROM signal_batches WHERE accepted > 0;
