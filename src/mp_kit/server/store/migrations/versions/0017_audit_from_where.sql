ALTER TABLE audit_log ADD COLUMN address TEXT;

ALTER TABLE audit_log ADD COLUMN outcome TEXT DEFAULT 'done' NOT NULL;

ALTER TABLE audit_log ADD CONSTRAINT ck_audit_log_outcome CHECK (outcome IN ('done', 'refused'));
