"""What a running marketplace tells its operator: logs, metrics, traces. Nothing here knows a service or a table."""
