"""What tokens may do, as Grafana's basic roles are documented, and how a request is held against it."""

from collections.abc import Mapping, Sequence

Permissions = Mapping[str, Sequence[str]]

VIEWER: Permissions = {
    "dashboards:read": ["folders:*"],
    "folders:read": ["folders:*"],
    "alert.rules:read": ["folders:*"],
    "annotations:read": ["*"],
}
EDITOR: Permissions = {
    **VIEWER,
    "dashboards:create": ["folders:*"],
    "dashboards:write": ["folders:*"],
    "folders:create": ["folders:uid:general"],
    "folders:write": ["folders:*"],
    "alert.rules:create": ["folders:*"],
    "alert.rules:write": ["folders:*"],
    "alert.rules:delete": ["folders:*"],
    "alert.provisioning.provenance:write": [""],
}
ADMIN: Permissions = {
    **EDITOR,
    "datasources:read": ["datasources:*"],
    "datasources:create": [""],
    "datasources:write": ["datasources:*"],
    "alert.provisioning:read": [""],
    "alert.provisioning:write": [""],
}


def without(permissions: Permissions, *actions: str) -> Permissions:
    """A role that lacks some actions."""
    return {action: scopes for action, scopes in permissions.items() if action not in actions}


def may(permissions: Permissions, action: str, *scopes: str) -> bool:
    """Whether an action is granted, on any of the scopes where there are some."""
    granted = permissions.get(action)
    if granted is None:
        return False
    return not scopes or any(
        have in {"", "*", wanted} or (have.endswith("*") and wanted.startswith(have[:-1]))
        for have in granted
        for wanted in scopes
    )
