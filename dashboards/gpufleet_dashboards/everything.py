"""That all there is to choose from is chosen, in SQL: PostgreSQL looks once, and then need not ask it of each row."""

from gpufleet_server.store.grafana.views.places import VIEW as PLACES

from gpufleet_dashboards.sql import Columns, chosen, likely


def _every(condition: str, where: str = "true") -> str:
    """That it holds of every place: to count what is chosen would count what is in a link, too, and is no more."""
    return f"(SELECT coalesce(bool_and({condition}), true) FROM {PLACES} WHERE {where})"


# All sites, and all models.
PLACES_CHOSEN = _every(chosen(PLACES, "site", "model"))
# All models of the sites that are chosen.
MODELS_CHOSEN = _every(chosen(PLACES, "model"), chosen(PLACES, "site"))


def at_chosen(view: Columns) -> str:
    """That a row's site and model are chosen: for views with very many rows."""
    return f"({PLACES_CHOSEN} OR {likely(chosen(view, 'site', 'model'))})"
