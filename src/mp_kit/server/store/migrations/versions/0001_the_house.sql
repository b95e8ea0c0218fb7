-- Written once from store/tables/; never edited after a release: the next change is the next migration.

CREATE TABLE audit_log (
  id TEXT NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail JSONB DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT pk_audit_log PRIMARY KEY (id)
);

CREATE INDEX ix_audit_log_subject_at ON audit_log (subject, at);

CREATE TABLE consensus (
  event_time TIMESTAMP WITH TIME ZONE NOT NULL,
  symbol TEXT NOT NULL,
  timeframe TEXT NOT NULL,
  method TEXT NOT NULL,
  decision TEXT NOT NULL,
  confidence DOUBLE PRECISION NOT NULL,
  score DOUBLE PRECISION NOT NULL,
  signals INTEGER NOT NULL,
  contributions JSONB DEFAULT '{}'::jsonb NOT NULL,
  computed_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_consensus PRIMARY KEY (event_time, symbol, timeframe, method),
  CONSTRAINT ck_consensus_decision CHECK (decision IN ('BUY', 'SELL', 'HOLD')),
  CONSTRAINT ck_consensus_confidence CHECK (confidence >= 0 AND confidence <= 1)
);

CREATE INDEX ix_consensus_symbol_timeframe_event_time ON consensus (symbol, timeframe, event_time);

CREATE TABLE marketplace_vendors (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT DEFAULT 'active' NOT NULL,
  encrypted_connections JSONB DEFAULT '{}'::jsonb NOT NULL,
  session_epoch INTEGER DEFAULT '0' NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_marketplace_vendors PRIMARY KEY (id),
  CONSTRAINT ck_marketplace_vendors_status CHECK (status IN ('pending', 'active', 'suspended')),
  CONSTRAINT uq_marketplace_vendors_name UNIQUE (name)
);

CREATE TABLE reports (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  parameters JSONB DEFAULT '{}'::jsonb NOT NULL,
  object_key TEXT,
  flow_run_id TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  finished_at TIMESTAMP WITH TIME ZONE,
  failure TEXT,
  CONSTRAINT pk_reports PRIMARY KEY (id),
  CONSTRAINT ck_reports_status CHECK (status IN ('running', 'succeeded', 'failed'))
);

CREATE INDEX ix_reports_name_created_at ON reports (name, created_at);

CREATE TABLE signing_keys (
  id TEXT NOT NULL,
  public_key TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_signing_keys PRIMARY KEY (id)
);

CREATE TABLE dataset_rounds (
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT,
  schema_version TEXT DEFAULT '1.0.0' NOT NULL,
  is_current BOOLEAN DEFAULT false NOT NULL,
  fingerprint TEXT NOT NULL,
  files JSONB DEFAULT '[]'::jsonb NOT NULL,
  held_back JSONB DEFAULT '[]'::jsonb NOT NULL,
  metadata JSONB DEFAULT '{}'::jsonb NOT NULL,
  manifest BYTEA NOT NULL,
  manifest_sha256 TEXT NOT NULL,
  manifest_key_id TEXT NOT NULL,
  manifest_signature TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE,
  retired_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_dataset_rounds PRIMARY KEY (id),
  CONSTRAINT ck_dataset_rounds_current_is_not_retired CHECK (NOT (is_current AND retired_at IS NOT NULL)),
  CONSTRAINT uq_dataset_rounds_fingerprint UNIQUE (fingerprint),
  CONSTRAINT fk_dataset_rounds_manifest_key_id FOREIGN KEY(manifest_key_id) REFERENCES signing_keys (id)
);

CREATE INDEX ix_dataset_rounds_created_at ON dataset_rounds (created_at);

CREATE UNIQUE INDEX uq_dataset_rounds_current ON dataset_rounds (is_current) WHERE is_current;

