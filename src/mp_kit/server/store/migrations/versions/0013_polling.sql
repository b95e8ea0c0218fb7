CREATE TABLE pollings (
  deployment_id TEXT NOT NULL,
  vendor_id TEXT NOT NULL,
  poll BOOLEAN DEFAULT true NOT NULL,
  infer_url TEXT,
  symbols TEXT[],
  timeframes TEXT[],
  failures INTEGER DEFAULT 0 NOT NULL,
  opens INTEGER DEFAULT 0 NOT NULL,
  retry_at TIMESTAMP WITH TIME ZONE,
  last_at TIMESTAMP WITH TIME ZONE,
  last_outcome TEXT,
  last_reason TEXT,
  created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_pollings PRIMARY KEY (deployment_id),
  CONSTRAINT ck_pollings_last_outcome CHECK (last_outcome IN ('accepted', 'duplicate', 'conflict', 'rejected', 'failed')),
  CONSTRAINT fk_pollings_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id)
);

CREATE INDEX ix_pollings_vendor_id ON pollings (vendor_id);

CREATE TABLE polls (
  deployment_id TEXT NOT NULL,
  symbol TEXT NOT NULL,
  timeframe TEXT NOT NULL,
  event_time TIMESTAMP WITH TIME ZONE NOT NULL,
  vendor_id TEXT NOT NULL,
  state TEXT NOT NULL,
  outcome TEXT,
  attempts INTEGER DEFAULT 1 NOT NULL,
  lock_token TEXT,
  locked_until TIMESTAMP WITH TIME ZONE,
  asked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  http_status INTEGER,
  milliseconds INTEGER,
  late BOOLEAN,
  reason TEXT,
  CONSTRAINT pk_polls PRIMARY KEY (deployment_id, symbol, timeframe, event_time),
  CONSTRAINT ck_polls_state CHECK (state IN ('asking', 'again', 'done')),
  CONSTRAINT ck_polls_outcome CHECK (outcome IN ('accepted', 'duplicate', 'conflict', 'rejected', 'failed')),
  CONSTRAINT fk_polls_deployment_id_vendor_id FOREIGN KEY(deployment_id, vendor_id) REFERENCES deployments (id, vendor_id)
);

CREATE INDEX ix_polls_asked_at ON polls (asked_at);

CREATE INDEX ix_polls_deployment_id_asked_at ON polls (deployment_id, asked_at);

CREATE TABLE poll_budgets (
  vendor_id TEXT NOT NULL,
  day DATE NOT NULL,
  calls INTEGER DEFAULT 0 NOT NULL,
  milliseconds BIGINT DEFAULT 0 NOT NULL,
  most_calls INTEGER NOT NULL,
  most_milliseconds BIGINT NOT NULL,
  exhausted BOOLEAN DEFAULT false NOT NULL,
  CONSTRAINT pk_poll_budgets PRIMARY KEY (vendor_id, day),
  CONSTRAINT fk_poll_budgets_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_poll_budgets_day ON poll_budgets (day);
