-- name: cost_of_run
-- What a run's machines have cost: the bill where there is one, else price times hours.
SELECT coalesce(sum(coalesce(billed_usd, price_per_hour * extract(epoch FROM coalesce(until, :at) - since) / 3600)), 0)
FROM run_machines WHERE run_id = :run_id;

-- name: hours_of_run
-- How long a run's machines have existed.
SELECT coalesce(sum(extract(epoch FROM coalesce(until, :at) - since) / 3600), 0)::float8
FROM run_machines WHERE run_id = :run_id;

-- name: store_bills
-- Notes what the provider charged for its machines.
UPDATE run_machines m
SET billed_usd = bill.usd, billed_at = :at
FROM unnest(CAST(:refs AS text[]), CAST(:amounts AS numeric[])) AS bill(ref, usd)
WHERE m.provider = :provider AND m.ref = bill.ref
RETURNING m.run_id;

-- name: settle_costs
-- A run costs what its machines cost.
UPDATE training_runs r
SET cost_usd = machines.usd
FROM (
  SELECT run_id, sum(coalesce(billed_usd, price_per_hour * extract(epoch FROM coalesce(until, :at) - since) / 3600)) AS usd
  FROM run_machines WHERE run_id = ANY(:run_ids) GROUP BY run_id
) AS machines
WHERE r.id = machines.run_id;

-- name: committed_by_vendor
-- Spent by runs that ended in the time, and the larger of reserved and spent by those that still run.
SELECT coalesce(sum(
  CASE WHEN state IN ('succeeded', 'failed', 'cancelled') THEN coalesce(cost_usd, 0)
       ELSE greatest(reserved_usd, coalesce(cost_usd, 0)) END), 0)
FROM training_runs
WHERE vendor_id = :vendor_id AND (finished_at IS NULL OR finished_at >= :since);