CREATE TABLE models (
  id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT DEFAULT '' NOT NULL,
  task TEXT NOT NULL,
  tags JSONB DEFAULT '[]'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_models PRIMARY KEY (id),
  CONSTRAINT ck_models_task CHECK (task IN ('signal', 'consensus', 'optimizer')),
  CONSTRAINT uq_models_vendor_id_name UNIQUE (vendor_id, name),
  CONSTRAINT uq_models_id_vendor_id UNIQUE (id, vendor_id),
  CONSTRAINT fk_models_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE TABLE vendor_keys (
  id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  permissions JSONB DEFAULT '[]'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  last_used_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_vendor_keys PRIMARY KEY (id),
  CONSTRAINT fk_vendor_keys_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_vendor_keys_vendor_id ON vendor_keys (vendor_id);

CREATE TABLE dataset_grants (
  id TEXT NOT NULL,
  round_id TEXT NOT NULL,
  vendor_id TEXT,
  grantee TEXT NOT NULL,
  files JSONB DEFAULT '[]'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_dataset_grants PRIMARY KEY (id),
  CONSTRAINT fk_dataset_grants_round_id FOREIGN KEY(round_id) REFERENCES dataset_rounds (id),
  CONSTRAINT fk_dataset_grants_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_dataset_grants_vendor_id_created_at ON dataset_grants (vendor_id, created_at);

CREATE TABLE training_runs (
  id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  round_id TEXT NOT NULL,
  task TEXT NOT NULL,
  provider TEXT NOT NULL,
  state TEXT DEFAULT 'queued' NOT NULL,
  status TEXT GENERATED ALWAYS AS (CASE WHEN state IN ('launching') THEN 'queued' WHEN state IN ('finishing', 'cancelling') THEN 'running' ELSE state END) STORED NOT NULL,
  spec JSONB DEFAULT '{}'::jsonb NOT NULL,
  machine JSONB DEFAULT '{}'::jsonb NOT NULL,
  idempotency_key TEXT,
  body_sha256 TEXT NOT NULL,
  runpod_job_id TEXT,
  provider_ref TEXT,
  provider_data JSONB DEFAULT '{}'::jsonb NOT NULL,
  attempt INTEGER DEFAULT '0' NOT NULL,
  lock_token TEXT,
  locked_until TIMESTAMP WITH TIME ZONE,
  next_look_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  max_hours DOUBLE PRECISION,
  max_cost_usd NUMERIC(12, 4),
  price_per_hour NUMERIC(12, 6),
  cost_usd NUMERIC(12, 4),
  deadline_at TIMESTAMP WITH TIME ZONE,
  cancel_requested_at TIMESTAMP WITH TIME ZONE,
  last_heartbeat_at TIMESTAMP WITH TIME ZONE,
  progress JSONB DEFAULT '{}'::jsonb NOT NULL,
  metrics JSONB DEFAULT '{}'::jsonb NOT NULL,
  artifacts JSONB DEFAULT '{}'::jsonb NOT NULL,
  exit_code INTEGER,
  failure TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  started_at TIMESTAMP WITH TIME ZONE,
  finished_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_training_runs PRIMARY KEY (id),
  CONSTRAINT ck_training_runs_task CHECK (task IN ('signal', 'consensus', 'optimizer')),
  CONSTRAINT ck_training_runs_provider CHECK (provider IN ('runpod', 'byoc', 'local')),
  CONSTRAINT ck_training_runs_state CHECK (state IN ('queued', 'launching', 'running', 'finishing', 'succeeded', 'failed', 'cancelling', 'cancelled')),
  CONSTRAINT ck_training_runs_finished_when_final CHECK ((finished_at IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled'))),
  CONSTRAINT uq_training_runs_vendor_id_idempotency_key UNIQUE (vendor_id, idempotency_key),
  CONSTRAINT fk_training_runs_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id),
  CONSTRAINT fk_training_runs_round_id FOREIGN KEY(round_id) REFERENCES dataset_rounds (id)
);

CREATE INDEX idx_training_runs_status ON training_runs (status);

CREATE INDEX idx_training_runs_vendor_id ON training_runs (vendor_id, created_at);

CREATE INDEX ix_training_runs_due ON training_runs (next_look_at) WHERE state NOT IN ('succeeded', 'failed', 'cancelled');

CREATE TABLE model_versions (
  id TEXT NOT NULL,
  model_id TEXT NOT NULL,
  version TEXT NOT NULL,
  stage TEXT DEFAULT 'shadow' NOT NULL,
  run_id TEXT,
  hf_repo_id TEXT,
  last_oos_sharpe DOUBLE PRECISION,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_versions PRIMARY KEY (id),
  CONSTRAINT ck_model_versions_stage CHECK (stage IN ('shadow', 'pilot', 'prod', 'retired')),
  CONSTRAINT uq_model_versions_model_id_version UNIQUE (model_id, version),
  CONSTRAINT fk_model_versions_model_id FOREIGN KEY(model_id) REFERENCES models (id),
  CONSTRAINT fk_model_versions_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id)
);

CREATE UNIQUE INDEX uq_model_versions_prod ON model_versions (model_id) WHERE stage = 'prod';

CREATE TABLE run_artifacts (
  run_id TEXT NOT NULL,
  name TEXT NOT NULL,
  size_bytes BIGINT NOT NULL,
  sha256 TEXT NOT NULL,
  object_key TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  uploaded_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_run_artifacts PRIMARY KEY (run_id, name),
  CONSTRAINT fk_run_artifacts_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id)
);

CREATE TABLE run_events (
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  kind TEXT NOT NULL,
  letter TEXT,
  from_state TEXT,
  to_state TEXT,
  detail JSONB DEFAULT '{}'::jsonb NOT NULL,
  CONSTRAINT pk_run_events PRIMARY KEY (run_id, seq),
  CONSTRAINT fk_run_events_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id)
);

CREATE TABLE run_logs (
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  at TIMESTAMP WITH TIME ZONE NOT NULL,
  stream TEXT NOT NULL,
  text TEXT NOT NULL,
  CONSTRAINT pk_run_logs PRIMARY KEY (run_id, seq),
  CONSTRAINT ck_run_logs_stream CHECK (stream IN ('stdout', 'stderr', 'system')),
  CONSTRAINT fk_run_logs_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id)
);

