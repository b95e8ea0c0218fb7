-- name: lock_consensus
-- One refresh at a time, until its transaction ends: what an earlier one could not see yet, a later one blends.
SELECT pg_advisory_xact_lock(hashtextextended('mp.consensus', 0));

-- name: changed_bars
-- Bars that batches, locked here until commit, brought signals about since they were last blended.
WITH due AS (
  SELECT id, first_event, last_event FROM signal_batches
  WHERE blended_at IS NULL AND accepted > 0
  ORDER BY id LIMIT :batches FOR UPDATE SKIP LOCKED
), told AS (
  UPDATE signal_batches b SET blended_at = now() FROM due WHERE b.id = due.id
)
SELECT DISTINCT s.symbol, s.timeframe, s.event_time
FROM due JOIN signals s ON s.event_time BETWEEN due.first_event AND due.last_event AND s.batch_id = due.id;

-- name: bar_voices
-- One signal of each deployment about each of these bars: in time before late, then the newest. It counts if its
-- version was in pilot or prod when it was received; a version that nobody had registered then is the one that the
-- deployment ran then: what is registered, moved or promoted later changes no bar. Looked up signal by signal, because
-- no planner guesses how many a bar has, and a join of spans that was planned for five signals took 20 s for 25,000.
SELECT DISTINCT ON (s.symbol, s.timeframe, s.event_time, s.deployment_id)
       s.symbol, s.timeframe, s.event_time, s.deployment_id, s.vendor_id, s.decision, s.confidence, s.late
FROM unnest(CAST(:symbols AS text[]), CAST(:timeframes AS text[]), CAST(:event_times AS timestamptz[]))
     AS bar(symbol, timeframe, event_time)
JOIN signals s ON s.symbol = bar.symbol AND s.timeframe = bar.timeframe AND s.event_time = bar.event_time
JOIN LATERAL (
  SELECT r.model_id, r.version_id FROM deployment_versions r
  WHERE r.deployment_id = s.deployment_id AND (r.seq = 1 OR r.since <= s.received_at) ORDER BY r.seq DESC LIMIT 1
) ran ON true
WHERE s.vendor_id IS NULL OR (
  SELECT h.to_stage IN ('pilot', 'prod') FROM model_stage_history h
  WHERE h.at <= s.received_at AND h.version_id = coalesce(
    (SELECT m.id FROM model_versions m WHERE m.model_id = ran.model_id AND m.version = s.model_version
     AND m.created_at <= s.received_at), ran.version_id)
  ORDER BY h.seq DESC LIMIT 1)
ORDER BY s.symbol, s.timeframe, s.event_time, s.deployment_id, s.late, s.received_at DESC, s.batch_id DESC,
         s.row_no DESC;

-- name: shown_vendor_consensus
-- What vendors' models said in batches, locked here until commit, that nobody was shown yet: by method and bar the
-- one that holds among all, by the rules of signals.
WITH due AS (
  SELECT id FROM vendor_consensus_batches
  WHERE shown_at IS NULL AND accepted > 0
  ORDER BY id LIMIT :batches FOR UPDATE SKIP LOCKED
), told AS (
  UPDATE vendor_consensus_batches b SET shown_at = now() FROM due WHERE b.id = due.id
), bar AS (
  SELECT DISTINCT c.event_time, c.symbol, c.timeframe, c.deployment_id
  FROM due JOIN vendor_consensus c ON c.batch_id = due.id
)
SELECT DISTINCT ON (c.event_time, c.symbol, c.timeframe, method)
       c.event_time, c.symbol, c.timeframe, 'vendor:' || coalesce(c.model_id, c.deployment_id) AS method, c.decision,
       c.confidence, c.late, c.deployment_id, c.vendor_id, c.contributions
FROM bar JOIN vendor_consensus said ON said.event_time = bar.event_time AND said.deployment_id = bar.deployment_id
     AND said.symbol = bar.symbol AND said.timeframe = bar.timeframe
JOIN vendor_consensus c ON c.event_time = said.event_time AND c.symbol = said.symbol AND c.timeframe = said.timeframe
     AND coalesce(c.model_id, c.deployment_id) = coalesce(said.model_id, said.deployment_id)
JOIN LATERAL (
  SELECT r.model_id, r.version_id FROM deployment_versions r
  WHERE r.deployment_id = c.deployment_id AND (r.seq = 1 OR r.since <= c.received_at) ORDER BY r.seq DESC LIMIT 1
) ran ON true
WHERE c.vendor_id IS NULL OR (
  SELECT h.to_stage IN ('pilot', 'prod') FROM model_stage_history h
  WHERE h.at <= c.received_at AND h.version_id = coalesce(
    (SELECT m.id FROM model_versions m WHERE m.model_id = ran.model_id AND m.version = c.model_version
     AND m.created_at <= c.received_at), ran.version_id)
  ORDER BY h.seq DESC LIMIT 1)
ORDER BY c.event_time, c.symbol, c.timeframe, method, c.late, c.received_at DESC, c.batch_id DESC, c.row_no DESC;

-- name: known_records
-- Each deployment's newest score of a timeframe whose last outcome was over before an instant: its hit rate and the
-- calls behind it. Of two that ended together the newer round's, in an order that storing them again does not change.
SELECT DISTINCT ON (s.deployment_id) s.deployment_id, CAST(s.card -> 'hit_rate' ->> 'value' AS float8) AS hit_rate,
       CAST(s.card -> 'hit_rate' ->> 'n' AS int) AS calls
