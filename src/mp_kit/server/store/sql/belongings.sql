-- name: vendor_ids
-- Ids of what is a vendor's, as the audit log may name it.
SELECT id FROM deployments WHERE vendor_id = :vendor
UNION ALL SELECT id FROM models WHERE vendor_id = :vendor
UNION ALL SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.vendor_id = :vendor
UNION ALL SELECT id FROM training_runs WHERE vendor_id = :vendor
UNION ALL SELECT id FROM vendor_keys WHERE vendor_id = :vendor
UNION ALL SELECT id FROM deployment_tokens WHERE vendor_id = :vendor
UNION ALL SELECT id FROM vendor_identities WHERE vendor_id = :vendor
UNION ALL SELECT id FROM webhook_endpoints WHERE vendor_id = :vendor
UNION ALL SELECT id FROM auth_codes WHERE vendor_id = :vendor
UNION ALL SELECT id FROM device_logins WHERE vendor_id = :vendor
UNION ALL SELECT id FROM reports WHERE vendor_id = :vendor;

-- name: audit_ids_about
-- Entries that name any of these, in whatever place.
SELECT a.id FROM audit_log a WHERE EXISTS (
  SELECT FROM unnest(CAST(:needles AS text[])) n
  WHERE strpos(a.subject, n) > 0 OR strpos(a.actor, n) > 0 OR strpos(a.detail::text, n) > 0);

-- name: vendor_under_way
-- What of a vendor's still runs, or is still paid for.
SELECT 'training run ' || id || ' is ' || state AS what FROM training_runs
WHERE vendor_id = :vendor AND state NOT IN ('succeeded', 'failed', 'cancelled')
UNION ALL SELECT 'the server of deployment ' || deployment_id || ' is ' || state FROM hostings
WHERE vendor_id = :vendor AND state NOT IN ('stopped', 'failed', 'removed')
UNION ALL SELECT 'machine ' || ref || ' at ' || provider || ' has not ended' FROM run_machines
WHERE vendor_id = :vendor AND until IS NULL
ORDER BY 1;

-- name: erase_vendor
-- Who the vendor is; its id stays, and can do nothing any more.
UPDATE marketplace_vendors SET name = 'erased ' || id, status = 'suspended', encrypted_connections = '{}',
  session_epoch = session_epoch + 1, monthly_ceiling_usd = NULL, erased_at = coalesce(erased_at, now()), updated_at = now()
WHERE id = :vendor;

-- name: erase_models
-- What its models are called and say of themselves.
UPDATE models SET name = id, description = '', tags = '[]', updated_at = now() WHERE vendor_id = :vendor;

-- name: erase_versions
-- Where versions lie at other services; who consumed them keeps their number and stage.
UPDATE model_versions SET hf_repo_id = NULL WHERE model_id IN (SELECT id FROM models WHERE vendor_id = :vendor);

-- name: erase_stage_reasons
-- Words about stages.
UPDATE model_stage_history SET reason = NULL WHERE reason IS NOT NULL AND version_id IN (
  SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.vendor_id = :vendor);

-- name: erase_validations
-- Reports that the vendor sent; that they were sent, and their digest, stays.
UPDATE model_validations SET report = '{}' WHERE version_id IN (
  SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.vendor_id = :vendor);

-- name: erase_approvals
-- The operator's words about a vendor's versions.
UPDATE model_approvals SET why = 'erased' WHERE version_id IN (
  SELECT v.id FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.vendor_id = :vendor);

-- name: erase_deployments
-- What deployments are called, and where they answer.
UPDATE deployments SET name = id, endpoint = NULL, spec = '{}', status = 'offline', updated_at = now()
WHERE vendor_id = :vendor;

-- name: erase_runs
-- What runs were told and told; when they ran, on which round and at what price stays.
UPDATE training_runs SET spec = jsonb_build_object('round_id', round_id, 'task', task), provider_data = '{}',
  idempotency_key = NULL, progress = '{}', metrics = '{}', artifacts = '{}', failure = NULL
WHERE vendor_id = :vendor;

-- name: erase_grants
-- To whom files were given; that they were stays.
UPDATE dataset_grants SET grantee = 'vendor:' || vendor_id WHERE vendor_id = :vendor;

-- name: erase_batches
-- Answers that were kept for a repetition, and the keys of it.
UPDATE signal_batches SET idempotency_key = NULL, answer = NULL
WHERE deployment_id IN (SELECT id FROM deployments WHERE vendor_id = :vendor);

-- name: erase_consensus_batches
-- Likewise.
UPDATE vendor_consensus_batches SET idempotency_key = NULL, answer = NULL
WHERE deployment_id IN (SELECT id FROM deployments WHERE vendor_id = :vendor);

-- name: erase_consensus
-- The vendor's name in bars that were blended before names were left to those who read them; its id stays.
UPDATE consensus c SET contributions = (
  SELECT jsonb_object_agg(part.key, CASE WHEN part.value ->> 'vendor_id' = :vendor THEN part.value - 'vendor'
                                         ELSE part.value END) FROM jsonb_each(c.contributions) part)
WHERE EXISTS (SELECT FROM jsonb_each(c.contributions) part
              WHERE part.value ->> 'vendor_id' = :vendor AND part.value ? 'vendor');
