"""Links from board to board, keeping the time range and what was chosen."""

import re
from dataclasses import dataclass

_FIELD = re.compile(r"\$\{__data\.fields\.([^}]+)\}")
_LABEL = re.compile(r"\$\{__field\.labels\.([^}]+)\}")
# What is chosen goes along; a link from a row says the node or GPU itself.
_CHOSEN = ("datasource", "site", "model")


def uid(board: str) -> str:
    """The uid of the board of a module of that name."""
    return f"gpufleet-{board}"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another board. `values`: variables of that board → what they are to be, with Grafana's placeholders.

    `keeps`: variables that go along as they are chosen here; the board linked from must have them.
    """

    title: str
    board: str
    values: tuple[tuple[str, str], ...] = ()
    keeps: tuple[str, ...] = _CHOSEN

    @property
    def url(self) -> str:
        """The link as Grafana keeps it."""
        said = [f"var-{name}={value}" for name, value in self.values]
        kept = [f"${{{name}:queryparam}}" for name in self.keeps]
        return f"/d/{uid(self.board)}?" + "&".join((*said, "${__url_time_range}", *kept))

    @property
    def fields(self) -> set[str]:
        """The columns whose values it takes from the row that was clicked."""
        return {name for _, value in self.values for name in _FIELD.findall(value)}

    @property
    def labels(self) -> set[str]:
        """The labels whose values it takes from the series that was clicked."""
        return {name for _, value in self.values for name in _LABEL.findall(value)}


def field(name: str) -> str:
    """The value of a column in the row that was clicked."""
    return f"${{__data.fields.{name}}}"


def label(name: str) -> str:
    """The value of a label of the series that was clicked."""
    return f"${{__field.labels.{name}}}"


def to_node(node_uuid: str = "node_uuid", of_series: bool = False, keeps: tuple[str, ...] = _CHOSEN) -> Link:
    """To the board of a node, whose UUID is in a column of that name (or in a label, in series)."""
    value = label(node_uuid) if of_series else field(node_uuid)
    return Link("The node", "node", (("node", value),), keeps)


def to_gpu(
    gpu: str = "gpu", node_uuid: str = "node_uuid", of_series: bool = False, keeps: tuple[str, ...] = _CHOSEN
) -> Link:
    """To the board of a GPU, whose UUID and whose node's are in columns of those names (or in labels, in series)."""
    of = label if of_series else field
    return Link("The GPU", "gpu", (("node", of(node_uuid)), ("gpu", of(gpu))), keeps)


def to_place(board: str) -> Link:
    """To a board of the row's site and model alone: its statement has `sql.PLACE_CHOSEN`."""
    values = (("site", field("site_chosen")), ("model", field("model_chosen")))
    return Link("This site and model only", board, values, ("datasource",))


def to_board(title: str, board: str, keeps: tuple[str, ...] = _CHOSEN) -> Link:
    """To another board with what is chosen here."""
    return Link(title, board, (), keeps)
