"""The tables below paper/tables."""
