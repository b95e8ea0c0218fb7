CREATE TABLE model_validations (
  version_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  digest TEXT NOT NULL,
  passed BOOLEAN NOT NULL,
  report JSONB DEFAULT '{}'::jsonb NOT NULL,
  actor TEXT NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_validations PRIMARY KEY (version_id, seq),
  CONSTRAINT uq_model_validations_version_id_digest UNIQUE (version_id, digest),
  CONSTRAINT fk_model_validations_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);

CREATE TABLE model_approvals (
  version_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  granted BOOLEAN NOT NULL,
  actor TEXT NOT NULL,
  why TEXT NOT NULL,
  at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_model_approvals PRIMARY KEY (version_id, seq),
  CONSTRAINT ck_model_approvals_why CHECK (length(why) > 0),
  CONSTRAINT fk_model_approvals_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);

CREATE TABLE hostings (
  deployment_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT DEFAULT 'queued' NOT NULL,
  wanted TEXT DEFAULT 'running' NOT NULL,
  spec JSONB DEFAULT '{}'::jsonb NOT NULL,
  attempt INTEGER DEFAULT 0 NOT NULL,
  failures INTEGER DEFAULT 0 NOT NULL,
  provider_ref TEXT,
  provider_data JSONB DEFAULT '{}'::jsonb NOT NULL,
  seen JSONB DEFAULT '{}'::jsonb NOT NULL,
  failure TEXT,
  token_id TEXT,
  lock_token TEXT,
  locked_until TIMESTAMP WITH TIME ZONE,
  next_look_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  launched_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_hostings PRIMARY KEY (deployment_id),
  CONSTRAINT ck_hostings_provider CHECK (provider IN ('runpod', 'local')),
  CONSTRAINT ck_hostings_kind CHECK (kind IN ('endpoint', 'pod', 'process')),
  CONSTRAINT ck_hostings_state CHECK (state IN ('queued', 'launching', 'running', 'ending', 'stopped', 'failed', 'removed')),
  CONSTRAINT ck_hostings_wanted CHECK (wanted IN ('running', 'stopped', 'removed')),
  CONSTRAINT fk_hostings_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id)
);

CREATE INDEX ix_hostings_due ON hostings (next_look_at) WHERE state NOT IN ('stopped', 'failed', 'removed');

CREATE INDEX ix_deployments_version_id ON deployments (version_id);

CREATE INDEX ix_deployment_heartbeats_received_at ON deployment_heartbeats (received_at);

CREATE TRIGGER model_validations_grow BEFORE UPDATE OR DELETE ON model_validations
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER model_approvals_grow BEFORE UPDATE OR DELETE ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER model_validations_stay BEFORE TRUNCATE ON model_validations
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER model_approvals_stay BEFORE TRUNCATE ON model_approvals
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER model_stage_history_stays BEFORE TRUNCATE ON model_stage_history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Which gates of a stage a version has not met, in the order in which people meet them. It reads the facts themselves:
-- the newest validation, the last heartbeat, the newest round's score, the newest word of the operator.
CREATE FUNCTION missing_gates(of_version TEXT, of_stage TEXT) RETURNS TEXT[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT coalesce(array_agg(gate ORDER BY place), '{}') FROM (
    SELECT 1 AS place, 'validated' AS gate WHERE of_stage = 'prod' AND NOT coalesce(
      (SELECT passed FROM model_validations WHERE version_id = of_version ORDER BY seq DESC LIMIT 1), false)
    UNION ALL
    SELECT 2, 'heartbeats' WHERE of_stage = 'prod' AND NOT EXISTS (
      SELECT FROM deployments WHERE version_id = of_version AND status = 'ready'
      AND last_heartbeat_at > now() - interval '150 seconds')
    UNION ALL
    SELECT 3, 'scores' WHERE of_stage = 'prod' AND NOT EXISTS (
      SELECT FROM deployments d JOIN model_scores s ON s.deployment_id = d.id
      WHERE d.version_id = of_version AND s.enough_data)
    UNION ALL
    SELECT 4, 'approval' WHERE of_stage = 'prod' AND NOT coalesce(
      (SELECT granted FROM model_approvals WHERE version_id = of_version ORDER BY seq DESC LIMIT 1), false)
  ) AS asked
$$;

CREATE FUNCTION refuse_ungated(of_version TEXT, of_stage TEXT) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE missing TEXT[] := missing_gates(of_version, of_stage);
BEGIN
  IF cardinality(missing) > 0 THEN
    RAISE EXCEPTION 'version % cannot go to %: not met: %', of_version, of_stage, array_to_string(missing, ', ')
      USING ERRCODE = 'restrict_violation';
  END IF;
END $$;

CREATE FUNCTION keep_stage() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF TG_OP = 'INSERT' OR (NEW.stage, NEW.id) IS DISTINCT FROM (OLD.stage, OLD.id) THEN
    PERFORM refuse_ungated(NEW.id, NEW.stage);
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER model_versions_gated BEFORE INSERT OR UPDATE ON model_versions
  FOR EACH ROW EXECUTE FUNCTION keep_stage();

CREATE FUNCTION keep_history() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  PERFORM refuse_ungated(NEW.version_id, NEW.to_stage);
  RETURN NEW;
END $$;

CREATE TRIGGER model_stage_history_gated BEFORE INSERT ON model_stage_history
  FOR EACH ROW EXECUTE FUNCTION keep_history();

-- Only who owns the table approves: the operator's own connection. The edge's role owns nothing.
CREATE FUNCTION owner_approves() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE') THEN
    RAISE EXCEPTION 'only the operator approves' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER model_approvals_are_the_operators BEFORE INSERT ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION owner_approves();
