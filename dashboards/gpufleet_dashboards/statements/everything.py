"""That all there is to choose from is chosen, in SQL: PostgreSQL looks once, and then need not ask it of each row."""

from gpufleet_server.store.grafana.views.places import VIEW as PLACES

from gpufleet_dashboards.sql import Columns, chosen, likely

# All sites, and all models.
PLACES_CHOSEN = f"""(SELECT count(DISTINCT {PLACES["site"]}) <= cardinality(ARRAY[$site]::text[])
    AND count(DISTINCT {PLACES["model"]}) <= cardinality(ARRAY[$model]::text[]) FROM {PLACES})"""
# All models of the sites that are chosen.
MODELS_CHOSEN = f"""(SELECT count(DISTINCT {PLACES["model"]}) <= cardinality(ARRAY[$model]::text[])
    FROM {PLACES} WHERE {chosen(PLACES, "site")})"""


def at_chosen(view: Columns) -> str:
    """That a row's site and model are chosen: for views with very many rows."""
    return f"({PLACES_CHOSEN} OR {likely(chosen(view, 'site', 'model'))})"
