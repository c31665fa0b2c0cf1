"""The baselines table: coded networks beside plain ResNeXt and what else was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from codepath.core.errors import UserError
from codepath.core.files import make_directory, write_text
from codepath.experiments import find_experiment
from codepath.experiments.coverage import benchmark_rows, configuration_note, rows_of_kind
from codepath.experiments.scales import note, proxy_mark
from codepath.paper.binary_rows import own_negatives
from codepath.paper.tables.layout import Table, by_scale, markdown, percent, top1_rows
from codepath.run.config import SCALES

_ROLES = {"coded": "coded ResNeXt", "baseline": "plain ResNeXt"}
_ALLOWED_LOSS = 0.005
"""Top-1 that early exits may lose, as a share."""
_RUNS = "runs/cpu/table2-cifar10"
_PAIR = f"{_RUNS}/coded-s0 {_RUNS}/baseline-s0"
_COMMANDS = {
    "binary": f"codepath bench binary {_PAIR}",
    "early_exit": f"codepath bench early_exit {_PAIR}",
    "train": "codepath bench train",
    "extraction": "codepath bench extraction",
    "loader": "codepath bench loader",
    "network": "codepath bench network",
    "codes": "codepath bench codes",
}
"""For each table that no run's evaluation fills: the command that measures it."""


def _place(rows: pd.DataFrame) -> str:
    """Scale, n and number of seeds behind a cell; counts of the network itself have no n."""
    seeds = rows["seed"].nunique()
    if "split" not in rows:
        return f" ({rows['scale'].iloc[0]}, counted)"
    note = configuration_note(rows["run_id"])
    return (
        f" ({rows['scale'].iloc[0]}, n = {int(rows['n'].max()):,}, "
        f"{seeds} {'seed' if seeds == 1 else 'seeds'}{'; ' if note else ''}{note})"
    )


def _cell(rows: pd.DataFrame, text: str) -> str:
    return text + _place(rows) if len(rows) else "not measured"