CREATE TABLE deployments (
  id TEXT NOT NULL,
  vendor_id TEXT,
  name TEXT NOT NULL,
  provider TEXT NOT NULL,
  status TEXT DEFAULT 'pending' NOT NULL,
  model_id TEXT,
  version_id TEXT,
  endpoint TEXT,
  spec JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  last_heartbeat_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_deployments PRIMARY KEY (id),
  CONSTRAINT ck_deployments_status CHECK (status IN ('pending', 'ready', 'error', 'maintenance', 'offline')),
  CONSTRAINT ck_deployments_provider CHECK (provider IN ('runpod', 'byoc', 'local', 'house')),
  CONSTRAINT ck_deployments_only_house_has_no_vendor CHECK ((vendor_id IS NULL) = (id = 'house')),
  CONSTRAINT fk_deployments_model_id_vendor_id FOREIGN KEY(model_id, vendor_id) REFERENCES models (id, vendor_id),
  CONSTRAINT uq_deployments_vendor_id_name UNIQUE (vendor_id, name),
  CONSTRAINT uq_deployments_id_vendor_id UNIQUE (id, vendor_id),
  CONSTRAINT fk_deployments_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id),
  CONSTRAINT fk_deployments_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);

CREATE TABLE model_stage_history (
  version_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  from_stage TEXT,
  to_stage TEXT NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_stage_history PRIMARY KEY (version_id, seq),
  CONSTRAINT fk_model_stage_history_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);

