"""Figures, tables, verdicts and the report from the rows of results/ (pandas; no torch)."""

from codepath.figures.build import build_figures
from codepath.figures.tables import write_tables
from codepath.figures.verdict import write_claims

__all__ = ["build_figures", "write_claims", "write_tables"]
