-- name: take_auth_code
-- Uses a one-time code up: of any number that try, one gets the row. What a device was given is used up with it.
WITH taken AS (
    UPDATE auth_codes SET used_at = now() WHERE id = :id AND used_at IS NULL AND expires_at > now()
    RETURNING vendor_id, device_id
), device AS (
    UPDATE device_logins d SET state = 'exchanged' FROM taken
    WHERE d.id = taken.device_id AND d.state = 'approved'
    RETURNING d.id, d.client
)
SELECT taken.vendor_id, taken.device_id, coalesce(device.client, '') AS client
FROM taken LEFT JOIN device ON device.id = taken.device_id
WHERE taken.device_id IS NULL OR device.id IS NOT NULL;

-- name: poll_device
-- Notes a program's question; who asks too soon has to wait longer from then on.
WITH asked AS (
    SELECT id, coalesce(last_polled_at > now() - make_interval(secs => interval_seconds - :slack), false) AS too_soon
    FROM device_logins WHERE code_digest = :digest FOR UPDATE
)
UPDATE device_logins d
SET last_polled_at = now(),
    interval_seconds = CASE WHEN asked.too_soon THEN least(interval_seconds + :step, :longest) ELSE interval_seconds END
FROM asked WHERE d.id = asked.id
RETURNING d.id, d.state, d.client, d.vendor_id, d.interval_seconds, asked.too_soon, d.expires_at <= now() AS expired;

-- name: decide_device
-- Approves or denies what a program asked for, once.
UPDATE device_logins SET state = :state, vendor_id = :vendor_id, decided_at = now()
WHERE user_code = :user_code AND state = 'pending' AND expires_at > now()
RETURNING id, client, address;

-- name: count_waiting_devices
-- Programs that wait for approval: from one address, and in all.
SELECT count(*) FILTER (WHERE address = :address) AS here, count(*) AS everywhere
FROM device_logins WHERE state = 'pending' AND expires_at > now();

-- name: list_vendor_keys
-- A vendor's keys: those that live, oldest first, then those that ended in the last so many days.
SELECT id, name, created_at, expires_at, revoked_at, last_used_at,
       CASE WHEN expires_at <= now() THEN 'expired' WHEN revoked_at <= now() THEN 'revoked'
            WHEN revoked_at IS NOT NULL THEN 'ending' ELSE 'living' END AS status
FROM vendor_keys
WHERE vendor_id = :vendor_id AND least(expires_at, revoked_at) > now() - make_interval(days => :days)
ORDER BY least(expires_at, revoked_at) <= now(), created_at, id;
