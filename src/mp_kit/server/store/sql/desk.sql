-- name: desk_runs
-- A page of a vendor's runs as its filters want them, newest first; `fitting` is how many there are on all pages.
SELECT r.*, d.name AS round_name, count(*) OVER () AS fitting
FROM training_runs r LEFT JOIN dataset_rounds d ON d.id = r.round_id
WHERE r.vendor_id = :vendor_id
  AND (:status = '' OR r.status = :status) AND (:task = '' OR r.task = :task)
  AND (:provider = '' OR r.provider = :provider)
ORDER BY r.created_at DESC, r.id DESC LIMIT :limit OFFSET :offset;

-- name: desk_run_counts
-- A vendor's runs by status.
SELECT status, count(*) AS runs FROM training_runs WHERE vendor_id = :vendor_id GROUP BY status;

-- name: desk_activity
-- What happened last on a vendor's desk: to its runs, its versions, its deployments; newest first. Of a run only the
-- newest: its page has the others.
(SELECT e.at, 'run' AS about, r.id, r.task AS name, e.letter, e.kind, e.to_state AS became, NULL AS was
 FROM (SELECT id, task FROM training_runs WHERE vendor_id = :vendor_id
       ORDER BY greatest(created_at, started_at, finished_at) DESC LIMIT 40) r
 JOIN LATERAL (
   SELECT at, letter, kind, to_state FROM run_events WHERE run_id = r.id
     AND (kind IN ('created', 'launched', 'refused') OR to_state IN ('running', 'succeeded', 'failed', 'cancelled'))
   ORDER BY seq DESC LIMIT 1
 ) e ON true
 ORDER BY e.at DESC LIMIT :limit)
UNION ALL
(SELECT h.at, 'version', m.id, m.name || ' ' || v.version, NULL, 'stage', h.to_stage, h.from_stage
 FROM models m JOIN model_versions v ON v.model_id = m.id JOIN model_stage_history h ON h.version_id = v.id
 WHERE m.vendor_id = :vendor_id ORDER BY h.at DESC LIMIT :limit)
UNION ALL
(SELECT d.created_at, 'deployment', d.id, d.name, NULL, 'registered', NULL, NULL
 FROM deployments d WHERE d.vendor_id = :vendor_id ORDER BY d.created_at DESC LIMIT :limit)
ORDER BY at DESC, id LIMIT :limit;

-- name: desk_heartbeats
-- A deployment's last signs of life, newest first.
SELECT status, timestamp, received_at, metrics, message FROM deployment_heartbeats
WHERE deployment_id = :deployment_id ORDER BY received_at DESC LIMIT :limit;

-- name: desk_registered
-- A vendor's versions that came from a run, newest first.
SELECT m.id AS model_id, v.id AS version_id, m.name, v.version
FROM models m JOIN model_versions v ON v.model_id = m.id
WHERE m.vendor_id = :vendor_id AND v.run_id = :run_id ORDER BY v.created_at DESC, v.id;

-- name: desk_deployable
-- A vendor's versions that are not retired, newest first.
SELECT m.id AS model_id, v.id AS version_id, m.name, v.version, v.stage
FROM models m JOIN model_versions v ON v.model_id = m.id
WHERE m.vendor_id = :vendor_id AND v.stage <> 'retired' ORDER BY v.created_at DESC, v.id LIMIT :limit;
