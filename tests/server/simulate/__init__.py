"""The simulated fleet: its model and its agents."""
