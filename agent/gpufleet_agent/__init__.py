"""The node agent: reads the GPU driver and reports to a gpufleet server."""

__version__ = "0.1.0"
