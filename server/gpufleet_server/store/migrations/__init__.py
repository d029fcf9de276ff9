"""Alembic's migrations. A released one never changes; columns of new metrics need none (see `migrate`)."""
