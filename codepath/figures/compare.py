"""The baselines table: coded networks beside plain ResNeXt and what else was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import benchmark_files, configuration_note, rows_of_kind
from codepath.figures.tables import Table, markdown, percent, top1_rows
from codepath.runtime import UserError, make_directory, write_text

_ROLES = {"coded": "coded ResNeXt", "baseline": "plain ResNeXt"}
_ALLOWED_LOSS = 0.005
"""Top-1 that early exits may lose, as a share."""
_OTHERS = ("binary", "early_exit", "extraction", "train", "loader")
"""Benchmarks with columns of their own, shown as they are."""
_PROVENANCE = ["commit", "dirty", "created"]
_MOST_LINES = 80


def _place(rows: pd.DataFrame) -> str:
    """Scale, n and seeds behind a cell; a count of the network itself has no n."""
    seeds = rows["seed"].nunique()
    if (rows["split"] == "model").all():
        return f" ({rows['scale'].iloc[0]}, counted)"
    note = configuration_note(rows["run_id"])
    return (
        f" ({rows['scale'].iloc[0]}, n = {int(rows['n'].max()):,}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}{'; ' if note else ''}{note})"
    )


def _cell(rows: pd.DataFrame, text: str) -> str:
    return text + _place(rows) if len(rows) else "not measured"


def _of(results: Path, kind: str, like: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of a kind of the runs that `like` has."""
    rows = rows_of_kind(results, kind)
    return rows[rows["run_id"].isin(set(like["run_id"])) & (rows["metric"] == metric)]


def _exits(results: Path, like: pd.DataFrame) -> str:
    """Top-1 and share of the multiply-adds of the cheapest early exits within the allowed loss."""
    rows = rows_of_kind(results, "exits")
    rows = rows[rows["run_id"].isin(set(like["run_id"])) & (rows["x"] == _ALLOWED_LOSS)]
    macs = rows[rows["metric"].str.startswith("macs_loss/")]
    whole = _of(results, "cost", like, "macs")
    if macs.empty or whole.empty:
        return "not measured"
    rule = macs.groupby("metric")["value"].mean().astype(float).idxmin()
    cheapest = macs[macs["metric"] == rule]
    top1 = rows[rows["metric"] == str(rule).replace("macs_loss/", "top1_loss/")]
    share = float(cheapest["value"].mean()) / float(whole["value"].mean())
    name = str(rule).removeprefix("macs_loss/")
    return _cell(
        cheapest, f"{percent(top1['value'])} % at {share:.0%} of the multiply-adds, {name}"
    )


def trained(results: Path) -> Table | None:
    """Accuracy, size, binary classifiers and early decisions of every trained network."""
    accuracy = top1_rows(results, "table2")
    if accuracy.empty:
        return None
    body = []
    for (dataset, scale, role), rows in accuracy.groupby(["dataset", "scale", "model"]):
        parameters, macs = (_of(results, "cost", rows, name) for name in ("parameters", "macs"))
        f1 = _of(results, "binary", rows, "f1")
        f1 = f1[f1["class"].notna()]
        decoders = _of(results, "decoders", rows, "top1")
        last = decoders[decoders["block"] == decoders["block"].max()]
        coded = role == "coded"
        body.append(
            [
                f"{dataset}, {scale}" + ("" if scale == "paper" else " (proxy)"),
                _ROLES.get(str(role), str(role)),
                _cell(rows, f"{percent(rows['value'])} %"),
                _cell(parameters, f"{parameters['value'].astype(float).mean():,.0f}"),
                _cell(macs, f"{macs['value'].astype(float).mean():,.0f}"),
                _cell(f1, f"{percent(f1.groupby('seed')['value'].mean())} %")
                if coded
                else "has none",
                _cell(last, f"{percent(last['value'])} % at block {last['block'].max()}")
                if coded
                else "has none",
                _exits(results, rows) if coded else "has none",
            ]
        )
    header = [
        "data set, scale",
        "method",
        "top-1",
        "parameters",
        "multiply-adds",
        "binary classifiers: mean F1",
        "last early decoder",
        f"early exits that lose {100 * _ALLOWED_LOSS:g} points",
    ]
    note = "Mean ± SD over seeds. Thresholds of binary classifiers come from training images."
    return Table("baselines", "Baselines", "Trained networks", header, body, note)


