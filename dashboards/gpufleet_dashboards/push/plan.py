"""What a push would do, found out in full before anything is written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpufleet_dashboards.push import boards, datasource, folder, rules
from gpufleet_dashboards.push.datasource import DataSource
from gpufleet_dashboards.push.failure import PushError
from gpufleet_dashboards.push.grafana import Grafana
from gpufleet_dashboards.push.rights import Need, lacking
from gpufleet_dashboards.push.step import Fate, Step

# Older ones drop how long a rule keeps firing, so that no two pushes would be the same.
OLDEST = (12, 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be in Grafana. `folder`: a uid or a title. `datasource` None: nothing is looked at.

    `settings` None: the data source has to be there, however it is. `groups`: as the file for provisioning has them.
    """

    folder: str
    boards: Sequence[Mapping[str, Any]]
    datasource: str | None = None
    settings: DataSource | None = None
    groups: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What Grafana it is, and what would become of each thing, in the order in which it is written."""

    version: str
    steps: tuple[Step, ...]


def plan(grafana: Grafana, wanted: Wanted, *, overwrite: bool = False, check: bool = True) -> Plan:
    """Read all there is. PushError with all that stands against writing, each with what to do.

    `check` False: for who only wants to look.
    """
    health = grafana.health()
    version = grafana.version() or str(health.get("version", ""))
    _supported(version, grafana.access.url)
    permissions = grafana.permissions()
    place, made = folder.find(grafana, wanted.folder)
    found = [made]
    if wanted.datasource is not None:
        found.append(datasource.step(grafana, wanted.datasource, wanted.settings, overwrite))
    found += boards.steps(grafana, place, wanted.boards, overwrite)
    found += rules.steps(grafana, place, wanted.groups, overwrite)
    if check:
        _refuse(permissions, found)
    return Plan(version, tuple(found))


def _supported(version: str, url: str) -> None:
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise PushError(f"{url} does not say which Grafana it is; 12.0 or newer is needed")
    if (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise PushError(
            f"{url} is Grafana {version}, and 12.0 is the oldest that will do: "
            "older ones drop how long an alert rule keeps firing. Update Grafana, or import the boards by hand"
        )


def _refuse(permissions: Mapping[str, Sequence[str]], found: Sequence[Step]) -> None:
    problems = [f"{step.kind} {step.title}: {step.why}" for step in found if step.fate is Fate.BLOCKED]
    needs: list[Need] = [need for step in found if step.writes for need in step.needs]
    if lacks := lacking(permissions, needs):
        rights = "; ".join(lacks)
        problems.append(f"the token lacks {rights}: give its service account these permissions, or the role Admin")
    if problems:
        raise PushError("nothing was written, for:\n" + "\n".join(f"  {problem}" for problem in problems))
