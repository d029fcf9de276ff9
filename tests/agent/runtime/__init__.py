"""Tests of the running agent."""
