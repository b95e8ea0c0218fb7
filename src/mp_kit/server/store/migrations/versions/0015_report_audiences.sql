ALTER TABLE reports ADD COLUMN audience TEXT DEFAULT 'operator' NOT NULL;

ALTER TABLE reports ADD COLUMN vendor_id TEXT;

ALTER TABLE reports ADD COLUMN title TEXT DEFAULT '' NOT NULL;

ALTER TABLE reports ADD CONSTRAINT ck_reports_audience CHECK (audience IN ('operator', 'vendor', 'public'));

ALTER TABLE reports ADD CONSTRAINT ck_reports_a_vendors_own CHECK ((audience = 'vendor') = (vendor_id IS NOT NULL));

ALTER TABLE reports ADD CONSTRAINT fk_reports_vendor_id FOREIGN KEY (vendor_id) REFERENCES marketplace_vendors (id);

CREATE INDEX ix_reports_audience_created_at ON reports (audience, created_at);

CREATE INDEX ix_reports_vendor_id_created_at ON reports (vendor_id, created_at);
