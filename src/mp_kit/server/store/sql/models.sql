-- name: catalog
-- Every model with a version in pilot or prod, prod first; measured columns are null until measured.
SELECT m.id, m.name, m.description, v.name AS vendor, m.task, shown.stage, m.created_at, m.updated_at, m.tags,
       shown.last_oos_sharpe, d.last_heartbeat_at, d.status, coalesce(d.deployment_count, 0) AS deployment_count,
       s.avg_confidence, s.total_predictions, s.supported_symbols, s.supported_timeframes
FROM models m
JOIN marketplace_vendors v ON v.id = m.vendor_id AND v.status = 'active'
JOIN LATERAL (
  SELECT mv.stage, mv.last_oos_sharpe FROM model_versions mv
  WHERE mv.model_id = m.id AND mv.stage IN ('pilot', 'prod')
  ORDER BY mv.stage = 'prod' DESC, mv.updated_at DESC LIMIT 1
) shown ON true
LEFT JOIN LATERAL (
  SELECT max(dep.last_heartbeat_at) AS last_heartbeat_at, count(*) AS deployment_count,
         (array_agg(dep.status ORDER BY dep.last_heartbeat_at DESC NULLS LAST))[1] AS status
  FROM deployments dep WHERE dep.model_id = m.id AND dep.vendor_id = m.vendor_id
) d ON true
LEFT JOIN LATERAL (
  SELECT avg(sig.confidence) AS avg_confidence, count(*) AS total_predictions,
         array_agg(DISTINCT sig.symbol ORDER BY sig.symbol) AS supported_symbols,
         array_agg(DISTINCT sig.timeframe ORDER BY sig.timeframe) AS supported_timeframes
  FROM signals sig
  JOIN deployments dep ON dep.id = sig.deployment_id AND dep.model_id = m.id
  WHERE sig.vendor_id = m.vendor_id
) s ON s.total_predictions > 0
ORDER BY m.created_at DESC, m.id;

-- name: own_models
-- A vendor's models, newest first, with the stage of the most advanced version.
SELECT m.id, m.name, m.description, m.task, m.created_at, m.updated_at, best.stage, best.versions
FROM models m
JOIN LATERAL (
  SELECT (array_agg(mv.stage ORDER BY array_position(ARRAY['prod', 'pilot', 'shadow', 'retired'], mv.stage)))[1] AS stage,
         count(*) AS versions
  FROM model_versions mv WHERE mv.model_id = m.id
) best ON best.versions > 0
WHERE m.vendor_id = :vendor_id
ORDER BY m.created_at DESC, m.id;
