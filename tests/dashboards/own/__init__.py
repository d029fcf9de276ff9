"""The boards Alerts and gpufleet itself, over a store whose rows are made up here, and what they have to show."""
