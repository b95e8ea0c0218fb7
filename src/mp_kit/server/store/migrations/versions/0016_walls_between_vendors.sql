-- Two roles. They belong to the cluster, not to the database: another marketplace, or the operator, may have made them.
-- mp_edge serves whoever is known, mp_public whoever is not; the former may become the latter, and has none of its rights
-- before it does (NOINHERIT). Without a password no managed server lets them in.
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mp_public') THEN
    CREATE ROLE mp_public NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mp_edge') THEN
    CREATE ROLE mp_edge LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- made by another database's migration meanwhile
END $$;

DO $$
BEGIN
  GRANT mp_public TO mp_edge;
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    GRANT mp_edge TO CURRENT_USER; -- so that an edge which logs in as the owner can act as the role
  END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL; -- somebody else's roles: who made them granted them, too
END $$;

DO $$
BEGIN
  IF NOT pg_has_role('mp_edge', 'mp_public', 'MEMBER') OR pg_has_role('mp_edge', 'mp_public', 'USAGE') THEN
    RAISE EXCEPTION 'mp_edge must be able to become mp_public, and not inherit from it'
      USING HINT = 'As who made them: REVOKE mp_public FROM mp_edge; ALTER ROLE mp_edge NOINHERIT; GRANT mp_public TO mp_edge;';
  END IF;
END $$;

-- Vendors with an enabled endpoint for a kind of event: every edge remembers them all.
CREATE FUNCTION mp_wanting(of_kind TEXT) RETURNS SETOF TEXT
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
  SELECT DISTINCT vendor_id FROM webhook_endpoints
  WHERE status = 'enabled' AND of_kind = ANY (events) AND vendor_id IS NOT NULL
$$;

-- Writes an event and its deliveries to the enabled endpoints that want it, whosever they are; where none does, nothing.
-- The edge tells of the vendor in its scope, and of what is public.
CREATE FUNCTION mp_emit_webhook(of_id TEXT, of_kind TEXT, of_vendor TEXT, of_body TEXT, house_only BOOLEAN)
RETURNS BIGINT LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE told BIGINT;
BEGIN
  IF 'mp_edge' IN (session_user, current_setting('role'))
     AND of_vendor <> coalesce(current_setting('mp.vendor_id', true), '') THEN
    RAISE EXCEPTION 'the event is another vendor''s' USING ERRCODE = 'insufficient_privilege';
  END IF;
  WITH wanting AS (
    SELECT id FROM webhook_endpoints
    WHERE status = 'enabled' AND of_kind = ANY (events) AND (of_vendor IS NULL OR vendor_id = of_vendor)
      AND (NOT house_only OR vendor_id IS NULL)
    FOR KEY SHARE -- one that is being removed is waited for, and then not there: the deed must not fail by it
  ), event AS (
    INSERT INTO webhook_events (id, type, vendor_id, body)
    SELECT of_id, of_kind, of_vendor, of_body WHERE EXISTS (SELECT FROM wanting)
    RETURNING id
  )
  INSERT INTO webhook_deliveries (id, event_id, endpoint_id)
  SELECT 'whd_' || left(md5(event.id || wanting.id), 20), event.id, wanting.id FROM event, wanting;
  GET DIAGNOSTICS told = ROW_COUNT;
  RETURN told;
END $$;

REVOKE ALL ON FUNCTION mp_wanting(TEXT), mp_emit_webhook(TEXT, TEXT, TEXT, TEXT, BOOLEAN) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mp_wanting(TEXT), mp_emit_webhook(TEXT, TEXT, TEXT, TEXT, BOOLEAN) TO mp_edge;

-- `vendor`: a row is its vendor's, in every scope that names a vendor. Each policy reads the scope once a statement, in a
-- sub-select, not once a row. Tables without a column for the vendor follow the row that they hang from: by a set where
-- a vendor has few of those (planners think an EXISTS for each row dear), row by row of its runs, which are many.
DO $$
DECLARE
  mine CONSTANT TEXT := '(SELECT current_setting(''mp.vendor_id'', true))';
  one TEXT;
  hung TEXT[];
