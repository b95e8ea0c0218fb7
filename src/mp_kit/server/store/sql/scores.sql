-- name: count_batches
-- Adds batches that no rollup has yet to the rollups, once, and says how many; two at once share them.
WITH due AS (
  SELECT batch_id, deployment_id, first_event, last_event FROM uncounted_batches
  ORDER BY batch_id LIMIT :batches FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM uncounted_batches u USING due WHERE u.batch_id = due.batch_id
), added AS (
  INSERT INTO signal_rollups (deployment_id, symbol, timeframe, predictions, confidence)
  SELECT s.deployment_id, s.symbol, s.timeframe, count(*), sum(s.confidence)
  FROM due JOIN signals s ON s.event_time BETWEEN due.first_event AND due.last_event
                         AND s.deployment_id = due.deployment_id AND s.batch_id = due.batch_id
  GROUP BY s.deployment_id, s.symbol, s.timeframe ORDER BY s.deployment_id, s.symbol, s.timeframe
  ON CONFLICT (deployment_id, symbol, timeframe) DO UPDATE
  SET predictions = signal_rollups.predictions + excluded.predictions,
      confidence = signal_rollups.confidence + excluded.confidence
)
SELECT count(*) FROM due;

-- name: newest_rounds
-- The newest published round of each timeframe, with its manifest.
SELECT DISTINCT ON (convert_from(manifest, 'UTF8')::jsonb ->> 'timeframe') id, manifest
FROM dataset_rounds WHERE retired_at IS NULL
ORDER BY convert_from(manifest, 'UTF8')::jsonb ->> 'timeframe', created_at DESC, id;

-- name: copy_statements
-- All that was said about bars of a timeframe since an instant, as CSV; last, whether the consensus hears it: as
-- bar_voices has it, if its version, or else the one that its deployment ran then, was in pilot or prod when it was received,
-- or it is the house's own. In spans, for these are all signals; of a clock that went back the later instant holds.
COPY (
  WITH counted AS MATERIALIZED (
    SELECT version_id, since, until FROM (
      SELECT version_id, to_stage, at AS since,
             lead(at, 1, 'infinity'::timestamptz) OVER (PARTITION BY version_id ORDER BY seq) AS until
      FROM model_stage_history
    ) stages WHERE to_stage IN ('pilot', 'prod')
  ), ran AS MATERIALIZED (
    SELECT deployment_id, model_id, version_id, CASE WHEN seq = 1 THEN '-infinity' ELSE since END AS since,
           lead(since, 1, 'infinity'::timestamptz) OVER (PARTITION BY deployment_id ORDER BY seq) AS until
    FROM (
      SELECT deployment_id, seq, model_id, version_id, max(since) OVER (PARTITION BY deployment_id ORDER BY seq) AS since
      FROM deployment_versions
    ) grown
  )
  SELECT s.deployment_id, s.symbol, (extract(epoch FROM s.event_time) * 1000000)::bigint,
         (extract(epoch FROM s.received_at) * 1000000)::bigint, s.late::int,
         CASE s.decision WHEN 'BUY' THEN 1 WHEN 'SELL' THEN -1 ELSE 0 END, s.confidence, s.batch_id, s.row_no,
         (s.vendor_id IS NULL OR c.version_id IS NOT NULL)::int
  FROM signals s LEFT JOIN ran ON ran.deployment_id = s.deployment_id
       AND s.received_at >= ran.since AND s.received_at < ran.until
  LEFT JOIN model_versions m ON m.model_id = ran.model_id AND m.version = s.model_version AND m.created_at <= s.received_at
  LEFT JOIN counted c ON c.version_id = coalesce(m.id, ran.version_id)
       AND s.received_at >= c.since AND s.received_at < c.until
  WHERE s.timeframe = %(timeframe)s AND s.event_time >= %(since)s
) TO STDOUT (FORMAT csv);

-- name: tries
-- What each vendor tried, by round: runs that began, and versions that came from no run here, under the newest round
-- that was there when they were registered.
SELECT vendor_id, round_id, sum(tries)::int AS tries FROM (
  SELECT vendor_id, round_id, count(*) AS tries FROM training_runs
  WHERE started_at IS NOT NULL OR state = 'succeeded' GROUP BY vendor_id, round_id
  UNION ALL
  SELECT m.vendor_id, coalesce(r.id, 'none'), count(*)
  FROM model_versions v JOIN models m ON m.id = v.model_id
  LEFT JOIN LATERAL (
    SELECT id FROM dataset_rounds WHERE created_at <= v.created_at ORDER BY created_at DESC LIMIT 1
  ) r ON true
  WHERE v.run_id IS NULL GROUP BY m.vendor_id, r.id
) tried GROUP BY vendor_id, round_id ORDER BY vendor_id, round_id;

