-- name: shown_model
-- A model for its page: to everybody with a version in pilot or prod, to its vendor in any case.
SELECT m.id, m.name, m.description, m.task, m.tags, m.vendor_id, v.name AS vendor, m.created_at, m.updated_at,
       shown.stage, shown.version
FROM models m JOIN marketplace_vendors v ON v.id = m.vendor_id
JOIN LATERAL (
  SELECT mv.stage, mv.version FROM model_versions mv WHERE mv.model_id = m.id
  ORDER BY array_position(ARRAY['prod', 'pilot', 'shadow', 'retired'], mv.stage), mv.updated_at DESC LIMIT 1
) shown ON true
WHERE m.id = :model_id
  AND (m.vendor_id = CAST(:viewer AS text) OR (v.status = 'active' AND shown.stage IN ('pilot', 'prod')));

-- name: shown_versions
-- Versions of a model with the run and the round that they came from; to the public those that were ever shown.
SELECT mv.id, mv.version, mv.stage, mv.created_at, mv.updated_at, mv.run_id, mv.hf_repo_id, r.round_id,
       d.name AS round, r.status AS run_status, r.finished_at, r.provider,
       (SELECT count(*) FROM deployments x WHERE x.version_id = mv.id) AS deployments
FROM model_versions mv
LEFT JOIN training_runs r ON r.id = mv.run_id
LEFT JOIN dataset_rounds d ON d.id = r.round_id
WHERE mv.model_id = :model_id
  AND (:everything OR EXISTS (SELECT 1 FROM model_stage_history h
                              WHERE h.version_id = mv.id AND h.to_stage IN ('pilot', 'prod')))
ORDER BY mv.created_at DESC, mv.id LIMIT 50;

-- name: shown_deployments
-- Deployments of a model with their counts: exact, out of the rollups and the batches that none has yet. Those that serve
-- a version in shadow are their vendor's alone. An endpoint whose last worker said goodbye sleeps, it is not offline.
SELECT d.id, d.name, d.provider, d.created_at, d.last_heartbeat_at, mv.version,
       CASE WHEN d.status = 'offline' AND h.kind = 'endpoint' AND h.state = 'running'
             AND coalesce((h.spec ->> 'workers_min')::int, 0) = 0 THEN 'asleep' ELSE d.status END AS status,
       (SELECT coalesce(sum(s.predictions), 0) FROM signal_rollups s WHERE s.deployment_id = d.id)
       + (SELECT coalesce(sum(b.accepted), 0) FROM uncounted_batches u JOIN signal_batches b ON b.id = u.batch_id
          WHERE u.deployment_id = d.id) AS signals
FROM deployments d LEFT JOIN model_versions mv ON mv.id = d.version_id LEFT JOIN hostings h ON h.deployment_id = d.id
WHERE d.model_id = :model_id AND (:everything OR d.version_id IS NULL OR mv.stage <> 'shadow')
ORDER BY d.last_heartbeat_at DESC NULLS LAST, d.created_at DESC, d.id LIMIT 20;

-- name: shown_hours
-- Which share of each hour of the last day a deployment was heard: a sign of life covers what follows for 150 s at most.
WITH beat AS (
  SELECT deployment_id, received_at,
         least(lead(received_at) OVER (PARTITION BY deployment_id ORDER BY received_at),
               received_at + interval '150 seconds', now()) AS until
  FROM deployment_heartbeats
  WHERE deployment_id = ANY(:ids) AND received_at >= date_trunc('hour', now()) - interval '23 hours' - interval '150 seconds'
    AND status <> 'offline'
), span AS (
  SELECT d.id AS deployment_id, hour, greatest(hour, d.created_at) AS since,
         least(hour + interval '1 hour', now()) AS until
  FROM deployments d, generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()),
                                      interval '1 hour') AS hour
  WHERE d.id = ANY(:ids) AND d.created_at < least(hour + interval '1 hour', now())
)
SELECT s.deployment_id, s.hour,
       least(1.0, coalesce(sum(extract(epoch FROM least(b.until, s.until) - greatest(b.received_at, s.since))), 0)
                  / greatest(extract(epoch FROM s.until - s.since), 1)) AS covered
FROM span s LEFT JOIN beat b ON b.deployment_id = s.deployment_id AND b.until > s.since AND b.received_at < s.until
GROUP BY s.deployment_id, s.hour, s.since, s.until
ORDER BY s.deployment_id, s.hour;

