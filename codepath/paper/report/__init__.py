"""The report: one page with claims, figures, tables and runs."""
