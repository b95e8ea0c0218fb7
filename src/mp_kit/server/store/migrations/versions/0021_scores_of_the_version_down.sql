CREATE OR REPLACE FUNCTION missing_gates(of_version TEXT, of_stage TEXT) RETURNS TEXT[]
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
