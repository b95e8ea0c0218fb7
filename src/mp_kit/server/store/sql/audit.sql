-- name: list_audit
-- Newest entries first; what somebody did, what was done to it, and what names it among the facts.
SELECT a.at, a.actor, a.action, a.subject, a.detail, a.address, a.outcome FROM audit_log a
WHERE a.at >= :since AND starts_with(a.action, :action)
  AND (CAST(:about AS text) IS NULL OR a.subject = :about OR split_part(a.actor, ':', 2) = :about
       OR jsonb_path_exists(a.detail, '$.** ? (@ == $id)', jsonb_build_object('id', CAST(:about AS text))))
ORDER BY a.at DESC, a.id DESC LIMIT :limit;

-- name: revocation_listeners
-- Connections to this database whose last word was that they listen for revocations.
SELECT pid, backend_start AS since FROM pg_stat_activity
WHERE datname = current_database() AND query = format('LISTEN "%s"', CAST(:channel AS text))
ORDER BY backend_start, pid;
