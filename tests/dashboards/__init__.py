"""Tests of the boards: every query as Grafana would ask it, on a real PostgreSQL."""
