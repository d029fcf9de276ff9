"""Tests of what boards make by themselves."""
