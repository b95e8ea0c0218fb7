-- name: overview_signals
-- What each deployment pushed since an instant: counts by decision, lateness, confidence.
SELECT v.name AS vendor, d.name AS deployment, count(*) AS signals,
       count(*) FILTER (WHERE s.decision = 'BUY') AS buy, count(*) FILTER (WHERE s.decision = 'SELL') AS sell,
       count(*) FILTER (WHERE s.decision = 'HOLD') AS hold, count(*) FILTER (WHERE s.late) AS late,
       avg(s.confidence) AS mean_confidence, max(s.received_at) AS last_received
FROM signals s JOIN deployments d ON d.id = s.deployment_id LEFT JOIN marketplace_vendors v ON v.id = s.vendor_id
WHERE s.received_at >= :since
GROUP BY v.name, d.name ORDER BY signals DESC, vendor, deployment;

-- name: overview_runs
-- Training runs ordered since an instant, newest first.
SELECT r.id AS run, v.name AS vendor, r.task, r.provider, r.status, r.round_id, r.created_at,
       extract(epoch FROM coalesce(r.finished_at, now()) - r.created_at) AS seconds, r.cost_usd, r.metrics, r.failure
FROM training_runs r JOIN marketplace_vendors v ON v.id = r.vendor_id
WHERE r.created_at >= :since ORDER BY r.created_at DESC, r.id LIMIT 200;

-- name: overview_consensus
-- Consensus of the primary method computed since an instant, in the bars' order.
SELECT c.event_time, c.symbol, c.timeframe, c.decision, c.confidence, c.score, c.signals,
       (SELECT string_agg(DISTINCT v.name, ', ') FROM jsonb_each(c.contributions) part
        JOIN marketplace_vendors v ON v.id = part.value ->> 'vendor_id') AS vendors
FROM consensus c
WHERE c.computed_at >= :since
  AND c.method = coalesce((SELECT primary_method FROM consensus_settings), 'confidence_skill')
ORDER BY c.event_time, c.symbol LIMIT 5000;

-- name: overview_deployments
-- Every vendor's deployment, with what it last said of itself.
SELECT v.name AS vendor, d.name AS deployment, d.status, d.last_heartbeat_at, m.name AS model
FROM deployments d JOIN marketplace_vendors v ON v.id = d.vendor_id LEFT JOIN models m ON m.id = d.model_id
ORDER BY v.name, d.name LIMIT 500;