-- name: lock_scores
-- One run stores at a time, until its transaction ends: two would wait for each other's deployments and versions.
SELECT pg_advisory_xact_lock(hashtextextended('mp.scores', 0));

-- name: put_scores
-- Stores scores; a round's earlier ones are replaced.
INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, reason, bars, sharpe, dsr, card, standing,
                          tries_by_round)
VALUES (:round_id, :deployment_id, :timeframe, :enough_data, :reason, :bars, :sharpe, :dsr, CAST(:card AS jsonb),
        CAST(:standing AS jsonb), CAST(:tries_by_round AS jsonb))
ON CONFLICT (round_id, deployment_id) DO UPDATE
SET timeframe = excluded.timeframe, enough_data = excluded.enough_data, reason = excluded.reason, bars = excluded.bars,
    sharpe = excluded.sharpe, dsr = excluded.dsr, card = excluded.card, standing = excluded.standing,
    tries_by_round = excluded.tries_by_round, computed_at = now();

-- name: put_version_sharpe
-- A version's Sharpe ratio, out of the newest scored round of every timeframe, whichever was scored last: of its
-- deployment that has enough data, and of those with most scored bars, not of its luckiest; null without enough data.
WITH newest AS (
  SELECT DISTINCT ON (s.timeframe) s.round_id
  FROM (SELECT DISTINCT timeframe, round_id FROM model_scores) s
  JOIN dataset_rounds r ON r.id = s.round_id AND r.retired_at IS NULL
  ORDER BY s.timeframe, r.created_at DESC, r.id
)
UPDATE model_versions v SET last_oos_sharpe = chosen.sharpe
FROM (
  SELECT DISTINCT ON (version_id) version_id, CASE WHEN enough_data THEN sharpe END AS sharpe FROM (
    SELECT coalesce(d.version_id, shown.id) AS version_id, s.enough_data, s.sharpe, s.bars, d.created_at, d.id
    FROM newest n JOIN model_scores s ON s.round_id = n.round_id JOIN deployments d ON d.id = s.deployment_id
    LEFT JOIN LATERAL (
      SELECT mv.id FROM model_versions mv WHERE mv.model_id = d.model_id AND mv.stage <> 'retired'
      ORDER BY array_position(ARRAY['prod', 'pilot', 'shadow'], mv.stage), mv.created_at DESC LIMIT 1
    ) shown ON true
  ) scored WHERE version_id IS NOT NULL
  ORDER BY version_id, enough_data DESC, bars DESC, created_at, id
) chosen
WHERE v.id = chosen.version_id AND v.last_oos_sharpe IS DISTINCT FROM chosen.sharpe;

-- name: leaderboard
-- The newest score of each deployment and timeframe: to a vendor its own, to the public those of models in pilot or
-- prod. Those with enough data come first, by deflated Sharpe ratio.
SELECT * FROM (
  SELECT DISTINCT ON (s.deployment_id, s.timeframe)
         s.round_id, s.deployment_id, d.name AS deployment, v.name AS vendor, d.model_id, m.name AS model,
         shown.version, shown.stage, s.enough_data, s.reason, s.card, s.standing, s.tries_by_round, s.computed_at,
         s.dsr, s.sharpe
  FROM model_scores s
  JOIN deployments d ON d.id = s.deployment_id
  JOIN dataset_rounds r ON r.id = s.round_id AND r.retired_at IS NULL
  LEFT JOIN marketplace_vendors v ON v.id = d.vendor_id
  LEFT JOIN models m ON m.id = d.model_id
  LEFT JOIN LATERAL (
    SELECT mv.version, mv.stage FROM model_versions mv
    WHERE mv.model_id = d.model_id AND (d.version_id IS NULL OR mv.id = d.version_id)
    ORDER BY array_position(ARRAY['prod', 'pilot', 'shadow', 'retired'], mv.stage), mv.created_at DESC LIMIT 1
  ) shown ON true
  WHERE (CAST(:timeframe AS text) IS NULL OR s.timeframe = :timeframe)
    AND (CAST(:model_id AS text) IS NULL OR d.model_id = :model_id)
    AND (d.vendor_id = :vendor_id
         OR (CAST(:vendor_id AS text) IS NULL AND v.status = 'active' AND shown.stage IN ('pilot', 'prod')))
  ORDER BY s.deployment_id, s.timeframe, r.created_at DESC, s.round_id
) newest
ORDER BY enough_data DESC, dsr DESC NULLS LAST, sharpe DESC NULLS LAST, deployment_id
LIMIT :limit;
