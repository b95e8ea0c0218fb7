-- name: emit_webhook
-- Writes an event and its deliveries to the enabled endpoints that want it, whosever they are; tells how many do.
SELECT mp_emit_webhook(%(id)s, %(type)s, %(vendor_id)s, %(body)s, %(house_only)s);

-- name: claim_webhooks
-- Takes due deliveries of endpoints that are not busy, a few of each, and holds each for the length of a lease.
WITH ready AS (
    SELECT e.id FROM webhook_endpoints e
    LEFT JOIN marketplace_vendors v ON v.id = e.vendor_id
    WHERE e.status = 'enabled' AND (e.vendor_id IS NULL OR v.status = 'active')
      AND e.id <> ALL (CAST(:busy AS text[])) AND (e.failing_since IS NOT NULL) = :failing
      AND EXISTS (SELECT FROM webhook_deliveries d
                  WHERE d.endpoint_id = e.id AND d.status = 'pending' AND d.next_at <= now())
    ORDER BY random() LIMIT :at_most
), due AS (
    SELECT picked.id FROM ready CROSS JOIN LATERAL (
        SELECT d.id FROM webhook_deliveries d
        WHERE d.endpoint_id = ready.id AND d.status = 'pending' AND d.next_at <= now()
        ORDER BY d.next_at LIMIT :each FOR UPDATE SKIP LOCKED
    ) picked LIMIT :at_most
)
UPDATE webhook_deliveries d
SET lock_token = :lock_token, attempts = d.attempts + 1, next_at = now() + make_interval(secs => :lease_seconds)
FROM due, webhook_events ev, webhook_endpoints e
WHERE d.id = due.id AND ev.id = d.event_id AND e.id = d.endpoint_id
RETURNING d.id, d.event_id, d.attempts, d.lock_token, ev.body, e.id AS endpoint_id, e.vendor_id, e.url, e.wrapped_key,
          e.secret, CASE WHEN e.secret_overlap_until > now() THEN e.former_secret END AS former_secret;

-- name: note_webhook
-- Notes an attempt, if it is still the one that counts: its lock token stands.
UPDATE webhook_deliveries
SET status = :status, lock_token = NULL, next_at = now() + make_interval(secs => :wait_seconds),
    delivered_at = CASE WHEN :status = 'delivered' THEN now() END,
    log = CASE WHEN jsonb_array_length(log) >= :kept THEN log - 0 ELSE log END || CAST(:entry AS jsonb)
WHERE id = :id AND lock_token = :lock_token AND status = 'pending'
RETURNING id;

-- name: webhook_failed
-- An endpoint failed: since when, and whether that has been too long.
UPDATE webhook_endpoints
SET failing_since = coalesce(failing_since, now()), updated_at = now(),
    status = CASE WHEN :gone OR failing_since < now() - make_interval(secs => :patience_seconds)
             THEN 'disabled' ELSE status END,
    disabled_reason = CASE WHEN :gone THEN :reason
        WHEN failing_since < now() - make_interval(secs => :patience_seconds)
        THEN 'nothing was delivered since ' || to_char(failing_since AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
             || '; last: ' || :reason
        ELSE disabled_reason END
WHERE id = :id AND status = 'enabled'
RETURNING status, disabled_reason, vendor_id;

-- name: list_webhook_deliveries
-- An endpoint's messages, newest first.
SELECT d.*, ev.type AS event_type FROM webhook_deliveries d JOIN webhook_events ev ON ev.id = d.event_id
WHERE d.endpoint_id = :endpoint_id AND (CAST(:status AS text) IS NULL OR d.status = :status)
  AND (CAST(:id AS text) IS NULL OR d.id = :id)
ORDER BY d.created_at DESC, d.id LIMIT :limit;

-- name: forget_webhooks
-- Forgets old events, and with them their deliveries.
DELETE FROM webhook_events WHERE id IN (
    SELECT id FROM webhook_events WHERE created_at < now() - make_interval(days => :days) ORDER BY created_at LIMIT :at_most
);
