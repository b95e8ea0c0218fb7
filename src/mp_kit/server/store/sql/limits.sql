-- name: take_tokens
-- Leases tokens of many buckets at once, by the database's clock. A bucket is the instant at which it is full again
-- (GCRA's "theoretical arrival time"); no row means full. Each ask first gives back what it had leased and not spent,
-- then gets what it needs, and a share of the rest beside it, so that the next ones need no statement.
WITH asked AS MATERIALIZED (
    SELECT a.*, n.now FROM unnest(%(keys)s::text[], %(steps)s::float8[], %(bursts)s::int[], %(needs)s::int[],
                                  %(shares)s::int[], %(backs)s::int[])
                           AS a (key, step, burst, need, share, back),
                      (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) n
)
INSERT INTO rate_buckets AS b (key, full_at, granted, asked_at)
SELECT a.key, a.now + g.granted * a.step, g.granted, a.now
FROM asked a, LATERAL (SELECT least(a.burst, a.need + a.share * greatest(a.burst - a.need, 0) / 8) AS granted) g
ORDER BY a.key
ON CONFLICT (key) DO UPDATE SET (full_at, granted, asked_at) = (
    SELECT c.base + g.granted * a.step, g.granted, a.now
    FROM asked a,
         LATERAL (SELECT greatest(least(b.full_at, a.now + a.burst * a.step) - a.back * a.step, a.now) AS base) c,
         LATERAL (SELECT floor((a.now - c.base) / a.step + a.burst + 1e-6)::int AS free) f,
         LATERAL (SELECT least(f.free, a.need + a.share * greatest(f.free - a.need, 0) / 8) AS granted) g
    WHERE a.key = b.key
)
RETURNING b.key, b.granted, b.full_at - b.asked_at AS full_in;

-- name: forget_buckets
-- Forgets buckets that are full: no row says the same.
DELETE FROM rate_buckets WHERE key IN (
    SELECT key FROM rate_buckets WHERE full_at < extract(epoch FROM clock_timestamp()) LIMIT 1000 FOR UPDATE SKIP LOCKED
);
