"""Draws boards without Grafana: each panel from the rows that its own query gives, in the board's grid."""
