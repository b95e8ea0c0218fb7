-- A vendor with something in every table that vendors own. :v is its id and its mark, :n a number of its own.
INSERT INTO marketplace_vendors (id, name)
  VALUES (:v, :v);
INSERT INTO vendor_keys (id, vendor_id, name, token_hash, expires_at)
  VALUES (:v || 'key', :v, :v, :v, now() + interval '9 days');
INSERT INTO vendor_data_keys (vendor_id, wrapped_key)
  VALUES (:v, :v);
INSERT INTO vendor_connections (vendor_id, name, ciphertext, last4)
  VALUES (:v, 'wandb', :v, right(:v, 4));
INSERT INTO vendor_identities (id, vendor_id, provider, subject, login, linked_by)
  VALUES (:v || 'idn', :v, 'github.test', :v, :v, 'test');
INSERT INTO sign_in_trips (state_digest, purpose, holder_digest, vendor_id, session_epoch, target, expires_at)
  VALUES (:v, 'link', :v, :v, 0, '/', now() + interval '1 day');
INSERT INTO device_logins (id, code_digest, user_code, state, client, address, vendor_id, interval_seconds, expires_at)
  VALUES (:v || 'dev', :v, :v, 'approved', :v, '::1', :v, 5, now() + interval '1 day');
INSERT INTO auth_codes (id, vendor_id, token_hash, issued_by, expires_at)
  VALUES (:v || 'ac', :v, :v, :v, now() + interval '1 day');
INSERT INTO dataset_grants (id, round_id, vendor_id, grantee, expires_at)
  VALUES (:v || 'grn', 'rnd_desk', :v, :v, now() + interval '1 day');
INSERT INTO reports (id, name, title, status, audience, vendor_id, object_key, finished_at)
  VALUES (:v || 'rep', 'vendor', :v, 'succeeded', 'vendor', :v, :v, now());
INSERT INTO training_runs (id, vendor_id, round_id, task, provider, state, spec, body_sha256, failure, started_at, finished_at)
  VALUES (:v || 'run', :v, 'rnd_desk', 'signal', 'byoc', 'failed', CAST(:spec AS jsonb), '', :v, now(), now());
INSERT INTO run_machines (provider, ref, run_id, attempt, vendor_id, price_per_hour, since)
  VALUES ('byoc', :v, :v || 'run', 1, :v, 1, now());
INSERT INTO run_mirrors (run_id, flow_run_id, shown_state)
  VALUES (:v || 'run', :v, 'failed');
INSERT INTO run_events (run_id, seq, kind, to_state, detail)
  VALUES (:v || 'run', 0, 'created', 'queued', jsonb_build_object('said', CAST(:v AS text)));
INSERT INTO run_logs (run_id, seq, at, stream, text)
  VALUES (:v || 'run', 0, now(), 'stdout', :v);
INSERT INTO run_artifacts (run_id, name, size_bytes, sha256, object_key, uploaded_at)
  VALUES (:v || 'run', 'model.onnx', 7, repeat('0', 64), :v, now());
INSERT INTO models (id, vendor_id, name, description, task)
  VALUES (:v || 'mod', :v, :v, :v, 'signal');
INSERT INTO model_versions (id, model_id, version, stage, run_id)
  VALUES (:v || 'ver', :v || 'mod', '1', :stage, :v || 'run');
INSERT INTO model_stage_history (version_id, seq, to_stage, actor, reason)
  VALUES (:v || 'ver', 0, :stage, :v, :v);
INSERT INTO model_validations (version_id, seq, digest, passed, actor)
  VALUES (:v || 'ver', 1, repeat('0', 64), false, :v);
INSERT INTO model_approvals (version_id, seq, granted, actor, why)
  VALUES (:v || 'ver', 1, false, :v, :v);
INSERT INTO deployments (id, vendor_id, name, provider, model_id, version_id)
  VALUES (:v || 'dep', :v, :v, 'byoc', :v || 'mod', :v || 'ver');
