"""Names of Kubernetes pods and containers, from the names of the log files that kubelet keeps on the node."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = "[a-z0-9.-]+"
_POD = re.compile(rf"(?P<namespace>{_NAME})_(?P<pod>{_NAME})_(?P<key>[0-9a-f-]{{32,36}})")
_CONTAINER = re.compile(
    rf"(?P<pod>{_NAME})_(?P<namespace>{_NAME})_(?P<container_name>{_NAME})-(?P<key>[0-9a-f]{{64}})\.log"
)


class PodNames:
    """Looks below a root folder; listed again only when something came or went."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._pods = _Listing(root / "var/log/pods", _POD)
        self._containers = _Listing(root / "var/log/containers", _CONTAINER)

    def names(self, pod_uid: str, container: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """`namespace`, `pod` and `container_name` as far as the node tells, and a reason for each that it does not."""
        found, reason = self._pods.get(pod_uid)
        named, other = self._containers.get(container or "")
        names = {**named, **found}
        reasons = {"namespace": reason, "pod": reason, "container_name": other}
        return names, {field: reason for field, reason in reasons.items() if field not in names}


class _Listing:
    """The names in a folder by their key."""

    def __init__(self, folder: Path, pattern: re.Pattern[str]) -> None:
        self._folder, self._pattern = folder, pattern
        self._changed: int | None = None
        self._found: dict[str, dict[str, str]] = {}

    def get(self, key: str) -> tuple[dict[str, str], str]:
        """The parts of the name, or none and the reason."""
        try:
            self._refresh()
        except PermissionError:
            return {}, f"no permission to list {self._folder}"
        except OSError:
            return {}, f"there is no {self._folder} here"
        return self._found.get(key, {}), f"not in {self._folder}"

    def _refresh(self) -> None:
        changed = self._folder.stat().st_mtime_ns
        if changed == self._changed:
            return
        matches = filter(None, (self._pattern.fullmatch(path.name) for path in self._folder.iterdir()))
        self._found = {match["key"]: _without_key(match) for match in matches}
        self._changed = changed


def _without_key(match: re.Match[str]) -> dict[str, str]:
    return {name: value for name, value in match.groupdict().items() if name != "key"}
