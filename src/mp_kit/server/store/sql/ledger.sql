-- name: cost_of_run
-- What a run's machines have cost: a bill that was asked for a day after the end, or later, is the cost. An earlier one may
-- lack hours that are not closed yet, so that until then it counts only where it is above price times hours.
SELECT coalesce(sum(
  CASE WHEN billed_at >= until + interval '1 day' THEN billed_usd
       ELSE greatest(billed_usd, price_per_hour * extract(epoch FROM coalesce(until, :at) - since) / 3600) END), 0)
FROM run_machines WHERE run_id = :run_id;

-- name: hours_of_run
-- How long a run's machines have existed.
SELECT coalesce(sum(extract(epoch FROM coalesce(until, :at) - since) / 3600), 0)::float8
FROM run_machines WHERE run_id = :run_id;

-- name: ask_for_bills
-- Ended machines whose bill is not final, those that were not asked about for longest first, noted as asked about now: what
-- an account leaves unanswered goes behind what waits on the others.
UPDATE run_machines m SET asked_at = :at
FROM (
  SELECT provider, ref FROM run_machines
  WHERE until > :ended_after AND (billed_at IS NULL OR billed_at < until + interval '1 day')
  ORDER BY asked_at NULLS FIRST, until, ref LIMIT :limit
) AS due
WHERE m.provider = due.provider AND m.ref = due.ref
RETURNING m.*;

-- name: store_bills
-- Notes what the provider charged for its machines.
UPDATE run_machines m
SET billed_usd = bill.usd, billed_at = :at
FROM unnest(CAST(:refs AS text[]), CAST(:amounts AS numeric[])) AS bill(ref, usd)
WHERE m.provider = :provider AND m.ref = bill.ref
RETURNING m.run_id;

-- name: settle_costs
-- A run costs what its machines cost, as in cost_of_run.
UPDATE training_runs r
SET cost_usd = machines.usd
FROM (
  SELECT run_id, sum(
    CASE WHEN billed_at >= until + interval '1 day' THEN billed_usd
         ELSE greatest(billed_usd, price_per_hour * extract(epoch FROM coalesce(until, :at) - since) / 3600) END) AS usd
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

-- name: accounts_of_runs
-- Provider and vendor wherever a machine of ours may be: who ever ran something there. Where machines are on the vendor's own
-- account and its connection is gone, only as long as a run or a machine is open, because then somebody must hear of it.
SELECT DISTINCT r.provider, r.vendor_id FROM training_runs r
WHERE r.provider = ANY(:providers) AND (
  r.provider <> ALL(:charging)
  OR r.state NOT IN ('succeeded', 'failed', 'cancelled')
  OR EXISTS (SELECT FROM vendor_connections c WHERE c.vendor_id = r.vendor_id AND c.name = r.provider)
  OR EXISTS (SELECT FROM run_machines m
             WHERE m.vendor_id = r.vendor_id AND m.provider = r.provider AND m.until IS NULL))
ORDER BY 1, 2;
