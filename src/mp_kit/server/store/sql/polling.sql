-- name: pollable
-- Deployments that may be asked now: their vendor wants it and is active, their model answers to bars and is not
-- retired, their address is known, and the breaker lets them be asked. Who was asked longest ago comes first.
SELECT p.deployment_id, p.vendor_id, d.name, p.infer_url, p.symbols, p.timeframes, p.failures, p.opens,
       h.provider, h.kind, h.provider_ref, h.provider_data,
       (SELECT convert_from(r.manifest, 'UTF8')::jsonb ->> 'timeframe' FROM training_runs t
        JOIN dataset_rounds r ON r.id = t.round_id WHERE t.id = v.run_id) AS trained_on
FROM pollings p
JOIN marketplace_vendors o ON o.id = p.vendor_id AND o.status = 'active'
JOIN deployments d ON d.id = p.deployment_id
LEFT JOIN models m ON m.id = d.model_id
LEFT JOIN model_versions v ON v.id = d.version_id
LEFT JOIN hostings h ON h.deployment_id = d.id
WHERE p.poll AND (p.retry_at IS NULL OR p.retry_at <= now())
  AND coalesce(m.task, 'signal') = 'signal' AND coalesce(v.stage, 'shadow') <> 'retired'
  AND CASE WHEN h.deployment_id IS NULL THEN p.infer_url IS NOT NULL
           ELSE h.state = 'running' AND h.wanted = 'running' AND h.provider_ref IS NOT NULL
                AND coalesce(h.provider_data ->> 'endpoint', '') <> '' END
ORDER BY p.last_at NULLS FIRST, p.deployment_id;

-- name: unasked
-- Places of the bars that are worth a call: never asked about, or to be asked again; and no later one was asked about.
SELECT u.place
FROM unnest(CAST(:deployments AS text[]), CAST(:symbols AS text[]), CAST(:timeframes AS text[]),
            CAST(:event_times AS timestamptz[])) WITH ORDINALITY
     AS u(deployment_id, symbol, timeframe, event_time, place)
LEFT JOIN polls p ON p.deployment_id = u.deployment_id AND p.symbol = u.symbol AND p.timeframe = u.timeframe
     AND p.event_time = u.event_time
WHERE (p.deployment_id IS NULL
       OR p.attempts < :attempts AND (p.state = 'again' OR p.state = 'asking' AND p.locked_until < now()))
  AND NOT EXISTS (SELECT FROM polls later WHERE later.deployment_id = u.deployment_id AND later.symbol = u.symbol
                  AND later.timeframe = u.timeframe AND later.event_time > u.event_time)
ORDER BY u.place;

-- name: lock_polling
-- A deployment that is to be asked, or was: its breaker and its claims are decided by one transaction at a time.
SELECT p.*, d.name, d.model_id, v.version, o.status AS vendor_status, coalesce(h.wanted, 'running') AS wanted,
       p.retry_at IS NOT NULL AND p.retry_at > now() AS is_left_alone
FROM pollings p
JOIN marketplace_vendors o ON o.id = p.vendor_id
JOIN deployments d ON d.id = p.deployment_id
LEFT JOIN model_versions v ON v.id = d.version_id
LEFT JOIN hostings h ON h.deployment_id = d.id
WHERE p.deployment_id = :deployment_id FOR UPDATE OF p;

-- name: spend_poll
-- Takes one call and its longest wait from a vendor's day; no row where too little of the day is left.
INSERT INTO poll_budgets AS b (vendor_id, day, calls, milliseconds, most_calls, most_milliseconds)
SELECT :vendor_id, (now() AT TIME ZONE 'UTC')::date, 1, :milliseconds, :most_calls, :most_milliseconds
WHERE :most_calls >= 1 AND :most_milliseconds >= :milliseconds
ON CONFLICT (vendor_id, day) DO UPDATE
SET calls = b.calls + 1, milliseconds = b.milliseconds + excluded.milliseconds, most_calls = excluded.most_calls,
    most_milliseconds = excluded.most_milliseconds, exhausted = false
WHERE b.calls < excluded.most_calls AND b.milliseconds + excluded.milliseconds <= excluded.most_milliseconds
RETURNING day;

-- name: exhaust_polls
-- Notes that a vendor's day was too short for another call.
INSERT INTO poll_budgets (vendor_id, day, most_calls, most_milliseconds, exhausted)
VALUES (:vendor_id, (now() AT TIME ZONE 'UTC')::date, :most_calls, :most_milliseconds, true)
ON CONFLICT (vendor_id, day) DO UPDATE
SET exhausted = true, most_calls = excluded.most_calls, most_milliseconds = excluded.most_milliseconds;

-- name: refund_poll
-- Gives back what a call did not wait of its longest wait, to the day that it was taken from.
UPDATE poll_budgets SET milliseconds = greatest(milliseconds - :milliseconds, 0)
WHERE vendor_id = :vendor_id AND day = (CAST(:asked_at AS timestamptz) AT TIME ZONE 'UTC')::date;

-- name: claim_poll
-- Takes a bar of a deployment for the length of a lease; under the deployment's lock, for a bar that is free.
INSERT INTO polls (deployment_id, symbol, timeframe, event_time, vendor_id, state, lock_token, locked_until)
VALUES (:deployment_id, :symbol, :timeframe, :event_time, :vendor_id, 'asking', :lock_token,
        now() + make_interval(secs => :lease))
ON CONFLICT (deployment_id, symbol, timeframe, event_time) DO UPDATE
SET state = 'asking', outcome = NULL, attempts = polls.attempts + 1, lock_token = excluded.lock_token,
    locked_until = excluded.locked_until, asked_at = now(), http_status = NULL, milliseconds = NULL, reason = NULL;

-- name: hold_poll
-- The claim, if it still stands.
SELECT * FROM polls
WHERE deployment_id = :deployment_id AND symbol = :symbol AND timeframe = :timeframe AND event_time = :event_time
  AND lock_token = :lock_token AND state = 'asking' FOR UPDATE;

-- name: pollings_seen
-- A vendor's deployments with what its day is worth and has used, or one of them.
SELECT p.*, now() AS at, b.calls, b.milliseconds, b.most_calls, b.most_milliseconds, b.exhausted
FROM pollings p
LEFT JOIN poll_budgets b ON b.vendor_id = p.vendor_id AND b.day = (now() AT TIME ZONE 'UTC')::date
WHERE p.vendor_id = :vendor_id AND (CAST(:deployment_id AS text) IS NULL OR p.deployment_id = :deployment_id);

-- name: forget_polls
-- Deletes old polls; the newest of each deployment, symbol and timeframe stays, so that its bar is not asked about anew.
DELETE FROM polls WHERE (deployment_id, symbol, timeframe, event_time) IN (
  SELECT o.deployment_id, o.symbol, o.timeframe, o.event_time FROM polls o
  WHERE o.asked_at < :before AND EXISTS (
    SELECT FROM polls later WHERE later.deployment_id = o.deployment_id AND later.symbol = o.symbol
    AND later.timeframe = o.timeframe AND later.event_time > o.event_time)
  ORDER BY o.asked_at LIMIT :most);
