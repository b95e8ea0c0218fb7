-- The roles stay: they belong to the cluster, where another marketplace may use them.
DO $$
DECLARE found RECORD;
BEGIN
  FOR found IN SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'public' LOOP
    EXECUTE format('DROP POLICY %I ON %I', found.policyname, found.tablename);
  END LOOP;
  FOR found IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity LOOP
    EXECUTE format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', found.relname);
  END LOOP;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM mp_edge, mp_public;
REVOKE ALL ON SCHEMA public FROM mp_edge, mp_public;
DROP TRIGGER audit_log_stays ON audit_log;
DROP FUNCTION mp_emit_webhook(TEXT, TEXT, TEXT, TEXT, BOOLEAN);
DROP FUNCTION mp_wanting(TEXT);