-- name: shown_symbols
-- What deployments spoke about: signals by symbol and timeframe, those of batches that no rollup has yet among them.
WITH told AS (
  SELECT symbol, timeframe, confidence, predictions FROM signal_rollups WHERE deployment_id = ANY(:ids)
  UNION ALL
  SELECT s.symbol, s.timeframe, s.confidence, s.predictions
  FROM uncounted_batches u JOIN deployments d ON d.id = u.deployment_id,
       LATERAL (SELECT x.symbol, x.timeframe, sum(x.confidence) AS confidence, count(*) AS predictions FROM signals x
                WHERE x.vendor_id = d.vendor_id AND x.event_time BETWEEN u.first_event AND u.last_event
                  AND x.deployment_id = u.deployment_id AND x.batch_id = u.batch_id
                GROUP BY x.symbol, x.timeframe OFFSET 0) s
  WHERE u.deployment_id = ANY(:ids)
)
SELECT symbol, timeframe, sum(predictions)::bigint AS signals, sum(confidence) / sum(predictions) AS confidence
FROM told
GROUP BY symbol, timeframe ORDER BY signals DESC, symbol, timeframe LIMIT 24;

-- name: shown_days
-- Signals received by day, the last thirty, out of the batches.
SELECT day, coalesce(sum(b.accepted), 0) AS signals
FROM generate_series(date_trunc('day', now()) - interval '29 days', date_trunc('day', now()), interval '1 day') AS day
LEFT JOIN signal_batches b ON b.deployment_id = ANY(:ids) AND b.received_at >= day
                          AND b.received_at < day + interval '1 day'
GROUP BY day ORDER BY day;

-- name: shown_history
-- Changes of stage, newest first; to the public those from when a version was first shown.
SELECT mv.version, h.from_stage, h.to_stage, h.at, CASE WHEN :everything THEN h.actor END AS actor,
       CASE WHEN :everything THEN h.reason END AS reason
FROM model_stage_history h JOIN model_versions mv ON mv.id = h.version_id
WHERE mv.model_id = :model_id
  AND (:everything OR h.to_stage IN ('pilot', 'prod') OR h.from_stage IN ('pilot', 'prod'))
ORDER BY h.at DESC, h.version_id, h.seq DESC LIMIT 30;

-- name: newest_bars
-- The newest blended bar of each symbol and timeframe, newest first; walks the index from pair to pair. Symbols of rounds come
-- before those that vendors alone speak of: nobody puts an invented one on top.
WITH RECURSIVE offered AS (
  SELECT DISTINCT file.value ->> 'symbol' AS symbol FROM dataset_rounds r, jsonb_array_elements(r.files) file
  WHERE r.retired_at IS NULL
), pair AS (
  (SELECT symbol, timeframe FROM consensus ORDER BY symbol, timeframe LIMIT 1)
  UNION ALL
  SELECT following.symbol, following.timeframe
  FROM pair, LATERAL (
    SELECT c.symbol, c.timeframe FROM consensus c WHERE (c.symbol, c.timeframe) > (pair.symbol, pair.timeframe)
    ORDER BY c.symbol, c.timeframe LIMIT 1
  ) following
)
SELECT bar.symbol, bar.timeframe, bar.event_time, bar.decision, bar.confidence, bar.signals, bar.late, bar.computed_at,
       ARRAY(SELECT DISTINCT v.name FROM jsonb_each(bar.contributions) part
             JOIN marketplace_vendors v ON v.id = part.value ->> 'vendor_id' ORDER BY 1) AS vendors
FROM pair JOIN LATERAL (
  SELECT c.* FROM consensus c
  WHERE c.symbol = pair.symbol AND c.timeframe = pair.timeframe AND c.method IN (:method, :fallback)
  ORDER BY c.event_time DESC, (c.method = :method) DESC LIMIT 1
) bar ON true
ORDER BY EXISTS (SELECT FROM offered WHERE offered.symbol = bar.symbol) DESC, bar.event_time DESC, bar.symbol, bar.timeframe
LIMIT :limit;

-- name: consensus_course
-- Decision and score of a symbol's last bars, newest first, by a method or by the fallback where that is silent.
SELECT DISTINCT ON (c.event_time) c.event_time, c.decision, c.score FROM consensus c
WHERE c.symbol = :symbol AND c.timeframe = :timeframe AND c.method IN (:method, :fallback)
ORDER BY c.event_time DESC, (c.method = :method) DESC LIMIT :limit;

