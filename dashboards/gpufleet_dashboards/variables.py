"""The variables that boards share: site, model, node, GPU. Each also takes what those before it are."""

from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.nodes import VIEW as NODES
from gpufleet_server.store.grafana.views.places import VIEW as PLACES

from gpufleet_dashboards.everything import MODELS_CHOSEN
from gpufleet_dashboards.query import Query
from gpufleet_dashboards.sql import chosen, is_one, likely, offered
from gpufleet_dashboards.variable import OPTIONS, Variable


def _apart(shown: str, value: str) -> str:
    """What a menu shows (SQL), with its value where others would be shown alike: Grafana takes the first of these."""
    return f"CASE WHEN count(*) OVER (PARTITION BY {shown}) > 1 THEN {shown} || ' (' || {value} || ')' ELSE {shown} END"


# Its past can still be looked at.
_GONE = f"CASE WHEN {GPUS['removed_at']} IS NOT NULL THEN '(gone)' END"
_WHICH = f"concat_ws(' ', {GPUS['position']}, {GPUS['model']}, {_GONE})"
_SITE, _MODEL = offered(PLACES["site"]), offered(PLACES["model"])


def _options(sql: str) -> Query:
    return Query(sql, OPTIONS)


SITE = Variable(
    name="site",
    label="Site",
    description="Where nodes are; (none) is of those that say no site. Names with a dollar sign are one choice.",
    query=_options(f"SELECT DISTINCT {_SITE} AS __text, {_SITE} AS __value FROM {PLACES} ORDER BY 1"),
    several=True,
)

# Also what is of no node, as alerts about gpufleet's own servers are.
ANY_SITE = Variable(
    name="site",
    label="Site",
    description="Where nodes are; (none) is of those that say no site, and of what is of no node.",
    query=_options(
        f"SELECT {_SITE} AS __text, {_SITE} AS __value FROM {PLACES} UNION SELECT '(none)', '(none)' ORDER BY 1"
    ),
    several=True,
)

MODEL = Variable(
    name="model",
    label="Model",
    description="Of GPUs; (none) is of those whose driver names no model.",
    query=_options(
        f"SELECT DISTINCT {_MODEL} AS __text, {_MODEL} AS __value FROM {PLACES}"
        f" WHERE {chosen(PLACES, 'site')} ORDER BY 1"
    ),
    several=True,
)

NODE = Variable(
    name="node",
    label="Node",
    description="By its hostname; those of the sites and models that are chosen.",
    query=_options(
        f"SELECT {_apart(NODES['node'], NODES['node_uuid'])} AS __text, {NODES['node_uuid']} AS __value FROM {NODES}"
        f" WHERE {chosen(NODES, 'site')} AND ({MODELS_CHOSEN} OR {NODES['node_id']} IN"
        f" (SELECT {GPUS['node_id']} FROM {GPUS} WHERE {likely(chosen(GPUS, 'model'))})) ORDER BY 1"
    ),
)

GPU = Variable(
    name="gpu",
    label="GPU",
    description="Of the node that is chosen, by its place in it.",
    query=_options(
        f"SELECT {_apart(_WHICH, GPUS['gpu'])} AS __text, {offered(GPUS['gpu'])} AS __value"
        f" FROM {GPUS} WHERE {is_one(GPUS, 'node_uuid', 'node')}"
        f" ORDER BY {GPUS['removed_at']} IS NOT NULL, {GPUS['position']}, 2"
    ),
)
