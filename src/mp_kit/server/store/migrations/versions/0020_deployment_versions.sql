CREATE TABLE deployment_versions (
  deployment_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  model_id TEXT,
  version_id TEXT,
  since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_deployment_versions PRIMARY KEY (deployment_id, seq),
  CONSTRAINT fk_deployment_versions_deployment_id FOREIGN KEY(deployment_id) REFERENCES deployments (id),
  CONSTRAINT fk_deployment_versions_version_id FOREIGN KEY(version_id) REFERENCES model_versions (id)
);

-- Which model and version a deployment runs from now on: noted whoever says it, in the same transaction. The edge's role
-- cannot write here, so that nobody says afterwards what a deployment ran when it spoke.
CREATE FUNCTION note_deployment_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  INSERT INTO deployment_versions (deployment_id, seq, model_id, version_id, since)
  SELECT NEW.id, coalesce(max(seq), 0) + 1, NEW.model_id, NEW.version_id, clock_timestamp()
  FROM deployment_versions WHERE deployment_id = NEW.id;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION note_deployment_version() FROM PUBLIC;

INSERT INTO deployment_versions (deployment_id, seq, model_id, version_id, since)
SELECT id, 1, model_id, version_id, created_at FROM deployments;

CREATE TRIGGER deployments_versioned AFTER INSERT ON deployments
  FOR EACH ROW EXECUTE FUNCTION note_deployment_version();

CREATE TRIGGER deployments_reversioned AFTER UPDATE OF model_id, version_id ON deployments
  FOR EACH ROW WHEN ((OLD.model_id, OLD.version_id) IS DISTINCT FROM (NEW.model_id, NEW.version_id))
  EXECUTE FUNCTION note_deployment_version();

CREATE TRIGGER deployment_versions_grow BEFORE UPDATE OR DELETE ON deployment_versions
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

CREATE TRIGGER deployment_versions_stay BEFORE TRUNCATE ON deployment_versions
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE deployment_versions ENABLE ROW LEVEL SECURITY;

CREATE POLICY vendor ON deployment_versions TO mp_edge USING (deployment_id IN
  (SELECT id FROM deployments WHERE vendor_id = (SELECT current_setting('mp.vendor_id', true))));
