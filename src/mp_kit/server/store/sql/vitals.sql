-- name: vitals_runs
-- Open training runs by state, and those that ended today by how.
SELECT state, count(*) AS runs FROM training_runs
WHERE finished_at IS NULL OR finished_at >= :today GROUP BY state;

-- name: vitals_money
-- By provider: what machines have cost today (their bills, else price times hours, by the hours that fall into it), and
-- what open runs have spent or reserved.
SELECT provider, sum(spent)::float8 AS spent_today, sum(committed)::float8 AS committed FROM (
  SELECT provider, 0 AS committed,
    coalesce(billed_usd / nullif(extract(epoch FROM coalesce(until, :now) - since) / 3600, 0), price_per_hour)
      * greatest(extract(epoch FROM coalesce(until, :now) - greatest(since, :today)), 0) / 3600 AS spent
  FROM run_machines WHERE until IS NULL OR until >= :today
  UNION ALL
  SELECT provider, greatest(reserved_usd, coalesce(cost_usd, 0)), 0
  FROM training_runs WHERE finished_at IS NULL
) AS each GROUP BY provider;

-- name: vitals_queues
-- What waits in each queue: how many, and since when the oldest of them could have been done.
SELECT 'webhooks' AS queue, count(*) AS waiting, min(next_at) FILTER (WHERE next_at <= :now) AS due_since
FROM webhook_deliveries WHERE status = 'pending'
UNION ALL
SELECT 'runs', count(*), min(created_at) FROM training_runs WHERE state = 'queued'
UNION ALL
SELECT 'looks', count(*) FILTER (WHERE next_look_at <= :now), min(next_look_at) FILTER (WHERE next_look_at <= :now)
FROM training_runs WHERE state NOT IN ('succeeded', 'failed', 'cancelled')
UNION ALL
SELECT 'hostings', count(*) FILTER (WHERE next_look_at <= :now), min(next_look_at) FILTER (WHERE next_look_at <= :now)
FROM hostings WHERE state NOT IN ('stopped', 'failed', 'removed')
UNION ALL
SELECT 'drops', count(*), min(announced_at) FROM signal_drops WHERE state = 'awaited';

-- name: vitals_deployments
-- Deployments by status; the house's own is none.
SELECT status, count(*) AS deployments FROM deployments WHERE vendor_id IS NOT NULL GROUP BY status;
