DROP TRIGGER audit_log_grows ON audit_log;
CREATE TRIGGER audit_log_grows BEFORE UPDATE OR DELETE ON audit_log
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

DROP TRIGGER model_stage_history_grows ON model_stage_history;
CREATE TRIGGER model_stage_history_grows BEFORE UPDATE OR DELETE ON model_stage_history
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

DROP TRIGGER model_validations_grow ON model_validations;
CREATE TRIGGER model_validations_grow BEFORE UPDATE OR DELETE ON model_validations
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

DROP TRIGGER model_approvals_grow ON model_approvals;
CREATE TRIGGER model_approvals_grow BEFORE UPDATE OR DELETE ON model_approvals
  FOR EACH ROW EXECUTE FUNCTION refuse_change();

DROP FUNCTION refuse_all_but_erasure();
DROP INDEX ix_audit_log_at;
ALTER TABLE marketplace_vendors DROP COLUMN erased_at;
