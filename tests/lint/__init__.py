"""Checks of the source that no ready-made linter has."""