-- name: catalog_page
-- A page of the models in pilot or prod that fit, each with how many fit in all. Signals, symbols and timeframes are
-- exact, as the API's catalogue has them: the rollups', and those of all batches that no rollup has yet. Those batches
-- are read for a page's own models; for all models only where a filter asks what they spoke about.
WITH shown AS (
  SELECT DISTINCT ON (model_id) model_id, stage, last_oos_sharpe FROM model_versions
  WHERE stage IN ('pilot', 'prod') ORDER BY model_id, stage = 'prod' DESC, updated_at DESC
), fresh AS MATERIALIZED (
  SELECT u.batch_id, u.deployment_id, d.vendor_id, d.model_id, u.first_event, u.last_event, b.accepted
  FROM uncounted_batches u JOIN signal_batches b ON b.id = u.batch_id JOIN deployments d ON d.id = u.deployment_id
), spans AS ( -- what a deployment's counted batches have in between is in the rollups
  SELECT deployment_id, model_id, min(first_event) AS first_event, max(last_event) AS last_event FROM fresh
  GROUP BY deployment_id, model_id
), spoken AS MATERIALIZED ( -- what no rollup knows: only where a filter asks, for it is read out of the index of all signals
  SELECT f.model_id, s.symbol, s.timeframe FROM spans f,
       LATERAL (SELECT DISTINCT x.symbol, x.timeframe FROM signals x
                WHERE x.event_time BETWEEN f.first_event AND f.last_event
                  AND x.deployment_id = f.deployment_id OFFSET 0) s
  WHERE (:symbol <> '' OR :timeframe <> '')
), fitting AS (
  SELECT d.model_id, k.symbol, k.timeframe FROM signal_rollups k JOIN deployments d ON d.id = k.deployment_id
  WHERE (:symbol <> '' OR :timeframe <> '')
  UNION ALL
  SELECT model_id, symbol, timeframe FROM spoken
), said AS (
  SELECT deployment_id, sum(signals) AS signals FROM (
    SELECT deployment_id, sum(predictions) AS signals FROM signal_rollups GROUP BY deployment_id
    UNION ALL
    SELECT deployment_id, sum(accepted) FROM fresh GROUP BY deployment_id
  ) both_kinds GROUP BY deployment_id
), placed AS (
  SELECT d.model_id, count(*) AS deployment_count, max(d.last_heartbeat_at) AS last_heartbeat_at,
         (array_agg(CASE WHEN d.status = 'offline' AND h.kind = 'endpoint' AND h.state = 'running'
               AND coalesce((h.spec ->> 'workers_min')::int, 0) = 0 THEN 'asleep' ELSE d.status END
                    ORDER BY d.last_heartbeat_at DESC NULLS LAST))[1] AS status, sum(said.signals) AS signals
  FROM deployments d LEFT JOIN said ON said.deployment_id = d.id LEFT JOIN hostings h ON h.deployment_id = d.id
  WHERE d.model_id IS NOT NULL GROUP BY d.model_id
), hits AS (
  SELECT DISTINCT ON (d.model_id) d.model_id, CAST(ms.card #>> '{hit_rate,value}' AS float8) AS hit_rate
  FROM model_scores ms JOIN deployments d ON d.id = ms.deployment_id JOIN dataset_rounds r ON r.id = ms.round_id
  WHERE :sort = 'hit_rate' AND d.model_id IS NOT NULL
  ORDER BY d.model_id, r.created_at DESC, ms.bars DESC, d.created_at, d.id
), page AS MATERIALIZED (
  SELECT m.id, m.name, v.name AS vendor, m.task, shown.stage, coalesce(placed.deployment_count, 0) AS deployment_count,
         placed.last_heartbeat_at, placed.status, coalesce(placed.signals, 0)::bigint AS signals,
         count(*) OVER () AS total,
         row_number() OVER (ORDER BY CASE WHEN :sort = 'sharpe' THEN shown.last_oos_sharpe END DESC NULLS LAST,
                                     CASE WHEN :sort = 'hit_rate' THEN hits.hit_rate END DESC NULLS LAST,
                                     CASE WHEN :sort = 'signals' THEN placed.signals END DESC NULLS LAST,
                                     CASE WHEN :sort = 'newest' THEN m.created_at END DESC NULLS LAST,
                                     lower(m.name), m.id) AS place
  FROM models m
  JOIN marketplace_vendors v ON v.id = m.vendor_id AND v.status = 'active'
  JOIN shown ON shown.model_id = m.id
  LEFT JOIN placed ON placed.model_id = m.id
  LEFT JOIN hits ON hits.model_id = m.id
  WHERE (:task = '' OR m.task = :task) AND (:stage = '' OR shown.stage = :stage)
    AND (:symbol = '' OR m.id IN (SELECT model_id FROM fitting WHERE symbol = :symbol))
    AND (:timeframe = '' OR m.id IN (SELECT model_id FROM fitting WHERE timeframe = :timeframe))
    AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:words AS text[])) AS word
                    WHERE position(word IN lower(concat_ws(' ', m.name, m.description, v.name, m.tags::text))) = 0)
  ORDER BY place LIMIT :limit OFFSET :offset
), topics AS (
  SELECT told.model_id, array_agg(DISTINCT told.symbol ORDER BY told.symbol) AS symbols,
         array_agg(DISTINCT told.timeframe ORDER BY told.timeframe) AS timeframes
  FROM (SELECT d.model_id, k.symbol, k.timeframe
        FROM page JOIN deployments d ON d.model_id = page.id JOIN signal_rollups k ON k.deployment_id = d.id
        UNION ALL
        SELECT f.model_id, s.symbol, s.timeframe
        FROM page JOIN spans f ON f.model_id = page.id AND :symbol = '' AND :timeframe = '',
             LATERAL (SELECT DISTINCT x.symbol, x.timeframe FROM signals x
                      WHERE x.event_time BETWEEN f.first_event AND f.last_event
                        AND x.deployment_id = f.deployment_id OFFSET 0) s
        UNION ALL
        SELECT spoken.model_id, spoken.symbol, spoken.timeframe FROM page JOIN spoken ON spoken.model_id = page.id) told
  GROUP BY told.model_id
)
SELECT page.id, page.name, page.vendor, page.task, page.stage, page.deployment_count, page.last_heartbeat_at,
       page.status, page.signals, coalesce(topics.symbols, '{}') AS symbols,
       coalesce(topics.timeframes, '{}') AS timeframes, page.total
