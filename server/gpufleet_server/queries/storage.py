"""How large the store is."""

from sqlalchemy import Connection, text


def size(connection: Connection) -> int:
    """Bytes that the database takes on disk, as it counts them itself."""
    if connection.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        query = "SELECT pg_database_size(current_database())"
    return int(connection.execute(text(query)).scalar_one())
