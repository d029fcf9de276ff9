"""Finds the views by looking through their package."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from gpufleet_server.store.grafana import views
from gpufleet_server.store.grafana.view import View


@functools.cache
def every_view() -> Mapping[str, View]:
    """All views by name, in the order of their names."""
    found = [_view(each.name) for each in pkgutil.iter_modules(views.__path__)]
    return MappingProxyType({view.name: view for view in sorted(found, key=lambda view: view.name)})


def _view(name: str) -> View:
    found = getattr(importlib.import_module(f"{views.__name__}.{name}"), "VIEW", None)
    if not isinstance(found, View) or found.name != name:
        raise TypeError(f"{views.__name__}.{name} must have a View of that name, named VIEW")
    return found