INSERT INTO deployment_tokens (id, deployment_id, vendor_id, token_hash, expires_at)
  VALUES (:v || 'sit', :v || 'dep', :v, :v, now() + interval '9 days');
INSERT INTO deployment_heartbeats (id, deployment_id, status, timestamp, message)
  VALUES (:v || 'hb', :v || 'dep', 'ready', now(), :v);
INSERT INTO hostings (deployment_id, vendor_id, provider, kind, state, failure)
  VALUES (:v || 'dep', :v, 'local', 'process', 'failed', :v);
INSERT INTO pollings (deployment_id, vendor_id, infer_url)
  VALUES (:v || 'dep', :v, 'https://' || :v || '.test');
INSERT INTO polls (deployment_id, symbol, timeframe, event_time, vendor_id, state, outcome, reason)
  VALUES (:v || 'dep', 'EURUSD', '1h', now(), :v, 'done', 'failed', :v);
INSERT INTO poll_budgets (vendor_id, day, most_calls, most_milliseconds)
  VALUES (:v, current_date, 1, 1);
INSERT INTO signal_batches (id, deployment_id, body_sha256, answer, rows, accepted, first_event, last_event)
  VALUES (:n, :v || 'dep', '', convert_to(:v, 'UTF8'), 1, 1, now(), now());
INSERT INTO signals (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id, symbol, timeframe, model_version, decision, rationale)
  VALUES (now(), now(), now(), :n, 0.5, 0, false, :v || 'dep', :v, 'EURUSD', '1h', '1', 'BUY', jsonb_build_array(CAST(:v AS text)));
INSERT INTO signal_chains (deployment_id, seq, head)
  VALUES (:v || 'dep', 1, :v);
INSERT INTO signal_receipts (deployment_id, seq, batch_id, payload, key_id, signature)
  VALUES (:v || 'dep', 1, :n, :v, 'desk', '');
INSERT INTO signal_drops (deployment_id, name, size_bytes, sha256, object_key, announced_at)
  VALUES (:v || 'dep', :v, 7, repeat('0', 64), :v, now());
INSERT INTO signal_rollups (deployment_id, symbol, timeframe, predictions, confidence)
  VALUES (:v || 'dep', :v, '1h', 1, 0.5);
INSERT INTO model_scores (round_id, deployment_id, timeframe, enough_data, reason, bars, card, standing, tries_by_round)
  VALUES ('rnd_desk', :v || 'dep', '1h', false, :v, 1, CAST(:card AS jsonb), CAST(:standing AS jsonb), '{}');
INSERT INTO vendor_consensus_batches (id, deployment_id, body_sha256, accepted, received_at)
  VALUES (:n, :v || 'dep', '', 1, now());
INSERT INTO vendor_consensus (event_time, received_at, ts, batch_id, confidence, row_no, late, deployment_id, vendor_id, symbol, timeframe, model_version, decision)
  VALUES (now(), now(), now(), :n, 0.5, 0, false, :v || 'dep', :v, 'EURUSD', '1h', '1', 'BUY');
INSERT INTO consensus (event_time, symbol, timeframe, method, decision, confidence, score, signals, deployment_id, vendor_id)
  VALUES (now(), 'EURUSD', '1h', 'vendor:' || :v, 'BUY', 0.5, 0.5, 1, :v || 'dep', :v);
INSERT INTO webhook_endpoints (id, vendor_id, url, events, description, wrapped_key, secret)
  VALUES (:v || 'whk', :v, 'https://' || :v || '.test', '{run.finished}', :v, :v, :v);
INSERT INTO webhook_events (id, type, vendor_id, body)
  VALUES (:v || 'msg', 'run.finished', :v, :v);
INSERT INTO webhook_deliveries (id, event_id, endpoint_id)
  VALUES (:v || 'whd', :v || 'msg', :v || 'whk');
