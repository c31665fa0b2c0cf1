"""The report: one page with all of it."""
