"""The data source that boards ask: Grafana's PostgreSQL plugin on gpufleet's database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gpufleet_dashboards.provision import Source, settings
from gpufleet_dashboards.push.grafana import Grafana, Json
from gpufleet_dashboards.push.mark import digest
from gpufleet_dashboards.push.rights import Need
from gpufleet_dashboards.push.step import Fate, Step
from gpufleet_dashboards.render import SOURCE_NAME, SOURCE_UID

# In jsonData, where Grafana keeps what it does not know.
_MARK = "gpufleetPushed"
_KIND = "data source"
_TOP = ("name", "type", "access", "url", "user")
_READ_ONLY = (
    "Grafana read it from a file and takes no changes ({names} would change): change that file, or leave --address out"
)
_MISSING = "it is not there: give --address, --database and --role to make it, or --no-datasource to push without it"


@dataclass(frozen=True, slots=True)
class DataSource:
    """A data source as it is to be. `settings`: as Grafana's API names them, without secrets.

    `renew`: send the password though there is one; Grafana does not tell whether it is the same.
    """

    settings: Mapping[str, Any]
    password: str = field(default="", repr=False)
    renew: bool = False

    @property
    def uid(self) -> str:
        """Its uid in Grafana."""
        return str(self.settings["uid"])


def step(grafana: Grafana, uid: str, wanted: DataSource | None, overwrite: bool) -> Step:
    """What becomes of a data source; one that nothing is wanted of has to be there."""
    there = grafana.datasource(uid)
    if wanted is None:
        fate, why = (Fate.SAME, "") if there else (Fate.BLOCKED, _MISSING)
        return Step(kind=_KIND, uid=uid, title=uid, fate=fate, why=why)
    if there is None:
        return _create(grafana, wanted, overwrite)
    return _existing(grafana, there, wanted, overwrite)


def _create(grafana: Grafana, wanted: DataSource, overwrite: bool) -> Step:
    return Step(
        kind=_KIND,
        uid=wanted.uid,
        title=wanted.uid,
        fate=Fate.CREATE,
        why="" if wanted.password else "without a password",
        ours=_told(wanted.settings, wanted.settings),
        needs=(Need(("datasources:create",)),),
        write=partial(grafana.create_datasource, _body({}, wanted)),
        again=partial(step, grafana, wanted.uid, wanted, overwrite),
    )


def _existing(grafana: Grafana, there: Json, wanted: DataSource, overwrite: bool) -> Step:
    now, ours = _told(there, wanted.settings), _told(wanted.settings, wanted.settings)
    secret = bool(wanted.password) and (wanted.renew or not (there.get("secureJsonFields") or {}).get("password"))
    fate, why = _fate(there, now, ours, secret, overwrite)
    return Step(
        kind=_KIND,
        uid=wanted.uid,
        title=wanted.uid,
        fate=fate,
        why=why,
        behind=fate is Fate.KEEP,
        there=now,
        ours=ours,
        needs=(Need(("datasources:write",), (f"datasources:uid:{wanted.uid}",)),) if fate is Fate.UPDATE else (),
        write=partial(grafana.update_datasource, _body(there, wanted, secret)),
        # A password is not told: asked again, what else there is has to do.
        again=partial(step, grafana, wanted.uid, DataSource(wanted.settings), overwrite),
    )


def _fate(there: Json, now: Json, ours: Json, secret: bool, overwrite: bool) -> tuple[Fate, str]:
    names = ", ".join(sorted(_names(now, ours)))
    if not names and not secret:
        return Fate.SAME, ""
    if there.get("readOnly"):
        return Fate.BLOCKED, _READ_ONLY.format(names=names or "its password")
    if not names or overwrite or (there.get("jsonData") or {}).get(_MARK) == digest(now):
        return Fate.UPDATE, names or "its password"
    return Fate.KEEP, f"changed in Grafana: {names}"


def _names(now: Json, ours: Json) -> set[str]:
    return {name for name in now.keys() | ours.keys() if now.get(name) != ours.get(name)}


def _told(settings: Mapping[str, Any], like: Mapping[str, Any]) -> Json:
    """Of settings those that `like` says something of, as one level."""
    more = settings.get("jsonData") or {}
    top = {name: settings.get(name) for name in _TOP if name in like}
    return top | {f"jsonData.{name}": more.get(name) for name in like.get("jsonData", {})}


def _body(there: Json, wanted: DataSource, secret: bool = True) -> Json:
    """What is sent: what people set beside it stays, and secrets that are not sent too."""
    kept: Json = {
        name: there[name] for name in ("isDefault", "basicAuth", "withCredentials", "database") if name in there
    }
    mark = {_MARK: digest(_told(wanted.settings, wanted.settings))}
    merged: Json = dict(there.get("jsonData") or {}) | dict(wanted.settings["jsonData"]) | mark
    body: Json = {**kept, **wanted.settings, "jsonData": merged}
    if "version" in there:
        body["version"] = there["version"]
    if wanted.password and secret:
        body["secureJsonData"] = {"password": wanted.password}
    return body


def of(source: Source, password: str = "", renew: bool = False) -> DataSource:
    """The data source that provisioning makes too."""
    named: Json = {"name": SOURCE_NAME, "uid": SOURCE_UID}
    return DataSource(named | settings(source), password, renew)
