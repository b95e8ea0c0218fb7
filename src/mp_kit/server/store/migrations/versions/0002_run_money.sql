-- The ledger of training runs: a row per machine that was started, whoever lost its answer.

ALTER TABLE marketplace_vendors ADD COLUMN monthly_ceiling_usd NUMERIC(12, 2);

ALTER TABLE training_runs ADD COLUMN reserved_usd NUMERIC(12, 4) DEFAULT '0' NOT NULL;

CREATE TABLE run_machines (
  provider TEXT NOT NULL,
  ref TEXT NOT NULL,
  run_id TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  vendor_id TEXT NOT NULL,
  price_per_hour NUMERIC(12, 6) NOT NULL,
  since TIMESTAMP WITH TIME ZONE NOT NULL,
  until TIMESTAMP WITH TIME ZONE,
  billed_usd NUMERIC(14, 6),
  billed_at TIMESTAMP WITH TIME ZONE,
  CONSTRAINT pk_run_machines PRIMARY KEY (provider, ref),
  CONSTRAINT fk_run_machines_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id),
  CONSTRAINT fk_run_machines_vendor_id FOREIGN KEY(vendor_id) REFERENCES marketplace_vendors (id)
);

CREATE INDEX ix_run_machines_run_id ON run_machines (run_id);

CREATE INDEX ix_run_machines_unbilled ON run_machines (until) WHERE billed_at IS NULL;

-- The arrows of docs/runs.md, and no others; a test compares each pair of states with TRANSITIONS.
CREATE FUNCTION keep_arrows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN (
    ('queued', 'launching'), ('queued', 'cancelled'),
    ('launching', 'running'), ('launching', 'queued'), ('launching', 'failed'), ('launching', 'finishing'),
    ('launching', 'cancelling'),
    ('running', 'finishing'), ('running', 'failed'), ('running', 'cancelling'),
    ('finishing', 'succeeded'), ('finishing', 'failed'), ('finishing', 'cancelled'),
    ('cancelling', 'cancelled')
  ) THEN
    RAISE EXCEPTION 'run % is %: it cannot become %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER training_runs_move BEFORE UPDATE OF state ON training_runs
  FOR EACH ROW EXECUTE FUNCTION keep_arrows();
