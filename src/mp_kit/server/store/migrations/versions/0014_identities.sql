CREATE TABLE vendor_identities (
  id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  provider TEXT NOT NULL,
  subject TEXT NOT NULL,
  login TEXT DEFAULT '' NOT NULL,
  linked_by TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  last_used_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_vendor_identities PRIMARY KEY (id),
  CONSTRAINT uq_vendor_identities_provider_subject UNIQUE (provider, subject),
  CONSTRAINT fk_vendor_identities_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_vendor_identities_vendor_id ON vendor_identities (vendor_id);

CREATE TABLE sign_in_trips (
  state_digest TEXT NOT NULL,
  purpose TEXT NOT NULL,
  holder_digest TEXT NOT NULL,
  vendor_id TEXT,
  session_epoch INTEGER,
  target TEXT NOT NULL,
  expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT pk_sign_in_trips PRIMARY KEY (state_digest),
  CONSTRAINT ck_sign_in_trips_purpose CHECK (purpose IN ('login', 'link')),
  CONSTRAINT ck_sign_in_trips_link_is_somebodys CHECK ((purpose = 'link') = (vendor_id IS NOT NULL AND session_epoch IS NOT NULL)),
  CONSTRAINT fk_sign_in_trips_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_sign_in_trips_expires_at ON sign_in_trips (expires_at);
