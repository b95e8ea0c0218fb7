-- name: announce_drop
-- Notes a drop; one that failed, or has not been begun, is begun anew; one that is under way or stored stays as it is.
INSERT INTO signal_drops AS d (deployment_id, name, size_bytes, sha256, object_key, scope, announced_at)
VALUES (:deployment_id, :name, :size_bytes, :sha256, :object_key, CAST(:scope AS jsonb), :now)
ON CONFLICT (deployment_id, name) DO UPDATE
SET state = 'awaited', size_bytes = excluded.size_bytes, sha256 = excluded.sha256, scope = excluded.scope,
    next_row = 0, accepted = 0, duplicates = 0, conflicts = 0, rejected = 0, problems = '[]', attempts = 0,
    failure = NULL, announced_at = excluded.announced_at, finished_at = NULL
WHERE d.state = 'failed' OR (d.state = 'awaited' AND d.next_row = 0)
RETURNING *;

-- name: awaited_drops
-- Drops that may have come: vendors take turns, and of each the drop that was not looked at for longest is first, so that
-- nobody's announcements hold up another's drop. Those of a suspended vendor wait without a turn.
SELECT deployment_id, name, object_key FROM (
  SELECT r.deployment_id, r.name, r.object_key, coalesce(r.looked_at, r.announced_at) AS since,
         row_number() OVER (PARTITION BY d.vendor_id ORDER BY coalesce(r.looked_at, r.announced_at), r.name) AS turn
  FROM signal_drops r JOIN deployments d ON d.id = r.deployment_id
  LEFT JOIN marketplace_vendors v ON v.id = d.vendor_id
  WHERE r.state = 'awaited' AND v.status IS DISTINCT FROM 'suspended'
) AS waiting
ORDER BY turn, since, deployment_id, name LIMIT :limit;

-- name: count_awaited
-- Drops that a deployment has announced and that are not over.
SELECT count(*) FROM signal_drops WHERE deployment_id = :deployment_id AND state = 'awaited';

-- name: touch_drop
-- It was looked at: before anything is asked about it, so that one that kills its reader goes behind the others.
UPDATE signal_drops SET looked_at = :now WHERE deployment_id = :deployment_id AND name = :name AND state = 'awaited';

-- name: lock_drop
-- One drop, for this transaction alone; nothing when somebody else is at it, it is finished, or its vendor suspended.
SELECT r.*, d.vendor_id, d.model_id FROM signal_drops r JOIN deployments d ON d.id = r.deployment_id
LEFT JOIN marketplace_vendors v ON v.id = d.vendor_id
WHERE r.deployment_id = :deployment_id AND r.name = :name AND r.state = 'awaited'
  AND v.status IS DISTINCT FROM 'suspended'
FOR UPDATE OF r SKIP LOCKED;

-- name: begin_drop
-- Counts an attempt before the file is opened: one that kills its reader is not read for ever.
UPDATE signal_drops SET attempts = attempts + 1
WHERE deployment_id = :deployment_id AND name = :name AND state = 'awaited';

-- name: advance_drop
-- What a chunk brought, in the transaction that stored it.
UPDATE signal_drops
SET next_row = :next_row, accepted = accepted + :accepted, duplicates = duplicates + :duplicates,
    conflicts = conflicts + :conflicts, rejected = rejected + :rejected, attempts = 0,
    problems = CASE WHEN jsonb_array_length(problems) < :most THEN problems || CAST(:problems AS jsonb) ELSE problems END
WHERE deployment_id = :deployment_id AND name = :name;

-- name: finish_drop
-- The end of a drop, good or bad.
UPDATE signal_drops SET state = :state, failure = :failure, finished_at = :now
WHERE deployment_id = :deployment_id AND name = :name AND state = 'awaited';

-- name: list_drops
-- Drops, newest first; every filter is optional, the vendor's is not left to the caller.
SELECT r.* FROM signal_drops r JOIN deployments d ON d.id = r.deployment_id
WHERE (CAST(:vendor_id AS text) IS NULL OR d.vendor_id = :vendor_id)
  AND (CAST(:deployment_id AS text) IS NULL OR r.deployment_id = :deployment_id)
  AND (CAST(:name AS text) IS NULL OR r.name = :name)
ORDER BY r.announced_at DESC, r.deployment_id, r.name LIMIT :limit;