BEGIN
  FOREACH one IN ARRAY ARRAY[
    'auth_codes', 'consensus', 'dataset_grants', 'deployment_tokens', 'deployments', 'device_logins', 'hostings', 'models',
    'poll_budgets', 'pollings', 'polls', 'reports', 'run_machines', 'sign_in_trips', 'signals', 'training_runs',
    'vendor_connections', 'vendor_consensus', 'vendor_data_keys', 'vendor_identities', 'vendor_keys',
    'webhook_endpoints', 'webhook_events']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one);
    EXECUTE format('CREATE POLICY vendor ON %I TO mp_edge USING (vendor_id = %s)', one, mine);
  END LOOP;
  FOREACH one IN ARRAY ARRAY['run_artifacts', 'run_events', 'run_logs', 'run_mirrors'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one);
    EXECUTE format('CREATE POLICY vendor ON %I TO mp_edge USING (EXISTS'
                   ' (SELECT FROM training_runs r WHERE r.id = run_id AND r.vendor_id = %s))', one, mine);
  END LOOP;
  FOREACH hung SLICE 1 IN ARRAY ARRAY[
    ['model_versions', 'model_id', 'models'], ['webhook_deliveries', 'endpoint_id', 'webhook_endpoints'],
    ['deployment_heartbeats', 'deployment_id', 'deployments'], ['model_scores', 'deployment_id', 'deployments'],
    ['signal_batches', 'deployment_id', 'deployments'], ['signal_chains', 'deployment_id', 'deployments'],
    ['signal_drops', 'deployment_id', 'deployments'], ['signal_receipts', 'deployment_id', 'deployments'],
    ['signal_rollups', 'deployment_id', 'deployments'], ['uncounted_batches', 'deployment_id', 'deployments'],
    ['vendor_consensus_batches', 'deployment_id', 'deployments']]
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', hung[1]);
    EXECUTE format('CREATE POLICY vendor ON %I TO mp_edge USING (%I IN (SELECT id FROM %I WHERE vendor_id = %s))',
                   hung[1], hung[2], hung[3], mine);
  END LOOP;
  FOREACH one IN ARRAY ARRAY['model_approvals', 'model_stage_history', 'model_validations'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', one);
    EXECUTE format('CREATE POLICY vendor ON %I TO mp_edge USING (version_id IN (SELECT v.id FROM model_versions v'
                   ' JOIN models m ON m.id = v.model_id WHERE m.vendor_id = %s))', one, mine);
  END LOOP;
END $$;

ALTER TABLE marketplace_vendors ENABLE ROW LEVEL SECURITY;
CREATE POLICY vendor ON marketplace_vendors TO mp_edge USING (id = (SELECT current_setting('mp.vendor_id', true)));
CREATE POLICY told ON webhook_events FOR SELECT TO mp_edge
  USING (EXISTS (SELECT FROM webhook_deliveries d WHERE d.event_id = webhook_events.id)); -- public ones that came to it
CREATE POLICY waiting ON device_logins TO mp_edge -- until somebody approves, a program is nobody's
  USING (vendor_id IS NULL AND (SELECT current_setting('mp.scope', true)) = 'vendor')
  WITH CHECK (vendor_id IS NULL OR vendor_id = (SELECT current_setting('mp.vendor_id', true)));

-- `public`, a role of its own, so that planners see its policies and no other: what the catalogue, a model's page, the
-- leaderboard, the consensus and the public reports read. Rows that are published, and columns that are shown: of
-- signals how many, when and about what, never what they say.
GRANT USAGE ON SCHEMA public TO mp_public;
GRANT SELECT ON alembic_version, consensus, consensus_settings, dataset_rounds, model_scores, model_stage_history,
  model_versions, models, reports, signal_rollups, signing_keys, uncounted_batches TO mp_public;
GRANT SELECT (id, name, status) ON marketplace_vendors TO mp_public;
GRANT SELECT (id, vendor_id, name, provider, status, model_id, version_id, created_at, last_heartbeat_at) ON deployments
  TO mp_public;
GRANT SELECT (deployment_id, status, received_at) ON deployment_heartbeats TO mp_public;
GRANT SELECT (deployment_id, kind, state, spec) ON hostings TO mp_public;
GRANT SELECT (id, deployment_id, accepted, received_at) ON signal_batches TO mp_public;
GRANT SELECT (event_time, batch_id, deployment_id, vendor_id, symbol, timeframe, confidence) ON signals TO mp_public;
GRANT SELECT (id, round_id, status, finished_at, provider) ON training_runs TO mp_public;

DO $$
DECLARE one TEXT;
BEGIN
  FOREACH one IN ARRAY ARRAY['consensus', 'marketplace_vendors', 'signal_batches', 'signal_rollups', 'signals',
                             'uncounted_batches'] LOOP
    EXECUTE format('CREATE POLICY public ON %I FOR SELECT TO mp_public USING (true)', one);
  END LOOP;
  FOREACH one IN ARRAY ARRAY['deployment_heartbeats', 'hostings', 'model_scores'] LOOP
    EXECUTE format('CREATE POLICY public ON %I FOR SELECT TO mp_public'
                   ' USING (deployment_id IN (SELECT id FROM deployments))', one);
  END LOOP;
END $$;
CREATE POLICY public ON reports FOR SELECT TO mp_public USING (audience = 'public');
CREATE POLICY public ON model_stage_history FOR SELECT TO mp_public
  USING (to_stage IN ('pilot', 'prod') OR from_stage IN ('pilot', 'prod'));
CREATE POLICY public ON model_versions FOR SELECT TO mp_public
  USING (stage <> 'shadow' OR id IN (SELECT version_id FROM model_stage_history)); -- once shown, whatever it is now
CREATE POLICY public ON models FOR SELECT TO mp_public
  USING (id IN (SELECT model_id FROM model_versions WHERE stage IN ('pilot', 'prod')));
CREATE POLICY public ON deployments FOR SELECT TO mp_public
  USING (model_id IN (SELECT model_id FROM model_versions WHERE stage IN ('pilot', 'prod')));
CREATE POLICY public ON training_runs FOR SELECT TO mp_public
  USING (id IN (SELECT run_id FROM model_versions));

-- `sign_in`: before it is known who somebody is, codes, keys and accounts are looked up by what was shown.
DO $$
DECLARE
  on_sign_in CONSTANT TEXT := 'CREATE POLICY sign_in ON %I TO mp_edge'
                              ' USING ((SELECT current_setting(''mp.scope'', true)) = ''sign_in'')';
  one TEXT;
BEGIN
  FOREACH one IN ARRAY ARRAY['auth_codes', 'deployment_tokens', 'device_logins', 'marketplace_vendors', 'sign_in_trips',
                             'vendor_identities', 'vendor_keys'] LOOP
    EXECUTE format(on_sign_in, one);
  END LOOP;
END $$;
CREATE POLICY sign_in ON deployments FOR SELECT TO mp_edge
  USING ((SELECT current_setting('mp.scope', true)) = 'sign_in');

-- `house`: the operator's requests to the edge read what is no credential, and write what belongs to no vendor.
DO $$
DECLARE
  house CONSTANT TEXT := '(SELECT current_setting(''mp.scope'', true)) = ''house''';
  one TEXT;
BEGIN
  FOREACH one IN ARRAY ARRAY[
    'consensus', 'deployment_heartbeats', 'deployments', 'hostings', 'marketplace_vendors', 'model_approvals', 'model_scores',
    'model_stage_history', 'model_validations', 'model_versions', 'models', 'reports', 'run_events', 'run_machines',
    'signal_batches', 'signal_chains', 'signal_drops', 'signal_receipts', 'signal_rollups', 'signals', 'training_runs',
    'uncounted_batches', 'vendor_consensus', 'vendor_consensus_batches', 'webhook_deliveries']
  LOOP
    EXECUTE format('CREATE POLICY house ON %I FOR SELECT TO mp_edge USING (%s)', one, house);
  END LOOP;
  FOREACH one IN ARRAY ARRAY['signal_batches', 'signal_chains', 'signal_drops', 'signal_receipts', 'signals',
                             'uncounted_batches', 'vendor_consensus', 'vendor_consensus_batches'] LOOP
    EXECUTE format('CREATE POLICY house_writes ON %I TO mp_edge USING (%s AND deployment_id = ''house'')', one, house);
  END LOOP;
END $$;

-- The audit log: the edge adds to it, under any scope, and the operator's pages read it.
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY told ON audit_log FOR INSERT TO mp_edge WITH CHECK (true);
CREATE POLICY house ON audit_log FOR SELECT TO mp_edge
  USING ((SELECT current_setting('mp.scope', true)) = 'house');
CREATE TRIGGER audit_log_stays BEFORE TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What the role may do at all. Partitions of signals have no grant: they are reached through their parent and its policies.
GRANT USAGE ON SCHEMA public TO mp_edge;
GRANT SELECT ON
  alembic_version, audit_log, auth_codes, consensus, consensus_settings, dataset_grants, dataset_rounds, deployment_heartbeats,
  deployment_tokens, deployments, device_logins, hostings, marketplace_vendors, model_approvals, model_scores,
  model_stage_history, model_validations, model_versions, models, poll_budgets, pollings, polls, reports, run_artifacts,
  run_events, run_logs, run_machines, sign_in_trips, signal_batches, signal_chains, signal_drops, signal_receipts,
  signal_rollups, signals, signing_keys, training_runs, uncounted_batches, vendor_connections, vendor_consensus,
  vendor_consensus_batches, vendor_data_keys, vendor_identities, vendor_keys, webhook_deliveries, webhook_endpoints,
  webhook_events TO mp_edge;
GRANT INSERT ON
  audit_log, auth_codes, dataset_grants, deployment_heartbeats, deployment_tokens, deployments, device_logins, hostings,
  model_stage_history, model_validations, model_versions, models, pollings, run_artifacts, run_events, run_logs,
  sign_in_trips, signal_batches, signal_chains, signal_drops, signal_receipts, signals, signing_keys, training_runs,
  uncounted_batches, vendor_connections, vendor_consensus, vendor_consensus_batches, vendor_data_keys, vendor_identities,
  vendor_keys, webhook_deliveries, webhook_endpoints, webhook_events TO mp_edge;
GRANT UPDATE ON
  auth_codes, deployment_tokens, deployments, device_logins, hostings, marketplace_vendors, model_versions, models,
  pollings, run_artifacts, run_machines, signal_chains, signal_drops, training_runs, vendor_connections,
  vendor_consensus_batches, vendor_data_keys, vendor_identities, vendor_keys, webhook_deliveries, webhook_endpoints
  TO mp_edge;
GRANT DELETE ON
  auth_codes, device_logins, sign_in_trips, vendor_connections, vendor_data_keys, vendor_identities,
  webhook_endpoints TO mp_edge;
