"""The schema, the engine and every connection."""
