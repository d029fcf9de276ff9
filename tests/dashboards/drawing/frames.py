"""What a query answered, as it is drawn: the fields of a frame by their kind, times as such."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.dashboards.grafana_sql import frames
from tests.dashboards.grafana_sql.frames import Field

TIME, NUMBER, TEXT, FLAG = "time", "number", "string", "boolean"


@dataclass(frozen=True)
class Frame:
    """Fields of one length, and which query of the panel they are of."""

    ref: str
    fields: Sequence[Field]

    def of(self, *kinds: str) -> list[Field]:
        """The fields of these kinds."""
        return [each for each in self.fields if each.kind in kinds]

    @property
    def times(self) -> list[datetime.datetime]:
        """The first field of times; empty where there is none."""
        found = self.of(TIME)
        return found[0].values if found else []

    def __len__(self) -> int:
        return len(self.fields[0].values) if self.fields else 0


def of_query(ref: str, answer: frames.Frame) -> Frame:
    """The frame of a panel's query; its times become those of Python."""
    return Frame(ref, [_dated(each) if each.kind == TIME else each for each in answer.fields])


def _dated(times: Field) -> Field:
    values = [None if at is None else datetime.datetime.fromtimestamp(at / 1e6, datetime.UTC) for at in times.values]
    return replace(times, values=values)
