"""Simulated nodes and GPUs that report over real HTTP, marked simulated everywhere."""
