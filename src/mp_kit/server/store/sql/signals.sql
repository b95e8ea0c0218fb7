-- name: insert_signals
-- One batch, sorted by the key (no deadlocks between overlapping batches); tells how many rows were new.
INSERT INTO signals (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id,
                     model_id, symbol, timeframe, model_version, decision, rationale, metadata)
SELECT u.event_time, %(received_at)b, u.ts, %(batch_id)b, u.confidence, u.row_no, u.late, %(deployment_id)b,
       %(vendor_id)b, u.model_id, u.symbol, u.timeframe, u.model_version, u.decision, u.rationale::jsonb,
       u.metadata::jsonb
FROM unnest(%(event_time)b::timestamptz[], %(ts)b::timestamptz[], %(confidence)b::float8[], %(row_no)b::int4[],
            %(late)b::bool[], %(model_id)b::text[], %(symbol)b::text[], %(timeframe)b::text[],
            %(model_version)b::text[], %(decision)b::text[], %(rationale)b::text[], %(metadata)b::text[])
     AS u(event_time, ts, confidence, row_no, late, model_id, symbol, timeframe, model_version, decision,
          rationale, metadata)
ORDER BY u.event_time, u.symbol COLLATE "C", u.timeframe COLLATE "C", u.model_version COLLATE "C", u.row_no
ON CONFLICT DO NOTHING;

-- name: find_stored_signals
-- What is stored under each identity that was there already, whoever committed it.
SELECT u.row_no, s.batch_id, s.row_no AS stored_row_no, s.decision, s.confidence, s.late,
       s.decision = u.decision AND s.confidence = u.confidence AS same
FROM unnest(%(event_time)b::timestamptz[], %(row_no)b::int4[], %(symbol)b::text[], %(timeframe)b::text[],
            %(model_version)b::text[], %(decision)b::text[], %(confidence)b::float8[])
     AS u(event_time, row_no, symbol, timeframe, model_version, decision, confidence)
JOIN signals s ON s.event_time = u.event_time AND s.deployment_id = %(deployment_id)b AND s.symbol = u.symbol
              AND s.timeframe = u.timeframe AND s.model_version = u.model_version
WHERE (s.batch_id, s.row_no) <> (%(batch_id)b, u.row_no);

-- name: stage_signals
-- Where a large batch lands before it is told apart; a connection makes it once, and each commit empties it.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_signals (
  event_time timestamptz, ts timestamptz, confidence float8, row_no int4, late bool,
  symbol text, timeframe text, model_version text, decision text, model_id text, rationale jsonb, metadata jsonb
) ON COMMIT DELETE ROWS;

-- name: empty_stage
-- A batch of the same transaction may have been there before.
TRUNCATE staged_signals;

-- name: copy_signals
-- The columns in the order in which they are encoded.
COPY staged_signals (event_time, ts, confidence, row_no, late, symbol, timeframe, model_version, decision, model_id,
                     rationale, metadata) FROM STDIN (FORMAT BINARY);

-- name: insert_staged_signals
-- As insert_signals, from the staging table.
INSERT INTO signals (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id,
                     model_id, symbol, timeframe, model_version, decision, rationale, metadata)
SELECT u.event_time, %(received_at)b, u.ts, %(batch_id)b, u.confidence, u.row_no, u.late, %(deployment_id)b,
       %(vendor_id)b, u.model_id, u.symbol, u.timeframe, u.model_version, u.decision, u.rationale, u.metadata
FROM staged_signals u
ORDER BY u.event_time, u.symbol COLLATE "C", u.timeframe COLLATE "C", u.model_version COLLATE "C", u.row_no
ON CONFLICT DO NOTHING;

-- name: find_staged_signals
-- As find_stored_signals, from the staging table.
SELECT u.row_no, s.batch_id, s.row_no AS stored_row_no, s.decision, s.confidence, s.late,
       s.decision = u.decision AND s.confidence = u.confidence AS same
FROM staged_signals u
JOIN signals s ON s.event_time = u.event_time AND s.deployment_id = %(deployment_id)b AND s.symbol = u.symbol
              AND s.timeframe = u.timeframe AND s.model_version = u.model_version
WHERE (s.batch_id, s.row_no) <> (%(batch_id)b, u.row_no);

-- name: list_signals
-- A page of signals, newest bar first; every filter is optional, the vendor's is not left to the caller.
SELECT s.* FROM signals s
WHERE (CAST(:vendor_id AS text) IS NULL OR s.vendor_id = :vendor_id)
  AND (CAST(:deployment_id AS text) IS NULL OR s.deployment_id = :deployment_id)
  AND (CAST(:symbol AS text) IS NULL OR s.symbol = :symbol)
  AND (CAST(:timeframe AS text) IS NULL OR s.timeframe = :timeframe)
  AND (CAST(:since AS timestamptz) IS NULL OR s.event_time >= :since)
  AND (CAST(:until AS timestamptz) IS NULL OR s.event_time < :until)
  AND (CAST(:cursor_time AS timestamptz) IS NULL
       OR (s.event_time, s.batch_id, s.row_no) < (:cursor_time, :cursor_batch, :cursor_row))
ORDER BY s.event_time DESC, s.batch_id DESC, s.row_no DESC
LIMIT :limit;

-- name: list_batches
-- A vendor's batches since an instant, newest first, with the answer where one was kept for a repetition.
SELECT b.received_at, b.deployment_id, d.name AS deployment, b.rows, b.accepted, b.answer, b.first_event, b.last_event
FROM signal_batches b JOIN deployments d ON d.id = b.deployment_id
WHERE d.vendor_id = :vendor_id AND b.received_at >= :since
ORDER BY b.received_at DESC, b.id DESC LIMIT :limit;
