"""Tests of how others are told of alerts."""
