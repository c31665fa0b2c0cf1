"""paper/report.html: claims, figures, tables and the runs behind them, in one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from codepath.core.errors import UserError
from codepath.core.files import make_directory, write_text
from codepath.experiments import all_experiments
from codepath.experiments.coverage import (
    OTHER_CONFIGURATION,
    benchmark_files,
    complete_seeds,
    gap_at,
    gaps,
    missed_scales,
    rows_of_kind,
)
from codepath.experiments.deviations import DEVIATIONS
from codepath.paper.claims import deviation_list
from codepath.paper.claims.verdict import Claim, claims, explanation, summary
from codepath.paper.gallery import Gallery
from codepath.paper.report.in_words import in_words
from codepath.paper.report.slim import slim
from codepath.paper.tables import baselines
from codepath.paper.tables.table_files import make_tables
from codepath.paper.upkeep import inputs_digest
from codepath.store import KINDS

_LATE_COLUMNS = ["precision", "device", "commit", "dirty", "created"]


class Figure(NamedTuple):
    """A figure on the page."""

    name: str
    item: str
    svg: str
    caption: str
    runs: tuple[str, ...]
    """Keys of runs.csv."""
    broad: bool
    """Whether it takes the page's whole width."""


def _figures(results: Path, out: Path, force: bool, records: list[dict[str, Any]]) -> list[Figure]:
    """The report's figures: those that `codepath figures` drew from these rows, else drawn now."""
    gallery = Gallery(out)
    entries = None if force else gallery.page_of(inputs_digest(results))
    if entries is None:
        from codepath.paper.build import draw_page

        entries = draw_page(results, gallery, force)
    return [
        Figure(
            entry.name,
            entry.item,
            gallery.path(entry.name, "svg").read_text(),
            entry.caption,
            tuple(one["run"] for one in records if one["run_id"] in entry.run_ids),
            entry.broad,
        )
        for entry in entries
    ]


def _first(figures: list[Figure]) -> Figure | None:
    """The figure that opens the page: measured paths beside codewords, at the largest scale."""
    measured = [figure for figure in figures if figure.name.startswith("paths-")]
    return measured[-1] if measured else None


def run_records(results: Path) -> list[dict[str, Any]]:
    """Every line of runs.csv that numbers of any kind are taken from.

    A record says what the run is, where it comes from, and how many rows it has of each kind.
    """
    frames = [rows_of_kind(results, kind).assign(kind=kind) for kind in sorted(KINDS)]
    frames = [rows for rows in frames if len(rows)]
    if not frames:
        raise UserError(f"no rows in {results}: run an experiment first")
    rows = pd.concat(frames, ignore_index=True).sort_values("created", kind="stable")
    records = []
    for (run_id, run), group in rows.groupby(["run_id", "run"]):
        last = group.iloc[-1]
        kinds = group["kind"].value_counts().sort_index()
        records.append(
            {
                "run": str(run),
                "run_id": str(run_id),
                **{
                    name: str(last[name])
                    for name in ("experiment", "model", "scale", "dataset", "seed", "source")
                },
                **{name: str(last[name]) for name in _LATE_COLUMNS},
                "kinds": ", ".join(f"{kind} {count:,}" for kind, count in kinds.items()),
                "numbers": _headline(group),
            }
        )
    return records


def _headline(rows: pd.DataFrame) -> str:
    top1 = rows[(rows["kind"] == "accuracy") & (rows["metric"] == "top1")]
    return ", ".join(
        f"top-1 {100 * value:.2f} % ({split}, n = {n:,})"
        for value, split, n in zip(top1["value"], top1["split"], top1["n"], strict=True)
    )


def coverage(results: Path) -> list[dict[str, Any]]:
    """Every experiment: whether its rows are there at each scale, and how to get them.

    The short scale has a line only where it has rows.
    """
    records = []
    for experiment in all_experiments():
        for scale in missed_scales(experiment, results):
            runs = experiment.runs(scale, 0)
            seeds = [len(complete_seeds(experiment, run, results)) for run in runs]
            gap = gap_at(experiment, scale, results)
            if experiment.benchmarks:
                state = "there" if gap is None else "missing"
            elif gap is None:
                state = f"{min(seeds)} seed{'s' if min(seeds) != 1 else ''}"
            else:
                state = f"{sum(seed > 0 for seed in seeds)} of {len(seeds)} runs"
                if OTHER_CONFIGURATION in gap.what:
                    state += f"; others {OTHER_CONFIGURATION}"
            records.append(
                {
                    "name": experiment.name,
                    "item": experiment.paper_item,
                    "scale": "counted or timed" if experiment.benchmarks else scale,
                    "smoke": scale in experiment.smoke,
                    "state": state,
                    "complete": gap is None,
                    "command": experiment.command(scale, results),
                    "title": experiment.title,
                }
            )
    return records


def _claim(claim: Claim) -> dict[str, Any]:
    found = claim.outcome
    return {
        "item": claim.item,
        "text": claim.text,
        "data": claim.data,
        "paper": claim.paper,
        "verdict": claim.verdict,
        "why": claim.why,
        "ours": claim.ours,
        "difference": found.difference if found else "-",
        "seeds": (found.seeds if found.runs else "no runs") if found else 0,
        "n": f"{found.n:,}" if found and found.runs else "-",
        "command": claim.command,
        "runs": tuple(found.runs) if found else (),
    }


def _with_code(cell: str) -> Markup:
    """A cell of a Markdown table as HTML: what stands between backticks is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(cell))))


def write_report(
    results: Path, out: Path, scale: str | None = None, force: bool = False
) -> tuple[Path, list[str]]:
    """Write `out`/report.html; return its path and a line for each experiment without rows.

    The page needs no network connection. It bears no time stamp, so the same rows give the same
    bytes. With `force`, figures that are up to date are drawn again.
    """
    judged = claims(results)
    records = run_records(results)
    drawn = _figures(results, out, force, records)
    shared, svgs = slim([figure.svg for figure in drawn])
    figures = [figure._replace(svg=svg) for figure, svg in zip(drawn, svgs, strict=True)]
    first = _first(figures)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("codepath.paper.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    page = environment.get_template("report.html.j2").render(
        summary=summary(judged),
        explanation=explanation(results),
        judged=[_claim(claim) for claim in judged if claim.outcome],
        not_run=[_claim(claim) for claim in judged if not claim.outcome],
        five=in_words(judged),
        shared=shared,
        first=first,
        figures=[figure for figure in figures if figure is not first],
        tables=make_tables(results),
        comparisons=baselines.comparisons(results),
        deviation_header=deviation_list.HEADER,
        deviations=[deviation_list.cells(results, one) for one in DEVIATIONS],
        coverage=coverage(results),
        runs=records,
        benchmarks=[
            path.name
            for name in sorted({b for e in all_experiments() for b in e.benchmarks})
            for path in benchmark_files(results, name)
        ],
    )
    path = make_directory(out) / "report.html"
    write_text(path, page + "\n")
    return path, [gap.line() for gap in gaps(results, scale)]
