-- name: mark_silent
-- Marks deployments that have fallen silent, each once; an endpoint whose workers sleep by its owner's wish has not.
UPDATE deployments d SET status = 'offline', updated_at = now()
WHERE d.id IN (
  SELECT one.id FROM deployments one
  WHERE one.vendor_id IS NOT NULL AND one.status NOT IN ('offline', 'maintenance')
    AND one.last_heartbeat_at < now() - make_interval(secs => :seconds)
    AND NOT EXISTS (
      SELECT FROM hostings h WHERE h.deployment_id = one.id AND h.kind = 'endpoint' AND h.state = 'running'
      AND coalesce((h.spec ->> 'workers_min')::int, 0) = 0
      AND coalesce((h.seen -> 'workers' ->> 'total')::int, 0) = 0)
  ORDER BY one.id FOR UPDATE SKIP LOCKED
)
RETURNING d.id, d.vendor_id, d.name, d.last_heartbeat_at;

-- name: forget_heartbeats
-- Deletes heartbeats that came before an instant, the oldest first.
DELETE FROM deployment_heartbeats WHERE id IN (
  SELECT id FROM deployment_heartbeats WHERE received_at < :before ORDER BY received_at LIMIT :most);
