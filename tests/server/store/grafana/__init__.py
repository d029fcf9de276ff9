"""The views for Grafana."""
