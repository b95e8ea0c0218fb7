-- name: list_tables
-- Every table of ours that outlives a crash, without the partitions of one.
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p' ORDER BY 1;

-- name: list_structure
-- What holds the rules; NOT NULL has a name in newer versions only, and internal triggers are their constraints'.
SELECT 'constraint ' || conrelid::regclass || ' ' || conname FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND contype NOT IN ('n', 't') AND conrelid <> 0
UNION ALL SELECT 'index ' || tablename || ' ' || indexname FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal AND tgenabled IN ('O', 'A')
UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
UNION ALL SELECT 'policy ' || tablename || ' ' || policyname FROM pg_policies WHERE schemaname = 'public'
ORDER BY 1;

-- name: list_roles
-- Roles that somebody granted something of ours, or that a policy is for; the owner's and everybody's are none.
SELECT DISTINCT r.rolname FROM (
  SELECT (aclexplode(relacl)).grantee FROM pg_class WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT (aclexplode(proacl)).grantee FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT (aclexplode(nspacl)).grantee FROM pg_namespace WHERE nspname = 'public'
  UNION ALL SELECT unnest(polroles) FROM pg_policy
) AS named JOIN pg_roles r ON r.oid = named.grantee
WHERE r.rolname NOT LIKE 'pg\_%'
  AND r.oid NOT IN (SELECT relowner FROM pg_class WHERE relnamespace = 'public'::regnamespace) ORDER BY 1;

-- name: list_references
-- Objects that rows need, with the digest that they have there; a drop that is awaited need not have come.
SELECT 'runs/' || run_id || '/' || name AS key, sha256, 'artifact ' || name || ' of run ' || run_id AS what
FROM run_artifacts WHERE uploaded_at IS NOT NULL
UNION ALL SELECT object_key, NULL, 'report ' || id FROM reports WHERE object_key IS NOT NULL
UNION ALL SELECT 'objects/' || left(f.value ->> 'sha256', 2) || '/' || (f.value ->> 'sha256'), f.value ->> 'sha256',
       'file ' || (f.value ->> 'name') || ' of round ' || r.id
FROM dataset_rounds r, jsonb_array_elements(r.files || r.held_back) f WHERE f.value ? 'sha256'
ORDER BY 1;
