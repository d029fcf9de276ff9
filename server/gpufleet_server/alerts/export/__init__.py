"""The same rules for the alerting of others: Prometheus rule files and Grafana-managed alert rules."""
