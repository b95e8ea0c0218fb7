CREATE TABLE webhook_endpoints (
  id TEXT NOT NULL,
  vendor_id TEXT,
  url TEXT NOT NULL,
  events TEXT[] NOT NULL,
  description TEXT DEFAULT '' NOT NULL,
  wrapped_key TEXT NOT NULL,
  secret TEXT NOT NULL,
  former_secret TEXT,
  secret_overlap_until TIMESTAMP WITH TIME ZONE,
  status TEXT DEFAULT 'enabled' NOT NULL,
  disabled_reason TEXT,
  failing_since TIMESTAMP WITH TIME ZONE,
  last_success_at TIMESTAMP WITH TIME ZONE,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id),
  CONSTRAINT ck_webhook_endpoints_status CHECK (status IN ('enabled', 'disabled')),
  CONSTRAINT fk_webhook_endpoints_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_webhook_endpoints_vendor_id ON webhook_endpoints (vendor_id);

CREATE TABLE webhook_events (
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  vendor_id TEXT,
  body TEXT NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_webhook_events PRIMARY KEY (id),
  CONSTRAINT fk_webhook_events_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_webhook_events_created_at ON webhook_events (created_at);

CREATE TABLE webhook_deliveries (
  id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  status TEXT DEFAULT 'pending' NOT NULL,
  attempts INTEGER DEFAULT '0' NOT NULL,
  next_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  lock_token TEXT,
  log JSONB DEFAULT '[]'::jsonb NOT NULL,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  delivered_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id),
  CONSTRAINT ck_webhook_deliveries_status CHECK (status IN ('pending', 'delivered', 'dead')),
  CONSTRAINT uq_webhook_deliveries_event_id_endpoint_id UNIQUE (event_id, endpoint_id),
  CONSTRAINT fk_webhook_deliveries_event_id FOREIGN KEY(event_id) REFERENCES webhook_events (id) ON DELETE CASCADE,
  CONSTRAINT fk_webhook_deliveries_endpoint_id FOREIGN KEY(endpoint_id) REFERENCES webhook_endpoints (id) ON DELETE CASCADE
);

CREATE INDEX ix_webhook_deliveries_due ON webhook_deliveries (endpoint_id, next_at) WHERE status = 'pending';

CREATE INDEX ix_webhook_deliveries_endpoint_id_created_at ON webhook_deliveries (endpoint_id, created_at);
