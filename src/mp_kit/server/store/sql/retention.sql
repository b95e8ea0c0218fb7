-- name: forget_vendor_keys
-- Keys that ended long ago, by revocation or by themselves.
DELETE FROM vendor_keys WHERE id IN (
  SELECT id FROM vendor_keys WHERE least(expires_at, revoked_at) < :before ORDER BY id LIMIT :most);

-- name: forget_deployment_tokens
-- Tokens likewise.
DELETE FROM deployment_tokens WHERE id IN (
  SELECT id FROM deployment_tokens WHERE least(expires_at, revoked_at) < :before ORDER BY id LIMIT :most);

-- name: forget_auth_codes
-- One-time codes that ended.
DELETE FROM auth_codes WHERE id IN (
  SELECT id FROM auth_codes WHERE expires_at < :before ORDER BY id LIMIT :most);

-- name: forget_device_logins
-- Programs that waited for approval; their codes go with them.
DELETE FROM device_logins WHERE id IN (
  SELECT id FROM device_logins WHERE expires_at < :before ORDER BY id LIMIT :most);

-- name: forget_sign_in_trips
-- Visits to a service that did not come back.
DELETE FROM sign_in_trips WHERE state_digest IN (
  SELECT state_digest FROM sign_in_trips WHERE expires_at < :before ORDER BY state_digest LIMIT :most);

-- name: forget_signal_answers
-- Answers to batches that are kept for a repetition, and the keys that ask for it; the batches stay.
UPDATE signal_batches SET idempotency_key = NULL, answer = NULL WHERE id IN (
  SELECT id FROM signal_batches WHERE idempotency_key IS NOT NULL AND received_at < :before ORDER BY id LIMIT :most);

-- name: forget_consensus_answers
-- Likewise for what vendors' own models say of the consensus.
UPDATE vendor_consensus_batches SET idempotency_key = NULL, answer = NULL WHERE id IN (
  SELECT id FROM vendor_consensus_batches WHERE idempotency_key IS NOT NULL AND received_at < :before
  ORDER BY id LIMIT :most);

-- name: forget_run_keys
-- Idempotency keys of orders whose runs have ended; the runs stay.
UPDATE training_runs SET idempotency_key = NULL WHERE id IN (
  SELECT id FROM training_runs WHERE idempotency_key IS NOT NULL AND finished_at < :before ORDER BY id LIMIT :most);

-- name: forget_run_logs
-- Log lines of runs that ended long ago.
DELETE FROM run_logs WHERE (run_id, seq) IN (
  SELECT l.run_id, l.seq FROM run_logs l JOIN training_runs r ON r.id = l.run_id
  WHERE r.finished_at < :before ORDER BY l.run_id, l.seq LIMIT :most);

-- name: forget_drops
-- The ledger of drops that were taken in or refused.
DELETE FROM signal_drops WHERE (deployment_id, name) IN (
  SELECT deployment_id, name FROM signal_drops WHERE finished_at < :before ORDER BY deployment_id, name LIMIT :most);

-- name: forget_grants
-- Who was given signed URLs of a round, once these ended long ago.
DELETE FROM dataset_grants WHERE id IN (
  SELECT id FROM dataset_grants WHERE expires_at < :before ORDER BY id LIMIT :most);

-- name: forget_audit
-- Entries of the audit log beyond their time; the trigger lets nothing younger go, whoever asks.
DELETE FROM audit_log WHERE id IN (
  SELECT id FROM audit_log WHERE at < :before ORDER BY at, id LIMIT :most);
