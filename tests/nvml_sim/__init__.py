"""A simulated NVML driver for tests and benchmarks."""
