"""Alerts: conditions over the store, their states, and who is told."""
