-- name: claim_hostings
-- Takes hosted deployments that are worth a look and that nobody holds; two keepers never get the same one.
WITH due AS (
  SELECT deployment_id FROM hostings
  WHERE state NOT IN ('stopped', 'failed', 'removed') AND next_look_at <= now()
    AND (locked_until IS NULL OR locked_until < now()) AND provider || '/' || kind = ANY(:places)
  ORDER BY next_look_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
UPDATE hostings h SET lock_token = :lock_token, locked_until = now() + make_interval(secs => :lease)
FROM due WHERE h.deployment_id = due.deployment_id
RETURNING h.*;

-- name: release_hosting
-- Gives a claim back; the next look moves only if nobody changed what is wanted meanwhile.
UPDATE hostings
SET lock_token = NULL, locked_until = NULL,
    next_look_at = CASE WHEN wanted = :wanted THEN now() + make_interval(secs => :look_in) ELSE next_look_at END
WHERE deployment_id = :deployment_id AND lock_token = :lock_token;

-- name: served_model
-- What a deployment serves: its version and the artifacts of the version's run.
SELECT d.id AS deployment_id, m.id AS model_id, m.task, v.version, v.id AS version_id, v.run_id
FROM deployments d JOIN models m ON m.id = d.model_id JOIN model_versions v ON v.id = d.version_id AND v.model_id = m.id
WHERE d.id = :deployment_id AND d.vendor_id = :vendor_id;

-- name: accounts_of_servers
-- Provider and vendor wherever a server of ours may be: who ever had one there, and whose account is known to answer. Where the
-- vendor's connection is gone, only as long as a server is not at rest; local ones need none.
SELECT provider, vendor_id FROM hostings h WHERE provider = ANY(:providers) AND (
  provider = 'local' OR state NOT IN ('stopped', 'failed', 'removed')
  OR EXISTS (SELECT FROM vendor_connections c WHERE c.vendor_id = h.vendor_id AND c.name = h.provider))
UNION
SELECT name, vendor_id FROM vendor_connections WHERE name = ANY(:providers) AND status = 'ok'
ORDER BY 1, 2;

-- name: facts_of_hostings
-- What hostings are at, and whether the token that a launch was given still lives.
SELECT h.*, EXISTS (
    SELECT FROM deployment_tokens t
    WHERE t.deployment_id = h.deployment_id AND t.scope ->> 'label' = 'hosted'
      AND t.revoked_at IS NULL AND t.expires_at > now()
  ) AS has_token
FROM hostings h WHERE h.provider = :provider AND h.deployment_id = ANY(:deployment_ids);