def _of(results: Path, kind: str, like: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Rows of one kind and metric, of the runs that `like` has rows of."""
    rows = rows_of_kind(results, kind)
    return rows[rows["run_id"].isin(set(like["run_id"])) & (rows["metric"] == metric)]


def _whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The cost rows of the whole network, which name no stage."""
    return rows[rows["stage"].isna()]


def _exits(results: Path, like: pd.DataFrame) -> str:
    """Top-1 and share of multiply-adds of the cheapest early exits that keep to _ALLOWED_LOSS."""
    rows = rows_of_kind(results, "exits")
    rows = rows[
        rows["run_id"].isin(set(like["run_id"]))
        & (rows["target"] == "loss")
        & (rows["limit"] == _ALLOWED_LOSS)
    ]
    rule = ["decoder", "criterion", "fitted"]
    macs = rows[rows["metric"] == "macs"]
    whole = _whole(_of(results, "cost", like, "macs"))
    if macs.empty or whole.empty:
        return "not measured"
    best: Any = macs.groupby(rule)["value"].mean().astype(float).idxmin()
    rows = rows.set_index(rule).loc[[best]]
    cheapest, top1 = (rows[rows["metric"] == metric] for metric in ("macs", "top1"))
    share = float(cheapest["value"].mean()) / float(whole["value"].mean())
    return _cell(
        cheapest,
        f"{percent(top1['value'])} % at {share:.0%} of the multiply-adds, {'/'.join(best)}",
    )


def trained(results: Path) -> Table | None:
    """Accuracy, size, binary classifiers and early decisions of every trained network."""
    accuracy = top1_rows(results, "table2")
    if accuracy.empty:
        return None
    body = []
    for (dataset, scale, role), rows in by_scale(accuracy, "model"):
        parameters, macs = (
            _whole(_of(results, "cost", rows, name)) for name in ("parameters", "macs")
        )
        f1 = own_negatives(_of(results, "binary", rows, "f1"))
        decoders = _of(results, "decoders", rows, "top1")
        decoders = decoders[decoders["decoder"] == "eq7"]
        last = decoders[decoders["block"] == decoders["block"].max()]
        coded = role == "coded"
        body.append(
            [
                f"{dataset}, {scale}{proxy_mark(scale)}",
                _ROLES.get(role, role),
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
    about = "Mean ± SD over seeds. Thresholds of binary classifiers come from training images."
    about = f"{about} {note(accuracy['scale'])}".rstrip()
    return Table("baselines", "Baselines", "Trained networks", header, body, about)


_METHODS = {
    "coded": "coded, closed form (ours)",
    "plain": "plain ResNeXt",
    "literal": "coded, Eq. 2-3 literally",
}


def speeds(results: Path) -> Table:
    """Training and inference speed and memory of the paper's networks, per device."""
    body = []
    keys = ["network", "precision", "batch", "device"]
    rows = benchmark_rows(results, "network")
    rows = rows.sort_values("created", kind="stable") if len(rows) else rows
    for (network, precision, batch, device), group in _groups(rows, keys):
        values = group.groupby(["variant", "what"])["value"].last()
        for variant, method in _METHODS.items():
            if (variant, "train") not in values:
                continue
            scale = "cpu" if network == "cpu scale" else "paper"
            place = f" ({scale}, {device}, {precision}, n = {batch} a step)"
            body.append(
                [
                    f"{network}",
                    method,
                    f"{batch / values[variant, 'train']:.1f} images/s{place}",
                    f"{batch / values[variant, 'forward']:.1f} images/s{place}",
                    f"{values[variant, 'peak memory'] / 1e9:.2f} GB{place}",
                ]
            )
    header = ["network", "method", "training", "inference", "peak memory in training"]
    note = (
        "Medians of interleaved turns on random images, loading not included; the ratios of the "
        "turns are in the rows and in the figure of costs."
    )
    return _table("network", "Speed and memory", header, body, note)


def schemes(results: Path) -> Table:
    """Coding schemes: the paper's Algorithm 1 against ours."""
    body = [
        [
            f"{row.classes:,}, {row.paths}, {row.active}",
            "Algorithm 1" if row.algorithm == "paper" else "ours",
            f"{row.distance} (at most {row.largest_distance}; counted)",
            f"{row.least_column} to {row.most_column} (counted)",
            f"{row.pairs:,} (at least {row.fewest_pairs:,}; counted)",
            f"{row.seconds:.2f} (seed {row.seed}, n = 1 design, {row.device})",
        ]
        for row in benchmark_rows(results, "codes").itertuples()
    ]
    header = ["K, N, Nact", "method", "distance", "classes per path", "pairs at it", "seconds"]
    return _table("codes", "Coding schemes", header, body)


def classifiers(results: Path) -> Table:
    """Binary classifiers by codewords against others of the same or larger size."""
    rows = benchmark_rows(results, "binary")
    body = []
    for (run, method), group in _groups(rows, ["run", "method"]):
        n, classes, draws = group["n"].iloc[0], group["class"].nunique(), group["draw"].nunique()
        place = f" ({_scale_of(run)}, n = {n:,}, {classes} classes"
        place += f", {draws} draws)" if draws > 1 else ")"
        mean = group.groupby("metric")["value"].mean()
        body.append(
            [
                f"{group['source'].iloc[0]}",
                str(method),
                f"{group['parameters'].mean():,.0f}{place}",
                f"{100 * mean['f1']:.2f} %{place}",
                f"{mean['average_precision']:.4f}{place}",
            ]
        )
    header = ["images", "classifier", "parameters", "mean F1, cross-fitted", "average precision"]
    note = (
        "codeword: the class's paths; one-vs-rest: the whole coded network; random: as many paths "
        "as a codeword has; pruned plain: the plain network's paths of most effect."
    )
    return _table("binary", "Binary classifiers against others", header, body, note)


def stopping(results: Path) -> Table:
    """Early exits that stop against linear probes on the plain network."""
    names = {"eq7": "coded, Eq. 7", "combined": "coded, all energies so far",
             "probes": "linear probes on plain ResNeXt"}  # fmt: skip
    rows = benchmark_rows(results, "early_exit")
    body = []
    for row in rows.to_dict("records"):
        scale = _scale_of(row["run"])
        place = f" ({scale}, n = {row['n']:,})"
        timed = f" ({scale}, n = {row['timed']:,}, {row['device']}, batch 1)"
        body.append(
            [
                str(row["source"]),
                names.get(row["method"], row["method"]),
                f"{row['budget']:.0%}",
                f"{100 * row['top1']:.2f} %{place}",
                f"{100 * (row['top1'] - row['top1_whole']):+.2f} points{place}",
                f"{row['macs_share']:.1%} of {row['macs'] / row['macs_share']:,.0f}{place}",
                f"{1000 * row['p50']:.2f} ms, {row['p50'] / row['network_p50']:.2f} of the "
                f"network's{timed}",
            ]
        )
    header = ["images", "method", "budget", "top-1", "against the whole network", "multiply-adds",
              "median time"]  # fmt: skip
    note = "Thresholds by margin, two-fold cross-fitted on the test images."
    return _table("early_exit", "Early exits that stop", header, body, note)


def trainings(results: Path) -> Table:
    """Training from end to end with each loader, and what a run does besides."""
    rows = benchmark_rows(results, "train")
    scales = {
        run.model.name: scale
        for scale in ("cpu", "paper")
        for run in find_experiment("table2-cifar10").runs(scale, 0)
    }
    body = []
    for row in rows.to_dict("records"):
        place = f"{scales.get(row['network'], 'own')}, {row['device']}, {row['precision']}"
        speed = row["what"] == "images per second"
        if speed:
            place = f" ({place}, n = {row['count']:.0f} steps of {row['batch']})"
        elif pd.notna(row["count"]):
            place = f" ({place}, n = {row['count']:.0f} a run)"
        else:
            place = f" ({place}, n = 1 run, estimated)"
        unit = f"{row['value']:,.1f} images/s" if speed else f"{row['value']:.3g} s"
        body.append(
            [
                f"{row['network']}, {row['policy']}",
                f"training, loader: {row['variant']}" if speed else str(row["what"]),
                unit + place if pd.notna(row["value"]) else "-",
                f"{row['ratio']:.2f}{place}" if pd.notna(row["ratio"]) else "-",
                f"{row['share']:.2%}{place}",
            ]
        )
    header = ["network, RandAugment", "what", "speed or time", "times the DataLoader",
              "share: waiting for images, or of a run's training time"]  # fmt: skip
    return _table("train", "Training from end to end", header, body)


def cut_out(results: Path) -> Table:
    """One class's network, cut out, fused and compressed, against the network it comes from."""
    rows = benchmark_rows(results, "extraction")
    names = {"network": "coded ResNeXt", "sliced": "one class, cut out",
             "fused": "one class, cut out, norms folded"}  # fmt: skip
    body = []
    for (network, pixels, layout, device), group in _groups(
        rows, ["network", "pixels", "layout", "device"]
    ):
        counts = group[group["batch"] == 0].groupby(["module", "metric"])["value"].last().to_dict()
        times = group[group["batch"] > 0]
        sizes = {
            "network": (counts["sizes", "network_parameters"], counts["sizes", "network_macs"]),
            "sliced": (counts["sizes", "parameters"], counts["sizes", "macs"]),
            "fused": (counts["sizes", "stored_numbers"], counts["sizes", "macs"]),
        }
        for module in dict.fromkeys(times["module"]):
            numbers, macs = sizes.get(module) or (
                counts[module, "stored_numbers"],
                counts[module, "macs"],
            )
            body.append(
                [
                    f"{network}, {pixels} px",
                    names.get(module, f"one class, {module}"),
                    f"{numbers:,.0f} (paper, counted)",
                    f"{macs:,.0f} (paper, counted)",
                    "; ".join(_timings(times[times["module"] == module], f"{device}, {layout}")),
                ]
            )
    header = ["network", "what", "parameters", "multiply-adds", "median time"]
    note = "Weights are random. Compressed: at most such a share of the network's parameters."
    return _table("extraction", "A binary classifier cut out", header, body, note)


def _timings(rows: pd.DataFrame, where: str) -> Iterator[str]:
    """One module's median time at each batch size, as text."""
    for batch, mine in rows.groupby("batch"):
        value = mine.groupby("metric")["value"].last()
        yield (
            f"batch {batch}: {1000 * value['p50']:.1f} ms, {value['ratio']:.2f} of the network's "
            f"(paper, n = {mine['turns'].iloc[0]:.0f} turns, {where})"
        )


def loaders(results: Path) -> Table:
    """Loaders of images against a DataLoader with Pillow."""
    body = []
    for row in benchmark_rows(results, "loader").to_dict("records"):
        place = (
            f" (no network, n = {row['images']:,} images, {row['turns']} turns, {row['device']})"
        )
        body.append(
            [
                f"{row['source']}, {row['policy']}",
                str(row["loader"]),
                f"{row['images_per_second']:,.0f} images/s{place}",
                f"{row['ratio']:.2f}{place}",
                f"{row['first_batch_seconds']:.1f} s{place}",
                f"{row['memory_mib']:,.0f} MiB{place}",
            ]
        )
    header = ["images, RandAugment", "loader", "speed", "times the DataLoader", "first batch after",
              "memory of a process"]  # fmt: skip
    return _table("loader", "Loading images", header, body)


def _groups(rows: pd.DataFrame, keys: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    if len(rows):
        yield from rows.groupby(keys, sort=False)


def _scale_of(run_id: str) -> str:
    found = re.search(rf"-({'|'.join(SCALES)})-\w+-s\d+-", run_id)
    return found[1] if found else "scale unknown"


def _table(
    benchmark: str, title: str, header: list[str], body: list[list[str]], note: str = ""
) -> Table:
    if not body:
        note = f"Not measured; to get it: `{_COMMANDS[benchmark]}`."
    return Table(f"baselines-{benchmark}", "Baselines", title, header, body, note)


def comparisons(results: Path) -> list[Table]:
    """The tables of all comparisons.

    A table without rows has no body, and its note names the command that measures it. Raises
    UserError where no table has rows.
    """
    made = (classifiers, stopping, speeds, trainings, cut_out, loaders, schemes)
    first = trained(results)
    found = [*([first] if first else []), *(make(results) for make in made)]
    if not any(table.body for table in found):
        raise UserError(f"nothing to compare in {results}: run an experiment first")
    return found


def write_comparisons(results: Path, out: Path) -> Path:
    """Write `out`/tables/baselines.md."""
    path = make_directory(out / "tables") / "baselines.md"
    parts = [
        f"## {table.title}\n\n"
        + (f"{markdown(table.header, table.body)}\n" if table.body else "")
        + (f"{table.note}\n" if table.note else "")
        for table in comparisons(results)
    ]
    write_text(path, "# Coded networks and their baselines\n\n" + "\n".join(parts))
    return path
