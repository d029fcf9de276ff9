"""What a role of PostgreSQL may do beyond reading the views for Grafana."""

from collections.abc import Sequence

from sqlalchemy import Connection, TextClause, text

_SHOWN = 5
_WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER")
_ATTRIBUTES = {
    "rolsuper": "is a superuser",
    "rolcreaterole": "may make roles",
    "rolcreatedb": "may make databases",
    "rolreplication": "may replicate the database",
    "rolbypassrls": "may go around row security",
}
_OTHERS = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def _relations(condition: str) -> TextClause:
    return text(
        "SELECT DISTINCT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE {_OTHERS} AND {condition} ORDER BY c.relname"
    )


# Each gives the names of what the role may do that with.
_RIGHTS = {
    "is a member of": text(
        "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid "
        "JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = :role ORDER BY g.rolname"
    ),
    "owns": _relations("pg_get_userbyid(c.relowner) = :role"),
    "may read": _relations(
        "c.relkind IN ('r', 'p', 'm', 'f') AND c.relname <> ALL (:tables) "
        "AND (has_table_privilege(:role, c.oid, 'SELECT') OR has_any_column_privilege(:role, c.oid, 'SELECT'))"
    ),
    "may write": _relations(
        "c.relkind IN ('r', 'p', 'm', 'f', 'v') AND (has_any_column_privilege(:role, c.oid, 'INSERT, UPDATE') OR "
        + " OR ".join(f"has_table_privilege(:role, c.oid, '{right}')" for right in _WRITES)
        + ")"
    ),
    # PostgreSQL 17 and newer: with that right it may take any lock, of what is below a view too.
    "may lock": _relations(
        "c.relkind IN ('r', 'p', 'm', 'f', 'v') AND CASE WHEN CAST(current_setting('server_version_num') AS integer) "
        ">= 170000 THEN has_table_privilege(:role, c.oid, 'MAINTAIN') END"
    ),
    "may count up": _relations(
        # Of an AND PostgreSQL may look at either side first.
        "CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(:role, c.oid, 'USAGE, UPDATE') END"
    ),
    "may make things in the schema": text(
        f"SELECT n.nspname FROM pg_namespace n WHERE {_OTHERS} AND has_schema_privilege(:role, n.oid, 'CREATE') "
        "ORDER BY n.nspname"
    ),
    "may make schemas in": text(
        "SELECT current_database() WHERE has_database_privilege(:role, current_database(), 'CREATE')"
    ),
}


def too_much(connection: Connection, role: str, tables: Sequence[str]) -> list[str]:
    """What it may do beyond reading the views and these tables, each as the rest of a sentence; nothing: a reader."""
    attributes = connection.execute(text("SELECT * FROM pg_roles WHERE rolname = :role"), {"role": role}).mappings()
    row = attributes.one()
    found = [words for name, words in _ATTRIBUTES.items() if row[name]]
    # A superuser may do all of the rest too.
    for words, query in [] if row["rolsuper"] else _RIGHTS.items():
        given = {"role": role, "tables": [*tables]} if ":tables" in query.text else {"role": role}
        if names := connection.execute(query, given).scalars().all():
            found.append(f"{words} {_some(names)}")
    return found


def may_make_temporary(connection: Connection, role: str) -> bool:
    """Whether it may make temporary tables in this database, as everybody may unless that was taken away."""
    query = text("SELECT has_database_privilege(:role, current_database(), 'TEMPORARY')")
    return bool(connection.execute(query, {"role": role}).scalar_one())


def may_make_large_objects(connection: Connection, role: str) -> bool:
    """Whether it may keep large objects in this database, as everybody may unless an administrator took that away."""
    query = text("SELECT has_function_privilege(:role, 'lo_create(oid)', 'EXECUTE')")
    return bool(connection.execute(query, {"role": role}).scalar_one())


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
