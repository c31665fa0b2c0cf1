"""All that the rows allow, made at once, and what came out in a few lines: the end of a demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from codepath.experiments.coverage import gaps
from codepath.paper.build import build_figures
from codepath.paper.claims.deviation_list import write_deviations
from codepath.paper.claims.verdict import Claim, summary, write_claims
from codepath.paper.report.page import write_report
from codepath.paper.tables.layout import percent, top1_rows
from codepath.paper.tables.table_files import write_tables

_NAMES = {"coded": "coded", "baseline": "plain"}


def make_all(results: Path, out: Path) -> list[Claim]:
    """Write figures, tables, claims, deviations and the report into `out`; return the claims."""
    build_figures(results, out)
    write_tables(results, out)
    _, judged = write_claims(results, out)
    write_deviations(results, out)
    write_report(results, out)
    return judged


def in_short(results: Path, out: Path, judged: Sequence[Claim]) -> Iterator[str]:
    """Accuracy of each network, what `make_all` made and where it lies, in lines."""
    rows = top1_rows(results, "table2")
    for dataset, of_data in rows.groupby("dataset"):
        each = [
            f"{name} {percent(mine['value'])} %"
            for role, name in _NAMES.items()
            if len(mine := of_data[of_data["model"] == role])
        ]
        seeds, images = of_data["seed"].nunique(), int(of_data["n"].max())
        yield (
            f"top-1 on {images:,} test images of {dataset}: {', '.join(each)} "
            f"({seeds} seed{'s' if seeds > 1 else ''})"
        )
    yield f"all on one page: {out / 'report.html'} (open it in a browser)"
    for overview in sorted((out / "figures").glob("overview-*.png")):
        yield f"in one picture:  {overview}"
    ran = [claim for claim in judged if claim.outcome]
    yield f"what holds:      {out / 'claims.md'} ({summary(ran)})"


def not_drawn(results: Path) -> list[str]:
    """The names of pictures and tables whose runs have no rows yet."""
    names = (picture for gap in gaps(results) for picture in gap.experiment.pictures)
    return list(dict.fromkeys(names))
