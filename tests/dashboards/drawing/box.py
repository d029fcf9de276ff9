"""Where a panel is drawn, and what panels of all kinds share: the fields that are shown, legends, no data."""

import datetime
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.dashboards.drawing.frames import Frame
from tests.dashboards.drawing.look import Look, look
from tests.dashboards.grafana_sql.frames import Field

SMALL, INK, FAINT = 7.5, "#24292E", "#8E8E8E"
# As many rows of a legend, and series of a picture, as can be read.
MOST_NAMED, MOST_ROWS = 8, 40


@dataclass(frozen=True)
class Box:
    """Where a panel's content goes: px from the left and from the top of the figure; and from when to when it shows."""

    figure: Figure
    left: float
    top: float
    width: float
    height: float
    span: tuple[datetime.datetime, datetime.datetime] | None = None

    def axes(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Axes:
        """Axes within the box, with room (px) at their sides."""
        wide, high = self.figure.get_size_inches() * self.figure.dpi
        width, height = max(self.width - left - right, 10), max(self.height - top - bottom, 10)
        place = ((self.left + left) / wide, 1 - (self.top + top + height) / high, width / wide, height / high)
        found = self.figure.add_axes(place)
        found.tick_params(labelsize=SMALL, colors=FAINT, length=2)
        for side in found.spines.values():
            side.set_visible(False)
        return found

    def blank(self) -> Axes:
        """Axes in px, the origin at the top left."""
        found = self.axes()
        found.set_xlim(0, self.width)
        found.set_ylim(self.height, 0)
        found.axis("off")
        return found


Panel = Mapping[str, Any]
Shown = tuple[Field, Look, Frame]


def shown(panel: Panel, frames: Sequence[Frame], *kinds: str) -> list[Shown]:
    """The fields of these kinds that are not hidden, with how they look."""
    found = ((each, look(panel, each, of), of) for of in frames for each in of.of(*kinds))
    return [each for each in found if not (each[1].custom.get("hideFrom") or {}).get("viz")]


def legend(ax: Axes, names: Sequence[str], tints: Sequence[str], box: Box) -> None:
    if box.height < 110:
        return
    shorter = [textwrap.shorten(name, 28, placeholder="…") for name in names[:MOST_NAMED]]
    marks = [Rectangle((0, 0), 1, 1, color=tint) for tint in tints[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        shorter[-1], marks[-1] = f"and {len(names) - MOST_NAMED + 1} more", Rectangle((0, 0), 1, 1, color="none")
    across = min(6, max(2, int((box.width - 40) / (5 * max(map(len, shorter)) + 26))))
    if across < len(shorter):
        shorter, marks = shorter[:across], marks[:across]
        shorter[-1], marks[-1] = f"and {len(names) - across + 1} more", Rectangle((0, 0), 1, 1, color="none")
    ax.legend(marks, shorter, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=across, fontsize=SMALL - 0.5,
              frameon=False,
              handlelength=0.8, handleheight=0.5, columnspacing=1, borderaxespad=0.3)  # fmt: skip


def nothing(box: Box) -> None:
    """What a panel without data says."""
    box.blank().text(box.width / 2, box.height / 2, "No data", ha="center", va="center", fontsize=9, color=FAINT)
