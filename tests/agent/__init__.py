"""Tests of the agent distribution."""
