"""Benchmarks: each prints a table and, as its last line, one JSON object. None gates a test on time."""
