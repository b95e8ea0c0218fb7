-- name: catalog
-- Every model with a version in pilot or prod; measured columns are null until measured. Signals are summed out of the
-- rollups, and out of the few batches that no rollup has yet: what is shown is exact at any time.
WITH told AS MATERIALIZED (
  SELECT deployment_id, symbol, timeframe, confidence, predictions FROM signal_rollups
  UNION ALL
  SELECT sig.deployment_id, sig.symbol, sig.timeframe, sum(sig.confidence), count(*)
  FROM uncounted_batches u JOIN signals sig ON sig.event_time BETWEEN u.first_event AND u.last_event
                                           AND sig.deployment_id = u.deployment_id AND sig.batch_id = u.batch_id
  GROUP BY sig.deployment_id, sig.symbol, sig.timeframe
), measured AS (
  SELECT dep.model_id, sum(told.confidence) / sum(told.predictions)::float8 AS avg_confidence,
         sum(told.predictions)::bigint AS total_predictions,
         array_agg(DISTINCT told.symbol ORDER BY told.symbol) AS supported_symbols,
         array_agg(DISTINCT told.timeframe ORDER BY told.timeframe) AS supported_timeframes
  FROM told JOIN deployments dep ON dep.id = told.deployment_id
  WHERE dep.model_id IS NOT NULL GROUP BY dep.model_id
), newest AS MATERIALIZED ( -- the newest scored round of every timeframe, as put_version_sharpe ranks them
  SELECT DISTINCT ON (s.timeframe) s.round_id
  FROM (SELECT DISTINCT timeframe, round_id FROM model_scores) s
  JOIN dataset_rounds r ON r.id = s.round_id AND r.retired_at IS NULL
  ORDER BY s.timeframe, r.created_at DESC, r.id
)
SELECT m.id, m.name, m.description, v.name AS vendor, m.task, shown.stage, m.created_at, m.updated_at, m.tags,
       shown.last_oos_sharpe, score.sharpe, score.hit_rate, d.last_heartbeat_at, d.status, coalesce(d.deployment_count, 0) AS deployment_count,
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
  SELECT ms.card -> 'sharpe' AS sharpe, ms.card -> 'hit_rate' AS hit_rate
  FROM deployments dep JOIN model_scores ms ON ms.deployment_id = dep.id JOIN dataset_rounds r ON r.id = ms.round_id
  LEFT JOIN newest n ON n.round_id = ms.round_id
  WHERE dep.model_id = m.id AND dep.vendor_id = m.vendor_id
  ORDER BY n.round_id IS NULL, CASE WHEN n.round_id IS NULL THEN r.created_at END DESC, ms.enough_data DESC,
           ms.bars DESC, dep.created_at, dep.id
  LIMIT 1
) score ON true
LEFT JOIN measured s ON s.model_id = m.id
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
