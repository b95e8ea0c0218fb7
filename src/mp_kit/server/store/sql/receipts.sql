-- name: lock_chain
-- The end of a deployment's chain, locked until commit: the next batch waits here and finds ours before it.
SELECT seq, head, key_id FROM signal_chains WHERE deployment_id = %(deployment_id)s FOR UPDATE;

-- name: begin_chain
-- A chain without receipts, for a deployment that has none.
INSERT INTO signal_chains (deployment_id, seq, head) VALUES (%(deployment_id)s, 0, %(head)s)
ON CONFLICT (deployment_id) DO NOTHING;

-- name: extend_chain
-- One receipt at the end of its chain; the caller holds the chain's lock.
WITH moved AS (
  UPDATE signal_chains SET seq = %(seq)s, head = %(head)s, key_id = %(key_id)s
  WHERE deployment_id = %(deployment_id)s
)
INSERT INTO signal_receipts (deployment_id, seq, batch_id, payload, key_id, signature)
VALUES (%(deployment_id)s, %(seq)s, %(batch_id)s, %(payload)s, %(key_id)s, %(signature)s);

-- name: list_receipts
-- Receipts in the order of their chains; the vendor's filter is not left to the caller.
SELECT r.deployment_id, r.seq, r.payload, r.key_id, r.signature
FROM signal_receipts r JOIN deployments d ON d.id = r.deployment_id
WHERE (CAST(:vendor_id AS text) IS NULL OR d.vendor_id = :vendor_id)
  AND (CAST(:deployment_id AS text) IS NULL OR r.deployment_id = :deployment_id)
  AND (r.deployment_id, r.seq) > (:after_deployment, :after_seq)
ORDER BY r.deployment_id, r.seq
LIMIT :limit;

-- name: list_chains
-- The end of every chain.
SELECT deployment_id, seq, head FROM signal_chains ORDER BY deployment_id;

-- name: list_chain
-- Receipts of one chain behind a number.
SELECT batch_id, payload, key_id, signature FROM signal_receipts
WHERE deployment_id = :deployment_id AND seq > :after ORDER BY seq LIMIT :limit;

-- name: signals_of_batches
-- The signals of some batches, which their bars bound.
SELECT s.* FROM signals s
WHERE s.deployment_id = :deployment_id AND s.batch_id = ANY(:batches)
  AND s.event_time >= (SELECT min(first_event) FROM signal_batches WHERE id = ANY(:batches))
  AND s.event_time <= (SELECT max(last_event) FROM signal_batches WHERE id = ANY(:batches));

-- name: count_unproved
-- Signals that came after their chain began and stand in no receipt.
SELECT s.deployment_id, count(*) AS signals FROM signals s
JOIN (SELECT r.deployment_id, min(b.received_at) AS since FROM signal_receipts r JOIN signal_batches b
      ON b.id = r.batch_id AND b.deployment_id = r.deployment_id GROUP BY r.deployment_id) c USING (deployment_id)
WHERE s.received_at >= c.since
  AND NOT EXISTS (SELECT FROM signal_receipts r WHERE r.batch_id = s.batch_id AND r.deployment_id = s.deployment_id)
GROUP BY 1 ORDER BY 1;
