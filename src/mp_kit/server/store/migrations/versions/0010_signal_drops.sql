CREATE TABLE signal_drops (
  deployment_id TEXT NOT NULL,
  name TEXT NOT NULL,
  state TEXT DEFAULT 'awaited' NOT NULL,
  size_bytes BIGINT NOT NULL,
  sha256 TEXT NOT NULL,
  object_key TEXT NOT NULL,
  scope JSONB DEFAULT '{}'::jsonb NOT NULL,
  next_row BIGINT DEFAULT 0 NOT NULL,
  accepted BIGINT DEFAULT 0 NOT NULL,
  duplicates BIGINT DEFAULT 0 NOT NULL,
  conflicts BIGINT DEFAULT 0 NOT NULL,
  rejected BIGINT DEFAULT 0 NOT NULL,
  problems JSONB DEFAULT '[]'::jsonb NOT NULL,
  attempts INTEGER DEFAULT 0 NOT NULL,
  failure TEXT,
  announced_at TIMESTAMP WITH TIME ZONE NOT NULL,
  finished_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_signal_drops PRIMARY KEY (deployment_id, name),
  CONSTRAINT fk_signal_drops_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id),
  CONSTRAINT ck_signal_drops_state CHECK (state IN ('awaited', 'stored', 'failed')),
  CONSTRAINT ck_signal_drops_finished CHECK ((state = 'awaited') = (finished_at IS NULL))
);

CREATE INDEX ix_signal_drops_awaited ON signal_drops (announced_at) WHERE state = 'awaited';