FROM page LEFT JOIN topics ON topics.model_id = page.id ORDER BY page.place;

-- name: catalog_facets
-- How many models the public sees, and what their deployments spoke about, in batches that no rollup has yet as well:
-- these are searched only for what somebody has spoken about and no rollup of theirs knows. Walks the index of all
-- signals from pair to pair.
WITH RECURSIVE pair AS (
  (SELECT symbol, timeframe FROM signals ORDER BY symbol, timeframe LIMIT 1)
  UNION ALL
  SELECT following.symbol, following.timeframe
  FROM pair, LATERAL (
    SELECT s.symbol, s.timeframe FROM signals s WHERE (s.symbol, s.timeframe) > (pair.symbol, pair.timeframe)
    ORDER BY s.symbol, s.timeframe LIMIT 1
  ) following
), open AS (
  SELECT d.id, d.vendor_id FROM deployments d
  WHERE EXISTS (SELECT 1 FROM model_versions mv WHERE mv.model_id = d.model_id AND mv.stage IN ('pilot', 'prod'))
), counted AS MATERIALIZED (
  SELECT DISTINCT k.symbol, k.timeframe FROM signal_rollups k JOIN open ON open.id = k.deployment_id
), seen AS (
  SELECT symbol, timeframe FROM counted
  UNION ALL
  SELECT missing.symbol, missing.timeframe
  FROM (SELECT symbol, timeframe FROM pair EXCEPT SELECT symbol, timeframe FROM counted) missing
  WHERE EXISTS (SELECT 1 FROM uncounted_batches u JOIN open ON open.id = u.deployment_id JOIN signals s
                  ON s.symbol = missing.symbol AND s.timeframe = missing.timeframe
                 AND s.event_time BETWEEN u.first_event AND u.last_event
                 AND s.deployment_id = u.deployment_id AND s.batch_id = u.batch_id)
)
SELECT (SELECT count(*) FROM models m JOIN marketplace_vendors v ON v.id = m.vendor_id AND v.status = 'active'
        WHERE EXISTS (SELECT 1 FROM model_versions mv WHERE mv.model_id = m.id AND mv.stage IN ('pilot', 'prod')))
         AS models,
       ARRAY(SELECT DISTINCT symbol FROM seen ORDER BY symbol) AS symbols,
       ARRAY(SELECT DISTINCT timeframe FROM seen ORDER BY timeframe) AS timeframes;

-- name: catalog_scores
-- The numbers that the catalogue shows of these models, each with its interval: out of the newest round of each timeframe, as
-- last_oos_sharpe is; else out of an older one.
WITH newest AS (
  SELECT DISTINCT ON (s.timeframe) s.round_id
  FROM (SELECT DISTINCT timeframe, round_id FROM model_scores) s
  JOIN dataset_rounds r ON r.id = s.round_id AND r.retired_at IS NULL
  ORDER BY s.timeframe, r.created_at DESC, r.id
)
SELECT DISTINCT ON (d.model_id) d.model_id, ms.enough_data, ms.card -> 'sharpe' AS sharpe, ms.card -> 'hit_rate' AS hit_rate
FROM deployments d JOIN model_scores ms ON ms.deployment_id = d.id JOIN dataset_rounds r ON r.id = ms.round_id
LEFT JOIN newest n ON n.round_id = ms.round_id
WHERE d.model_id = ANY(:ids)
ORDER BY d.model_id, n.round_id IS NULL, CASE WHEN n.round_id IS NULL THEN r.created_at END DESC, ms.enough_data DESC, ms.bars DESC,
         d.created_at, d.id;
