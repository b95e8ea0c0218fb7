-- name: in_use_at_runpod
-- What a vendor's open runs and wanted servers have, or are about to have, on its RunPod account, the newest first.
SELECT id, 'pods' AS kind, provider_ref AS ref, state, created_at FROM training_runs
WHERE vendor_id = :vendor_id AND provider = 'runpod' AND state IN ('queued', 'launching', 'running', 'finishing', 'cancelling')
UNION ALL
SELECT deployment_id, CASE kind WHEN 'pod' THEN 'pods' ELSE 'serverless' END, provider_ref, state, created_at FROM hostings
WHERE vendor_id = :vendor_id AND provider = 'runpod' AND state IN ('queued', 'launching', 'running', 'ending')
ORDER BY created_at DESC, id;
