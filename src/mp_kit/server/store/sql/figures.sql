-- name: figures_machines
-- What was started for training runs since an instant, oldest first: billed where the bill is whole, else as in cost_of_run.
SELECT m.run_id AS run, v.name AS vendor, r.task, m.provider, r.status, m.since, m.until,
       coalesce(m.billed_at >= m.until + interval '1 day', false) AS billed,
       CAST(CASE WHEN m.billed_at >= m.until + interval '1 day' THEN m.billed_usd
                 ELSE greatest(m.billed_usd, m.price_per_hour
                      * CAST(extract(epoch FROM coalesce(m.until, now()) - m.since) / 3600 AS numeric)) END AS float8) AS usd,
       CAST(extract(epoch FROM coalesce(m.until, now()) - m.since) / 3600 AS float8) AS hours,
       CAST(r.max_cost_usd AS float8) AS bound_usd
FROM run_machines m JOIN training_runs r ON r.id = m.run_id JOIN marketplace_vendors v ON v.id = m.vendor_id
WHERE m.since >= :since ORDER BY m.since, m.ref LIMIT 20000;

-- name: figures_consensus
-- What our own methods said about bars of a timeframe, oldest first, with when.
SELECT method, symbol, CAST(extract(epoch FROM event_time) * 1000000 AS bigint) AS event_time,
       CAST(extract(epoch FROM computed_at) * 1000000 AS bigint) AS computed_at, late,
       CASE decision WHEN 'BUY' THEN 1 WHEN 'SELL' THEN -1 ELSE 0 END AS direction, confidence
FROM consensus
WHERE timeframe = :timeframe AND event_time BETWEEN :since AND :until AND vendor_id IS NULL
ORDER BY method, event_time, symbol LIMIT 500000;

-- name: figures_signals
-- A vendor's stored signals by day and deployment.
SELECT date_trunc('day', b.received_at) AS day, d.name AS deployment, CAST(sum(b.accepted) AS bigint) AS signals
FROM signal_batches b JOIN deployments d ON d.id = b.deployment_id
WHERE d.vendor_id = :vendor_id AND b.received_at >= :since
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: figures_runs
-- A vendor's training runs since an instant, by status.
SELECT status, count(*) AS runs, CAST(coalesce(sum(cost_usd), 0) AS float8) AS usd
FROM training_runs WHERE vendor_id = :vendor_id AND created_at >= :since GROUP BY status ORDER BY status;
