"""Tables in Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from codepath.experiments.paper import reference
from codepath.runtime import UserError, make_directory, write_text
from codepath.store import read_rows


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def latex(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular (booktabs)."""
    special = str.maketrans({"%": r"\%", "_": r"\_", "&": r"\&", "±": r"$\pm$", "#": r"\#"})

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(special) for cell in cells) + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\toprule",
            row(header),
            r"\midrule",
            *(row(cells) for cells in body),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def percent(values: pd.Series) -> str:
    """Mean in per cent with the standard deviation over seeds where there is one."""
    values = 100 * values.astype(float)
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std():.2f}"


def table2(results: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows: top-1 of the softmax for every data set, scale and model with rows."""
    rows = read_rows(results, "accuracy").query("metric == 'top1' and split == 'test'")
    if rows.empty:
        raise UserError(f"no accuracy rows in {results}: run an experiment first")
    rows = rows[rows["experiment"].str.fullmatch(r"table2-\w+")]
    published = reference("table2_accuracy").drop_duplicates(["dataset", "model"])
    body = []
    for (dataset, scale, model), group in rows.groupby(["dataset", "scale", "model"]):
        paper = published.query("dataset == @dataset and model == @model")["top1"]
        body.append(
            [
                str(dataset),
                str(scale),
                str(model),
                percent(group["value"]),
                str(group["seed"].nunique()),
                f"{group['n'].iloc[0]:,}",
                str(group["source"].iloc[0]),
                f"{paper.iloc[0]:.2f}" if len(paper) and scale == "paper" else "-",
            ]
        )
    header = [
        "data set",
        "scale",
        "model",
        "top-1 (%)",
        "seeds",
        "n",
        "source",
        "paper's top-1 (%)",
    ]
    return header, body


def write_tables(results: Path, out: Path) -> list[Path]:
    """Write `out`/tables/table2.md and .tex from the rows in `results`."""
    header, body = table2(results)
    folder = make_directory(out / "tables")
    written = []
    for suffix, text in (("md", markdown(header, body)), ("tex", latex(header, body))):
        path = folder / f"table2.{suffix}"
        write_text(path, text)
        written.append(path)
    return written
