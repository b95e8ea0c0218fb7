CREATE UNLOGGED TABLE rate_buckets (
	key TEXT NOT NULL,
	full_at FLOAT NOT NULL,
	granted INTEGER NOT NULL,
	asked_at FLOAT NOT NULL,
	CONSTRAINT pk_rate_buckets PRIMARY KEY (key)
);

CREATE INDEX ix_rate_buckets_full_at ON rate_buckets (full_at);

ALTER TABLE sign_in_trips ADD COLUMN address TEXT DEFAULT '' NOT NULL;

CREATE INDEX ix_sign_in_trips_address ON sign_in_trips (address);

-- Whoever ends a key, a token or a vendor, in whatever way, even by hand: every edge forgets it at the commit.
CREATE FUNCTION tell_changed_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('mp_tokens', OLD.id);
  RETURN NULL;
END
$$;

CREATE TRIGGER vendor_keys_told AFTER DELETE OR UPDATE OF revoked_at, expires_at, token_hash, vendor_id ON vendor_keys
  FOR EACH ROW EXECUTE FUNCTION tell_changed_tokens();
CREATE TRIGGER deployment_tokens_told
  AFTER DELETE OR UPDATE OF revoked_at, expires_at, token_hash, vendor_id, deployment_id, scope ON deployment_tokens
  FOR EACH ROW EXECUTE FUNCTION tell_changed_tokens();
CREATE TRIGGER deployments_told AFTER UPDATE OF model_id ON deployments
  FOR EACH ROW EXECUTE FUNCTION tell_changed_tokens();
CREATE TRIGGER marketplace_vendors_told AFTER DELETE OR UPDATE OF status ON marketplace_vendors
  FOR EACH ROW EXECUTE FUNCTION tell_changed_tokens();

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'mp_edge') THEN
    GRANT SELECT, INSERT, UPDATE, DELETE ON rate_buckets TO mp_edge;
  END IF;
END
$$;
