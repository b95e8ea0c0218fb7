-- Credentials are ciphertext (server/vault.py); marketplace_vendors.encrypted_connections stays empty and unused.

CREATE TABLE vendor_data_keys (
  vendor_id TEXT NOT NULL,
  wrapped_key TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_vendor_data_keys PRIMARY KEY (vendor_id),
  CONSTRAINT fk_vendor_data_keys_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE TABLE vendor_connections (
  vendor_id TEXT NOT NULL,
  name TEXT NOT NULL,
  ciphertext TEXT NOT NULL,
  last4 TEXT NOT NULL,
  status TEXT DEFAULT 'unchecked' NOT NULL,
  checked_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_vendor_connections PRIMARY KEY (vendor_id, name),
  CONSTRAINT ck_vendor_connections_name CHECK (name IN ('runpod', 'huggingface', 'wandb')),
  CONSTRAINT ck_vendor_connections_status CHECK (status IN ('unchecked', 'ok', 'refused', 'unreachable')),
  CONSTRAINT fk_vendor_connections_vendor_id FOREIGN KEY(vendor_id) REFERENCES vendor_data_keys (vendor_id)
);
