-- name: missing_gates
-- Which gates of a stage a version has not met; the database's own judge.
SELECT unnest(missing_gates(:version_id, :stage));

-- name: missing_gates_of
-- The same of several versions.
SELECT id, missing_gates(id, :stage) AS missing FROM unnest(CAST(:version_ids AS text[])) AS id;

-- name: add_validation
-- Stores a report with a version; nothing happens where the version has that very report.
INSERT INTO model_validations (version_id, seq, digest, passed, report, actor)
SELECT :version_id, coalesce(max(seq), 0) + 1, :digest, :passed, CAST(:report AS jsonb), :actor
FROM model_validations WHERE version_id = :version_id
ON CONFLICT ON CONSTRAINT uq_model_validations_version_id_digest DO NOTHING;

-- name: add_approval
-- Stores the operator's word on a version.
INSERT INTO model_approvals (version_id, seq, granted, actor, why)
SELECT :version_id, coalesce(max(seq), 0) + 1, :granted, :actor, :why
FROM model_approvals WHERE version_id = :version_id;

-- name: served_by
-- Deployments of a model's versions, and what they said.
SELECT d.id AS deployment_id, d.name, d.provider, d.status, d.last_heartbeat_at, d.version_id,
       coalesce(said.signals, 0) AS signals, said.first_bar, said.last_bar
FROM deployments d
LEFT JOIN LATERAL (
  SELECT sum(b.accepted)::bigint AS signals, min(b.first_event) FILTER (WHERE b.accepted > 0) AS first_bar,
         max(b.last_event) FILTER (WHERE b.accepted > 0) AS last_bar
  FROM signal_batches b WHERE b.deployment_id = d.id
) said ON true
WHERE d.model_id = :model_id AND d.vendor_id = :vendor_id ORDER BY d.created_at, d.id;
