"""Grafana dashboards over the store, as code."""

__version__ = "0.1.0"
