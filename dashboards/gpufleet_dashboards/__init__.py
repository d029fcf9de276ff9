"""Grafana dashboards over the store; a skeleton for now."""

__version__ = "0.1.0"
