"""Puts folder, data source, boards and alert rules into a Grafana through its HTTP API."""
