"""The PostgreSQL schema `grafana`: views for dashboards, one module each in `views`. See docs/adr/0011."""
