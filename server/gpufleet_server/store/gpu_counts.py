"""GPUs counted by what only changes now and then: versions, and power limits. Counting all for each look takes long."""

from typing import Any

from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import (
    CTE,
    BigInteger,
    Boolean,
    Column,
    Connection,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    cast,
    delete,
    distinct,
    func,
    literal,
    null,
    select,
    union_all,
)

from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.engine import Store
from gpufleet_server.store.latest_states import latest_states, value
from gpufleet_server.store.leases import ROLLUPS, alone
from gpufleet_server.store.schema import gpus, metadata, nodes

POWER_LIMIT = BY_NAME["power_limit"]
_SOURCES = {
    "driver": nodes.c.driver_version,
    "cuda": nodes.c.cuda_version,
    "vbios": gpus.c.vbios_version,
    "part_number": gpus.c.board_part_number,
    "inforom": gpus.c.inforom_image_version,
    "firmware": gpus.c.gsp_firmware_version,
}
VERSIONS = tuple(_SOURCES)
# By what they are counted, each by itself: its word, and the columns.
COUNTS = {
    "driver": ("driver", "cuda"),
    "vbios": ("vbios",),
    "firmware": ("part_number", "inforom", "firmware"),
    "power_limit": (POWER_LIMIT.name,),
}

gpu_counts = Table(
    "gpu_counts",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False, comment="of the row, among those of now"),
    Column("at", BigInteger, nullable=False, comment="when all were counted"),
    Column("what", String(32), nullable=False, comment="what it is a count by"),
    Column("site", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("simulated", Boolean, nullable=False),
    *(Column(name, String(256), comment="'': not told; NULL: no count by it") for name in VERSIONS),
    Column(POWER_LIMIT.name, BigInteger),
    Column("gpus", Integer, nullable=False),
    Column("nodes", Integer, nullable=False, comment="that have such GPUs"),
)
_PLACE = ("site", "model", "simulated")
_VALUES = (*VERSIONS, POWER_LIMIT.name)
_COLUMNS = ("what", *_PLACE, *_VALUES, "gpus", "nodes")


def count_gpus(store: Store, now: int) -> int:
    """Count the GPUs that nodes have at `now` (µs), in place of all that was counted before; the number of rows."""
    with store.reading() as connection:
        counted = connection.execute(_counted()).all()
    rows = [(number, now, *row) for number, row in enumerate(counted)]
    with store.writing() as connection:
        alone(connection, ROLLUPS)
        if _is_newer(connection, now):
            return 0
        connection.execute(delete(gpu_counts))
        insert_rows(connection, gpu_counts, ("number", "at", *_COLUMNS), rows)
    return len(rows)


def _is_newer(connection: Connection, now: int) -> bool:
    """Whether another server has counted since: what is older must not take that one's place."""
    last = connection.execute(select(func.max(gpu_counts.c.at))).scalar()
    return last is not None and last > now


def _counted() -> Any:
    # Each of the two reads an index alone of all that `gpus` has, and no row of it.
    of_nodes = gpus.join(nodes, nodes.c.node_id == gpus.c.node_id)
    versions = {name: func.coalesce(column, "") for name, column in _SOURCES.items()}
    with_versions = _each(versions, of_nodes)
    states = of_nodes.outerjoin(latest_states, latest_states.c.node_id == gpus.c.node_id)
    with_limits = _each({POWER_LIMIT.name: value(POWER_LIMIT)}, states)
    parts = [
        _by(what, columns, with_limits if what == POWER_LIMIT.name else with_versions)
        for what, columns in COUNTS.items()
    ]
    return union_all(*parts)


def _each(values: dict[str, Any], tables: FromClause) -> CTE:
    """How many GPUs each node has of a model and of these values."""
    place = {
        "node_id": gpus.c.node_id,
        "site": func.coalesce(nodes.c.site, ""),
        "model": func.coalesce(gpus.c.model, ""),
        "simulated": nodes.c.simulated,
    }
    cells = [cell.label(name) for name, cell in (place | values).items()]
    there = select(*cells).select_from(tables).where(gpus.c.removed_at.is_(None)).subquery()
    return select(*there.c, func.count().label("gpus")).group_by(*there.c).cte()


def _by(what: str, columns: tuple[str, ...], each: CTE) -> Select[Any]:
    group = [each.c[name] for name in (*_PLACE, *columns)]
    place, counted = group[: len(_PLACE)], dict(zip(columns, group[len(_PLACE) :], strict=True))
    values = [counted[name] if name in counted else _absent(name) for name in _VALUES]
    how_many = cast(func.sum(each.c.gpus), Integer), func.count(distinct(each.c.node_id))
    return select(literal(what), *place, *values, *how_many).group_by(*group)


def _absent(name: str) -> Any:
    return cast(null(), gpu_counts.c[name].type)
