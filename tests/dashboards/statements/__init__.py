"""Tests of the SQL that several boards have."""
