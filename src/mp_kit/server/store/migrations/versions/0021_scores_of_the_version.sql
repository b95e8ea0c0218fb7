-- Which gates of a stage a version has not met, as before, but for scores: one counts if all of its signals were entered
-- while the deployment ran this version, and if no newer round has scored its timeframe.
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
      SELECT FROM deployments d
      JOIN LATERAL (
        SELECT CASE WHEN v.seq > 1 THEN v.since ELSE '-infinity' END AS since FROM deployment_versions v
        WHERE v.deployment_id = d.id ORDER BY v.seq DESC LIMIT 1
      ) ran ON true
      JOIN model_scores s ON s.deployment_id = d.id AND s.enough_data
      JOIN dataset_rounds r ON r.id = s.round_id AND r.retired_at IS NULL
      WHERE d.version_id = of_version AND (s.card -> 'basis' ->> 'first')::timestamptz >= ran.since
        AND NOT EXISTS (
          SELECT FROM dataset_rounds n
          WHERE n.retired_at IS NULL AND (n.created_at > r.created_at OR (n.created_at = r.created_at AND n.id < r.id))
            AND EXISTS (SELECT FROM model_scores x WHERE x.round_id = n.id AND x.timeframe = s.timeframe)))
    UNION ALL
    SELECT 4, 'approval' WHERE of_stage = 'prod' AND NOT coalesce(
      (SELECT granted FROM model_approvals WHERE version_id = of_version ORDER BY seq DESC LIMIT 1), false)
  ) AS asked
$$;
