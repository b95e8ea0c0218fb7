-- name: claim_due_runs
-- Takes runs that are worth a look and that nobody holds; two supervisors never get the same one.
WITH due AS (
  SELECT id FROM training_runs
  WHERE state NOT IN ('succeeded', 'failed', 'cancelled')
    AND next_look_at <= now()
    AND (locked_until IS NULL OR locked_until < now())
    AND provider = ANY(:providers)
  ORDER BY next_look_at
  LIMIT :limit
  FOR UPDATE SKIP LOCKED
)
UPDATE training_runs r
SET lock_token = :lock_token, locked_until = now() + make_interval(secs => :lease)
FROM due
WHERE r.id = due.id
RETURNING r.*;

-- name: release_run
-- Gives a claim back; with a state, the next look moves only if nobody changed it meanwhile (they wanted one at once).
UPDATE training_runs
SET lock_token = NULL, locked_until = NULL,
    next_look_at = CASE WHEN coalesce(CAST(:state AS text), state) = state THEN now() + make_interval(secs => :look_in) ELSE next_look_at END
WHERE id = :run_id AND lock_token = :lock_token;

-- name: release_runs
-- Gives many claims back at once, each as release_run does; the lock order is that of the ids.
UPDATE training_runs r
SET lock_token = NULL, locked_until = NULL,
    next_look_at = CASE WHEN held.state = r.state THEN now() + make_interval(secs => :look_in) ELSE r.next_look_at END
FROM (
  SELECT run.id, given.state
  FROM unnest(CAST(:ids AS text[]), CAST(:tokens AS text[]), CAST(:states AS text[])) AS given(id, token, state)
  JOIN training_runs run ON run.id = given.id AND run.lock_token = given.token
  ORDER BY run.id
  FOR UPDATE OF run
) AS held
WHERE r.id = held.id;

-- name: seconds_to_next_look
-- How long until some run is worth a look; null when none is.
SELECT extract(epoch FROM min(greatest(next_look_at, coalesce(locked_until, next_look_at))) - now())::float8
FROM training_runs
WHERE state NOT IN ('succeeded', 'failed', 'cancelled') AND provider = ANY(:providers);

-- name: add_run_event
-- Adds to a run's history; the caller holds the run's row, so the numbers have no gap and no double.
INSERT INTO run_events (run_id, seq, at, kind, letter, from_state, to_state, detail)
SELECT :run_id, coalesce(max(seq), -1) + 1, :at, :kind, :letter, :from_state, :to_state, CAST(:detail AS jsonb)
FROM run_events WHERE run_id = :run_id;

-- name: next_log_number
-- The first number of a line that is not stored yet.
SELECT coalesce(max(seq) + 1, 0) FROM run_logs WHERE run_id = :run_id;

-- name: log_head
-- How far a vendor's run and its log are; no large column is read, because every live stream asks once a second.
SELECT state, (SELECT coalesce(max(seq) + 1, 0) FROM run_logs WHERE run_id = run.id) AS next
FROM training_runs run WHERE id = :run_id AND vendor_id = :vendor_id;

-- name: append_run_logs
-- Stores lines under their numbers; those that are there stay.
INSERT INTO run_logs (run_id, seq, at, stream, text)
SELECT :run_id, :first + line.place - 1, line.at, line.stream, line.text
FROM unnest(CAST(:ats AS timestamptz[]), CAST(:streams AS text[]), CAST(:texts AS text[]))
  WITH ORDINALITY AS line(at, stream, text, place)
ON CONFLICT (run_id, seq) DO NOTHING;

-- name: upsert_run_artifact
-- Notes an artifact that a job is about to upload; a second announcement under the name replaces the first.
INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key)
VALUES (:run_id, :name, :size_bytes, :sha256, :object_key)
ON CONFLICT (run_id, name) DO UPDATE
SET size_bytes = excluded.size_bytes, sha256 = excluded.sha256, object_key = excluded.object_key, uploaded_at = NULL;
