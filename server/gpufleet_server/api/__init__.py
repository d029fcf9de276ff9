"""The REST API under /api/v1."""

from gpufleet_server.api.application import build

__all__ = ["build"]