_METHODS = {
    "coded": "coded, closed form (ours)",
    "plain": "plain ResNeXt",
    "literal": "coded, Eq. 2-3 literally",
}


def speeds(results: Path) -> Table | None:
    """Training and inference speed and memory of the paper's networks, per device."""
    body = []
    for path in benchmark_files(results, "network"):
        rows = pd.read_csv(path).sort_values("created", kind="stable")
        keys = ["network", "precision", "batch", "device"]
        for (network, precision, batch, device), group in rows.groupby(keys, sort=False):
            values = group.groupby(["variant", "what"])["value"].last()
            for variant, method in _METHODS.items():
                if (variant, "train") not in values:
                    continue
                place = f" ({device}, {precision}, n = {batch} a step)"
                body.append(
                    [
                        f"{network}",
                        method,
                        f"{batch / values[variant, 'train']:.1f} images/s{place}",
                        f"{batch / values[variant, 'forward']:.1f} images/s{place}",
                        f"{values[variant, 'peak memory'] / 1e9:.2f} GB{place}",
                    ]
                )
    if not body:
        return None
    header = ["network (paper scale)", "method", "training", "inference", "peak memory in training"]
    note = (
        "Medians of interleaved turns on random images, loading not included; the ratios of the "
        "turns are in the rows and in the figure of costs."
    )
    return Table("baselines-speed", "Baselines", "Speed and memory", header, body, note)


def schemes(results: Path) -> Table | None:
    """Coding schemes: the paper's Algorithm 1 against ours."""
    files = benchmark_files(results, "codes")
    if not files:
        return None
    rows = pd.read_csv(files[0])
    body = [
        [
            f"{row.classes:,}, {row.paths}, {row.active}",
            "Algorithm 1" if row.algorithm == "paper" else "ours",
            f"{row.distance} (at most {row.largest_distance})",
            f"{row.least_column} to {row.most_column}",
            f"{row.pairs:,} (at least {row.fewest_pairs:,})",
            f"{row.seconds:.2f} (seed {row.seed}, {row.device})",
        ]
        for row in rows.itertuples()
    ]
    header = ["K, N, Nact", "method", "distance", "classes per path", "pairs at it", "seconds"]
    return Table("baselines-codes", "Baselines", "Coding schemes", header, body)


def _others(results: Path) -> Iterator[Table]:
    for name in _OTHERS:
        for path in benchmark_files(results, name):
            rows = pd.read_csv(path).drop(columns=_PROVENANCE, errors="ignore")
            shown = rows.head(_MOST_LINES)
            body = [
                [f"{v:.4g}" if isinstance(v, float) else str(v) for v in line]
                for line in shown.itertuples(index=False)
            ]
            left = len(rows) - len(shown)
            note = f"{left} more rows in results/benchmarks/{path.name}." if left else ""
            header = [str(column) for column in rows.columns]
            title = f"Rows of `codepath bench {name}`"
            yield Table(f"baselines-{path.stem}", "Baselines", title, header, body, note)


def comparisons(results: Path) -> list[Table]:
    """Every comparison that the rows allow; UserError where there is none."""
    found = [table for make in (trained, speeds, schemes) if (table := make(results))]
    found += _others(results)
    if not found:
        raise UserError(f"nothing to compare in {results}: run an experiment first")
    return found


def write_comparisons(results: Path, out: Path) -> Path:
    """Write `out`/tables/baselines.md."""
    path = make_directory(out / "tables") / "baselines.md"
    parts = [
        f"## {table.title}\n\n{markdown(table.header, table.body)}"
        + (f"\n{table.note}\n" if table.note else "")
        for table in comparisons(results)
    ]
    write_text(path, "# Coded networks and their baselines\n\n" + "\n".join(parts))
    return path
