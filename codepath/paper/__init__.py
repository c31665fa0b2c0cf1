"""Figures, tables, verdicts and the report from the rows of results/ (pandas; no torch)."""
