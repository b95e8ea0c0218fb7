ALTER TABLE signals RENAME TO signals_by_month;
ALTER INDEX uq_signals_identity RENAME TO uq_signals_by_month;
ALTER INDEX ix_signals_symbol_timeframe_event_time RENAME TO ix_signals_by_month_symbol;
ALTER INDEX ix_signals_vendor_id_event_time RENAME TO ix_signals_by_month_vendor;

CREATE TABLE signals (LIKE signals_by_month INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO signals SELECT * FROM signals_by_month;
DROP TABLE signals_by_month;

ALTER TABLE signals
  ADD CONSTRAINT uq_signals_identity UNIQUE (event_time, deployment_id, symbol, timeframe, model_version),
  ADD CONSTRAINT fk_signals_deployment_id_vendor_id FOREIGN KEY (deployment_id, vendor_id)
    REFERENCES deployments (id, vendor_id);
CREATE INDEX ix_signals_symbol_timeframe_event_time ON signals (symbol, timeframe, event_time);
CREATE INDEX ix_signals_vendor_id_event_time ON signals (vendor_id, event_time);
