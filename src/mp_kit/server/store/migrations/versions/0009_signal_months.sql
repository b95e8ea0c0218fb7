ALTER TABLE signals RENAME TO signals_default;
ALTER TABLE signals_default RENAME CONSTRAINT uq_signals_identity
  TO signals_default_event_time_deployment_id_symbol_timeframe_m_key;
ALTER INDEX ix_signals_symbol_timeframe_event_time RENAME TO signals_default_symbol_timeframe_event_time_idx;
ALTER INDEX ix_signals_vendor_id_event_time RENAME TO signals_default_vendor_id_event_time_idx;

CREATE TABLE signals (LIKE signals_default INCLUDING DEFAULTS INCLUDING CONSTRAINTS) PARTITION BY RANGE (event_time);
ALTER TABLE signals
  ADD CONSTRAINT uq_signals_identity UNIQUE (event_time, deployment_id, symbol, timeframe, model_version),
  ADD CONSTRAINT fk_signals_deployment_id_vendor_id FOREIGN KEY (deployment_id, vendor_id)
    REFERENCES deployments (id, vendor_id);
CREATE INDEX ix_signals_symbol_timeframe_event_time ON signals (symbol, timeframe, event_time);
CREATE INDEX ix_signals_vendor_id_event_time ON signals (vendor_id, event_time);

ALTER TABLE signals ATTACH PARTITION signals_default DEFAULT;
