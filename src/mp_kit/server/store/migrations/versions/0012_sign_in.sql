ALTER TABLE vendor_keys ADD COLUMN name TEXT DEFAULT '' NOT NULL;

CREATE TABLE device_logins (
  id TEXT NOT NULL,
  code_digest TEXT NOT NULL,
  user_code TEXT NOT NULL,
  state TEXT DEFAULT 'pending' NOT NULL,
  client TEXT DEFAULT '' NOT NULL,
  address TEXT NOT NULL,
  vendor_id TEXT,
  interval_seconds INTEGER NOT NULL,
  last_polled_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  decided_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_device_logins PRIMARY KEY (id),
  CONSTRAINT ck_device_logins_state CHECK (state IN ('pending', 'approved', 'denied', 'exchanged')),
  CONSTRAINT ck_device_logins_approved_by_somebody CHECK ((state IN ('approved', 'exchanged')) <= (vendor_id IS NOT NULL)),
  CONSTRAINT uq_device_logins_code_digest UNIQUE (code_digest),
  CONSTRAINT uq_device_logins_user_code UNIQUE (user_code),
  CONSTRAINT fk_device_logins_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_device_logins_expires_at ON device_logins (expires_at);

CREATE INDEX ix_device_logins_address ON device_logins (address);

CREATE TABLE auth_codes (
  id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  device_id TEXT,
  token_hash TEXT NOT NULL,
  issued_by TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  used_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_auth_codes PRIMARY KEY (id),
  CONSTRAINT fk_auth_codes_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id),
  CONSTRAINT fk_auth_codes_device_id FOREIGN KEY(device_id) REFERENCES device_logins (id) ON DELETE CASCADE
);

CREATE INDEX ix_auth_codes_vendor_id ON auth_codes (vendor_id);

CREATE INDEX ix_auth_codes_device_id ON auth_codes (device_id);

CREATE INDEX ix_auth_codes_expires_at ON auth_codes (expires_at);
