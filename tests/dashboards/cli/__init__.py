"""Tests of `gpufleet dashboards`."""
