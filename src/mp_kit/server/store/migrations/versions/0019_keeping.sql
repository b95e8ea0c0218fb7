ALTER TABLE marketplace_vendors ADD COLUMN erased_at TIMESTAMP WITH TIME ZONE;

CREATE INDEX ix_audit_log_at ON audit_log (at, id);

-- What only grows may still lose two things, both by the tables' owner alone, who must say so in the transaction:
-- who somebody was (mp.erasing: a row's texts change, its id, order and digests do not), and entries of the audit log
-- that are older than a month (mp.forgetting).
CREATE FUNCTION refuse_all_but_erasure() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
  owned BOOLEAN := pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE');
  texts TEXT[] := TG_ARGV[0]::text[];
BEGIN
  IF TG_OP = 'UPDATE' AND owned AND current_setting('mp.erasing', true) <> ''
     AND to_jsonb(NEW) - texts = to_jsonb(OLD) - texts THEN
    RETURN NEW;
  END IF;
  IF TG_OP = 'DELETE' AND owned AND TG_TABLE_NAME = 'audit_log' AND current_setting('mp.forgetting', true) <> ''
     AND (to_jsonb(OLD) ->> 'at')::timestamptz < now() - interval '29 days' THEN
    RETURN OLD;
  END IF;
  RAISE EXCEPTION '% can only grow', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

DROP TRIGGER audit_log_grows ON audit_log;
CREATE TRIGGER audit_log_grows BEFORE UPDATE OR DELETE ON audit_log
  FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('{subject,detail,address}');

DROP TRIGGER model_stage_history_grows ON model_stage_history;
CREATE TRIGGER model_stage_history_grows BEFORE UPDATE OR DELETE ON model_stage_history
  FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('{reason}');

DROP TRIGGER model_validations_grow ON model_validations;
CREATE TRIGGER model_validations_grow BEFORE UPDATE OR DELETE ON model_validations
  FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('{report}');

DROP TRIGGER model_approvals_grow ON model_approvals;
CREATE TRIGGER model_approvals_grow BEFORE UPDATE OR DELETE ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('{why}');
