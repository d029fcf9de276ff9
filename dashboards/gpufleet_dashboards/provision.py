"""Files for Grafana's provisioning: the data source, and where it finds the boards."""

from dataclasses import dataclass
from typing import Any

from gpufleet_dashboards.query import PLUGIN
from gpufleet_dashboards.render import SOURCE_NAME, SOURCE_UID, TAG

DATASOURCE_FILE = "datasources/gpufleet.yml"
PROVIDER_FILE = "dashboards/gpufleet.yml"
BOARDS_FOLDER = "gpufleet-boards"
ALERTS_FOLDER = "alerting"
PASSWORD = "GPUFLEET_READER_PASSWORD"  # noqa: S105 - the variable's name, not its value
FOLDER_TITLE, FOLDER_UID = "gpufleet", TAG
# PostgreSQL's oldest that gpufleet is for, as Grafana writes versions.
_POSTGRES = 1500
_CONNECTIONS = 10
# Samples are no closer, as agents are set at first.
_FINEST = "10s"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the data source finds the store's PostgreSQL, and as whom it asks.

    `address` is `host:port`. `password_file` is a file of Grafana's machine that has the role's password in it,
    `sslrootcert` one with what PostgreSQL's certificate is signed with, PEM: verify-ca and verify-full need it.
    """

    address: str
    database: str
    role: str
    sslmode: str
    password_file: str = ""
    sslrootcert: str = ""


def settings(source: Source) -> dict[str, Any]:
    """What Grafana keeps of the data source beside its name and password; the same by file and by its API."""
    more = {
        "database": source.database,
        "sslmode": source.sslmode,
        "postgresVersion": _POSTGRES,
        "timescaledb": False,
        "timeInterval": _FINEST,
        "maxOpenConns": _CONNECTIONS,
        "maxIdleConns": _CONNECTIONS,
        "connMaxLifetime": 14_400,
    }
    if source.sslrootcert:
        more |= {"tlsConfigurationMethod": "file-path", "sslRootCertFile": source.sslrootcert}
    return {"type": PLUGIN, "access": "proxy", "url": source.address, "user": source.role, "jsonData": more}


def datasource(source: Source) -> dict[str, Any]:
    """The file of the data source; Grafana puts in the password, from its own environment or a file."""
    own = {"name": SOURCE_NAME, "uid": SOURCE_UID, "orgId": 1, **settings(source)}
    password = f"$__file{{{source.password_file}}}" if source.password_file else f"${{{PASSWORD}}}"
    own["secureJsonData"] = {"password": password}
    own["editable"] = False
    return {"apiVersion": 1, "datasources": [own]}


def provider(boards: str) -> dict[str, Any]:
    """The file that says where boards are: `boards` is a folder of Grafana's machine."""
    own = {
        "name": "gpufleet",
        "orgId": 1,
        "folder": FOLDER_TITLE,
        "folderUid": FOLDER_UID,
        "type": "file",
        "disableDeletion": False,
        # What people change of them would be lost at the next start: they are to save a copy.
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": boards, "foldersFromFilesStructure": False},
    }
    return {"apiVersion": 1, "providers": [own]}
