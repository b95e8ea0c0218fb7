-- name: untold_failures
-- Training runs that failed since the operator was last told, or in the last day, oldest first.
SELECT r.id AS run, v.name AS vendor, r.task, r.provider, r.attempt, r.cost_usd, r.failure, r.finished_at
FROM training_runs r JOIN marketplace_vendors v ON v.id = r.vendor_id
WHERE r.status = 'failed' AND r.finished_at > coalesce(
    (SELECT max(CAST(detail ->> 'until' AS timestamptz)) FROM audit_log WHERE subject = :subject),
    now() - interval '1 day')
ORDER BY r.finished_at, r.id LIMIT :limit;
