"""Tests of the ingest: real requests, real SQLite files."""
