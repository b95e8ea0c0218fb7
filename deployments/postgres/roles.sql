-- Roles and databases, before the first migration. An administrator runs it once, superuser or not (managed Postgres):
--
--   psql "$ADMIN_URL" -f deployments/postgres/roles.sql
--
-- The passwords come from the environment: MP_OWNER_PASSWORD, MP_EDGE_PASSWORD, MP_PREFECT_PASSWORD; what
-- deployments/secrets.sh writes to secrets/postgres.env. Running it again changes the passwords, and nothing else.
-- Where the server logs statements (log_statement = ddl), it logs these, too: turn that off meanwhile.
\set ON_ERROR_STOP on
\getenv owner_password MP_OWNER_PASSWORD
\getenv edge_password MP_EDGE_PASSWORD
\getenv prefect_password MP_PREFECT_PASSWORD

-- mp_owner owns the tables: migrations, flows, the operator's commands. mp_edge owns nothing: edges log in as it, and the
-- policies that the migrations make for it let through what a request is about. For a request of the public it becomes
-- mp_public, whose rights it does not have before.
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY['mp_owner', 'mp_edge', 'mp_prefect']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
SELECT 'CREATE ROLE mp_public' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mp_public') \gexec
ALTER ROLE mp_edge NOINHERIT;
SELECT 'GRANT mp_public TO mp_edge' WHERE NOT pg_has_role('mp_edge', 'mp_public', 'MEMBER') \gexec
ALTER ROLE mp_owner PASSWORD :'owner_password';
ALTER ROLE mp_edge PASSWORD :'edge_password';
ALTER ROLE mp_prefect PASSWORD :'prefect_password';

-- Who makes a database for somebody else must be allowed to become that one.
SELECT format('GRANT %I TO CURRENT_USER', name) FROM unnest(ARRAY['mp_owner', 'mp_prefect']) AS name
WHERE NOT pg_has_role(name, 'SET') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('marketplace', 'mp_owner'), ('prefect', 'mp_prefect')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE CONNECT ON DATABASE marketplace, prefect FROM PUBLIC;
GRANT CONNECT ON DATABASE marketplace TO mp_edge;
