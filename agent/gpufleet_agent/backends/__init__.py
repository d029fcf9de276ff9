"""One module a vendor, found by looking through this package."""

import importlib
import pkgutil

from gpufleet_agent.backends.backend import Backend


def discover() -> dict[str, Backend]:
    """Vendor → backend, for every module here that holds a BACKEND."""
    modules = (importlib.import_module(f"{__name__}.{info.name}") for info in pkgutil.iter_modules(__path__))
    found = (getattr(module, "BACKEND", None) for module in modules)
    return {backend.vendor: backend for backend in found if backend is not None}