FROM model_scores s JOIN dataset_rounds r ON r.id = s.round_id
WHERE s.timeframe = :timeframe AND s.card -> 'hit_rate' ->> 'value' IS NOT NULL
  AND CAST(s.card -> 'basis' ->> 'last' AS timestamptz) <= :before
ORDER BY s.deployment_id, CAST(s.card -> 'basis' ->> 'last' AS timestamptz) DESC, r.created_at DESC, s.round_id;

-- name: put_bars
-- Stores blended bars; a bar that the same method blended before is replaced. Sorted by the key.
INSERT INTO consensus (event_time, symbol, timeframe, method, decision, confidence, score, signals, late,
                       deployment_id, vendor_id, contributions)
SELECT u.event_time, u.symbol, u.timeframe, u.method, u.decision, u.confidence, u.score, u.signals, u.late,
       u.deployment_id, u.vendor_id, u.contributions::jsonb
FROM unnest(%(event_time)s::timestamptz[], %(symbol)s::text[], %(timeframe)s::text[], %(method)s::text[],
            %(decision)s::text[], %(confidence)s::float8[], %(score)s::float8[], %(signals)s::int4[],
            %(late)s::bool[], %(deployment_id)s::text[], %(vendor_id)s::text[], %(contributions)b::text[])
     AS u(event_time, symbol, timeframe, method, decision, confidence, score, signals, late, deployment_id, vendor_id,
          contributions)
ORDER BY u.event_time, u.symbol, u.timeframe, u.method
ON CONFLICT (event_time, symbol, timeframe, method) DO UPDATE
SET decision = excluded.decision, confidence = excluded.confidence, score = excluded.score,
    signals = excluded.signals, late = excluded.late, deployment_id = excluded.deployment_id,
    vendor_id = excluded.vendor_id, contributions = excluded.contributions, computed_at = now();

-- name: list_bars
-- Blended bars of a method, newest first; a bar that it left out is the fallback's, where there is one. Every other
-- filter is optional.
SELECT c.*, v.name AS vendor FROM consensus c LEFT JOIN marketplace_vendors v ON v.id = c.vendor_id
WHERE (CAST(:symbol AS text) IS NULL OR c.symbol = :symbol)
  AND (CAST(:timeframe AS text) IS NULL OR c.timeframe = :timeframe)
  AND (CAST(:since AS timestamptz) IS NULL OR c.event_time >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR c.event_time < :until)
  AND (c.method = :method
       OR (c.method = :fallback
           AND NOT EXISTS (SELECT 1 FROM consensus p
                           WHERE p.event_time = c.event_time AND p.symbol = c.symbol AND p.timeframe = c.timeframe
                             AND p.method = :method)))
ORDER BY c.event_time DESC, c.symbol, c.timeframe
LIMIT :limit;

-- name: list_methods
-- Methods that blended anything, with how many bars and the newest.
SELECT c.method, count(*) AS bars, max(c.event_time) AS newest, max(v.name) AS vendor
FROM consensus c LEFT JOIN marketplace_vendors v ON v.id = c.vendor_id
GROUP BY c.method ORDER BY c.method;

-- name: set_primary_method
-- Chooses the method that is shown first; there is one row.
INSERT INTO consensus_settings (singleton, primary_method) VALUES (true, :method)
ON CONFLICT (singleton) DO UPDATE SET primary_method = excluded.primary_method, changed_at = now();

-- name: insert_vendor_consensus
-- One batch, sorted by the key (no deadlocks between overlapping batches); returns the rows that were new.
INSERT INTO vendor_consensus (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id,
                              vendor_id, model_id, symbol, timeframe, model_version, decision, contributions,
                              rationale, metadata)
SELECT u.event_time, %(received_at)s, u.ts, %(batch_id)s, u.confidence, u.row_no, u.late, %(deployment_id)s,
       %(vendor_id)s, %(model_id)s, u.symbol, u.timeframe, u.model_version, u.decision, u.contributions::jsonb,
       u.rationale::jsonb, u.metadata::jsonb
FROM unnest(%(event_time)s::timestamptz[], %(ts)s::timestamptz[], %(confidence)s::float8[], %(row_no)s::int4[],
            %(late)s::bool[], %(symbol)s::text[], %(timeframe)s::text[], %(model_version)s::text[],
            %(decision)s::text[], %(contributions)b::text[], %(rationale)s::text[], %(metadata)s::text[])
     AS u(event_time, ts, confidence, row_no, late, symbol, timeframe, model_version, decision, contributions,
          rationale, metadata)
ORDER BY u.event_time, u.symbol, u.timeframe, u.model_version, u.row_no
ON CONFLICT ON CONSTRAINT uq_vendor_consensus_identity DO NOTHING
RETURNING row_no;

-- name: find_vendor_consensus
-- The stored row for each identity that was there already, whoever committed it; whether it says the same.
SELECT u.row_no, c.batch_id, c.row_no AS stored_row_no, c.decision, c.confidence, c.late,
       c.decision = u.decision AND c.confidence = u.confidence AND c.contributions = u.contributions::jsonb AS same
FROM unnest(%(event_time)s::timestamptz[], %(row_no)s::int4[], %(symbol)s::text[], %(timeframe)s::text[],
            %(model_version)s::text[], %(decision)s::text[], %(confidence)s::float8[], %(contributions)b::text[])
     AS u(event_time, row_no, symbol, timeframe, model_version, decision, confidence, contributions)
JOIN vendor_consensus c ON c.event_time = u.event_time AND c.deployment_id = %(deployment_id)s
     AND c.symbol = u.symbol AND c.timeframe = u.timeframe AND c.model_version = u.model_version;
