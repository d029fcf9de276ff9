"""Tests of pushing into a Grafana, against the stand-in."""
