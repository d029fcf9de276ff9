"""Tests of what is exported for the alerting of others."""
