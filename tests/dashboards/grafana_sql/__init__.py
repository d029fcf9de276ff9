"""What Grafana does with a query of its PostgreSQL data source, before and after the database: for tests.

The front end replaces variables (`front`), the back end its macros (`macros`), and what comes back becomes a frame
(`frames`). All of it follows Grafana's published sources and tests; nothing of it is ours to choose.
"""
