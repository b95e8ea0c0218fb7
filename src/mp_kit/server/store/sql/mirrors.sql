-- name: stale_mirrors
-- Runs whose state differs from the one that Prefect shows; those that ended long ago are left as they are.
SELECT r.id, r.vendor_id, v.name AS vendor, r.round_id, r.task, r.provider, r.state, r.spec, r.machine, r.max_hours,
       r.max_cost_usd, r.cost_usd, r.metrics, r.failure, r.exit_code, r.created_at, r.started_at, r.finished_at,
       m.flow_run_id, m.shown_state
FROM training_runs r
JOIN marketplace_vendors v ON v.id = r.vendor_id
LEFT JOIN run_mirrors m ON m.run_id = r.id
WHERE m.shown_state IS DISTINCT FROM r.state AND (r.finished_at IS NULL OR r.finished_at > now() - interval '1 day')
ORDER BY r.created_at
LIMIT :limit;
