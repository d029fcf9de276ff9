"""What a token has to be allowed, held against what Grafana says it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """Any of these actions, on any of these scopes; no scopes: wherever."""

    actions: tuple[str, ...]
    scopes: tuple[str, ...] = ()

    def met(self, permissions: Mapping[str, Sequence[str]]) -> bool:
        """Whether a token with these permissions (action → scopes) may."""
        granted = [scope for action in self.actions for scope in permissions.get(action, ())]
        held = any(action in permissions for action in self.actions)
        return held and (not self.scopes or any(_covers(scope, wanted) for scope in granted for wanted in self.scopes))

    def __str__(self) -> str:
        where = f" on {self.scopes[0]}" if self.scopes else ""
        return " or ".join(self.actions) + where


def lacking(permissions: Mapping[str, Sequence[str]], needs: Iterable[Need]) -> list[str]:
    """What is needed and not there, each once."""
    return list(dict.fromkeys(str(need) for need in needs if not need.met(permissions)))


def _covers(scope: str, wanted: str) -> bool:
    return scope in {"", "*", wanted} or (scope.endswith("*") and wanted.startswith(scope[:-1]))