CREATE TABLE deployment_heartbeats (
  id TEXT NOT NULL,
  deployment_id TEXT NOT NULL,
  status TEXT NOT NULL,
  timestamp TIMESTAMP WITH TIME ZONE NOT NULL,
  received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  metrics JSONB DEFAULT '{}'::jsonb NOT NULL,
  message TEXT,
  CONSTRAINT pk_deployment_heartbeats PRIMARY KEY (id),
  CONSTRAINT fk_deployment_heartbeats_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id)
);

CREATE INDEX ix_deployment_heartbeats_deployment_id_received_at ON deployment_heartbeats (deployment_id, received_at);

CREATE TABLE deployment_tokens (
  id TEXT NOT NULL,
  deployment_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  token_hash TEXT NOT NULL,
  scope JSONB DEFAULT '{}'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  revoked_at TIMESTAMP WITH TIME ZONE,
  last_used_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_deployment_tokens PRIMARY KEY (id),
  CONSTRAINT fk_deployment_tokens_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id)
);

CREATE INDEX idx_deployment_tokens_expires_at ON deployment_tokens (expires_at);

CREATE INDEX idx_deployment_tokens_vendor_id ON deployment_tokens (vendor_id);

CREATE INDEX ix_deployment_tokens_deployment_id ON deployment_tokens (deployment_id);

CREATE TABLE signal_batches (
  id BIGINT NOT NULL,
  deployment_id TEXT NOT NULL,
  idempotency_key TEXT,
  body_sha256 BYTEA NOT NULL,
  answer BYTEA,
  rows INTEGER NOT NULL,
  accepted INTEGER NOT NULL,
  first_event TIMESTAMP WITH TIME ZONE,
  last_event TIMESTAMP WITH TIME ZONE,
  received_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  blended_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_signal_batches PRIMARY KEY (id),
  CONSTRAINT uq_signal_batches_deployment_id_idempotency_key UNIQUE (deployment_id, idempotency_key),
  CONSTRAINT fk_signal_batches_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id)
);

CREATE INDEX ix_signal_batches_unblended ON signal_batches (id) WHERE blended_at IS NULL AND accepted > 0;

CREATE TABLE signals (
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
  rationale JSONB,
  metadata JSONB,
  CONSTRAINT ck_signals_confidence CHECK (confidence >= 0 AND confidence <= 1),
  CONSTRAINT ck_signals_decision CHECK (decision IN ('BUY', 'SELL', 'HOLD')),
  CONSTRAINT ck_signals_timeframe CHECK (timeframe IN ('1m', '5m', '15m', '1h', '4h', '1d')),
  CONSTRAINT ck_signals_attributed CHECK ((vendor_id IS NULL) = (deployment_id = 'house')),
  CONSTRAINT fk_signals_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id),
  CONSTRAINT uq_signals_identity UNIQUE (event_time, deployment_id, symbol, timeframe, model_version)
);

CREATE INDEX ix_signals_symbol_timeframe_event_time ON signals (symbol, timeframe, event_time);

CREATE INDEX ix_signals_vendor_id_event_time ON signals (vendor_id, event_time);

-- What the declared tables cannot say by themselves: triggers and the house deployment.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% can only grow', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_log_grows BEFORE UPDATE OR DELETE ON audit_log
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER model_stage_history_grows BEFORE UPDATE OR DELETE ON model_stage_history
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER run_events_grow BEFORE UPDATE ON run_events
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE FUNCTION keep_round() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.id, NEW.files, NEW.held_back, NEW.manifest, NEW.manifest_signature, NEW.fingerprint, NEW.created_at)
     IS DISTINCT FROM
     (OLD.id, OLD.files, OLD.held_back, OLD.manifest, OLD.manifest_signature, OLD.fingerprint, OLD.created_at) THEN
    RAISE EXCEPTION 'round % is published and cannot change', OLD.id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER dataset_rounds_stay BEFORE UPDATE ON dataset_rounds
  FOR EACH ROW EXECUTE FUNCTION keep_round();

-- The deployment that house signals belong to.
INSERT INTO deployments (id, name, provider, status) VALUES ('house', 'house signals', 'house', 'ready');
