"""A simulated fleet in a PostgreSQL, and what its agents said: that against which boards are held."""
