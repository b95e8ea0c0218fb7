CREATE TABLE run_mirrors (
  run_id TEXT NOT NULL,
  flow_run_id TEXT NOT NULL,
  shown_state TEXT NOT NULL,
  shown_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT pk_run_mirrors PRIMARY KEY (run_id),
  CONSTRAINT fk_run_mirrors_run_id FOREIGN KEY(run_id) REFERENCES training_runs (id)
);
