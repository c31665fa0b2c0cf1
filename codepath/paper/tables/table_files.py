"""Tables 1 to 4 and those of the text, in Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.codes import load_scheme
from codepath.core.errors import UserError
from codepath.core.files import make_directory, write_text
from codepath.experiments.coverage import benchmark_rows, beside, gaps
from codepath.experiments.reference import reference
from codepath.experiments.scales import note
from codepath.paper.tables.ablation_tables import (
    concat_table,
    exponent_table,
    objective_table,
    variants_table,
)
from codepath.paper.tables.layout import Table, by_scale, latex, markdown, percent, top1_rows


def table1(results: Path) -> Table | None:
    """Geometry and parameters of every stage, and the paper's geometry."""
    rows = _benchmark(results, "architectures")
    if rows is None:
        return None
    paper = reference("table1_architectures").set_index(["network", "stage"])
    totals = reference("table1_parameters").set_index("network")["parameters"]
    body = []
    for network, stages in rows.groupby("network", sort=False):
        for row in stages.to_dict("records"):
            geometry = theirs = "-"
            if row["blocks"]:
                ratio = f"{row['active']}/{row['paths']:.0f}"
                geometry = f"[{row['channels']:.0f}, {row['width']:.0f}, {ratio}] × {row['blocks']}"
                one = paper.loc[(network, row["stage"])]
                theirs = f"[{one.channels}, {one.width}, {one.active}/{one.paths}] × {one.blocks}"
            body.append(
                [str(network), row["stage"], geometry, theirs, f"{row['parameters']:,}", "-"]
            )
        total = stages["parameters"].sum()
        body.append([str(network), "all", "-", "-", f"{total:,}", f"{totals[network]:,}"])
    header = [
        "network",
        "stage",
        "ours: [C, d, Nact/N] × blocks",
        "paper's",
        "parameters",
        "paper's parameters",
    ]
    return Table("table1", "Table 1", "Architectures", header, body)


def table2(results: Path) -> Table | None:
    """Top-1 of the softmax for every data set, scale and model with rows."""
    rows = top1_rows(results, "table2")
    if rows.empty:
        return None
    published = reference("table2_accuracy").drop_duplicates(["dataset", "model"])
    body = []
    for (dataset, scale, model), group in by_scale(rows, "model"):
        paper = published.query("dataset == @dataset and model == @model")["top1"]
        body.append(
            [
                str(dataset),
                str(scale),
                str(model),
                percent(group["value"]) + beside(group),
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
    return Table("table2", "Table 2", "Top-1 accuracy", header, body, note(rows["scale"]))


def table3(results: Path) -> Table:  # noqa: ARG001 (the schemes come with the package)
    """CIFAR-10's codewords, and whether they are the paper's."""
    paper = reference("coding_schemes_cifar10", dtype=str).set_index("class")
    schemes = {"5/10": load_scheme("10-10-5"), "3/10": load_scheme("10-10-3")}
    names = schemes["5/10"].class_names
    body = []
    for k, name in enumerate(names):
        words = {r: "".join(map(str, scheme.table[k])) for r, scheme in schemes.items()}
        same = all(words[r] == paper.loc[name, f"r{r.replace('/', '_')}"] for r in words)
        body.append([name, *words.values(), "yes" if same else "no"])
    header = ["class", "r = 5/10", "r = 3/10", "the paper's, bit for bit"]
    return Table("table3", "Table 3", "Coding schemes of CIFAR-10", header, body)


def table4(results: Path) -> Table | None:
    """Multiply-adds, parameters, speed and memory of ImageNet's network and its baseline."""
    counts = _benchmark(results, "architectures")
    if counts is None:
        return None
    stages = counts[counts["network"] == "ImageNet"]
    plain = int(stages["baseline_macs"].sum())
    operations = {
        "baseline": (plain, plain, stages["baseline_parameters"].sum()),
        "coded": (
            plain + int(stages["literal_operations"].sum()),
            int(stages["macs"].sum()),
            stages["parameters"].sum(),
        ),
    }
    paper = reference("table4_costs").set_index("model")
    names = {"baseline": stages["baseline"].iloc[0], "coded": stages["model"].iloc[0]}
    speeds = _speeds(results, "ImageNet")
    body = []
    for role, (literal, own, parameters) in operations.items():
        theirs = paper.loc[names[role]]
        measured = speeds.get(role) or [("-", "-", "not measured")]
        for speed, memory, where in measured:
            body.append(
                [
                    names[role],
                    f"{literal / 1e9:.3f}",
                    f"{theirs.gflops:.3f}",
                    f"{own / 1e9:.3f}",
                    f"{parameters / 1e6:.2f}",
                    f"{theirs.params_million:.1f}",
                    speed,
                    memory,
                    where,
                    f"{theirs.throughput_img_s_tpu:.0f}, {theirs.ram_gb_tpu:.1f}",
                ]
            )
    header = [
        "model",
        "10^9 multiply-adds, Eq. 2-3 literally",
        "paper's",
        "in closed form",
        "parameters (10^6)",
        "paper's",
        "training (images/s)",
        "peak memory (GB)",
        "measured on",
        "paper's on a TPU: images/s, GB",
    ]
    note = (
        "At 160 pixels. Literally: the plain network's convolutions, and 3NCHW for each coded "
        "block. Peak memory is that of a training step beyond weights and images."
    )
    return Table("table4", "Table 4", "Costs of ImageNet's network", header, body, note)


def _speeds(results: Path, network: str) -> dict[str, list[tuple[str, str, str]]]:
    """Role -> (training images a second, GB of peak memory, device and setting), per setting."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    rows = benchmark_rows(results, "network")
    if rows.empty:
        return found
    rows = rows[rows["network"] == network].sort_values("created", kind="stable")
    for (precision, batch, device), group in rows.groupby(
        ["precision", "batch", "device"], sort=False
    ):
        for variant, role in (("plain", "baseline"), ("coded", "coded")):
            values = group[group["variant"] == variant].groupby("what")["value"].last()
            if "train" in values:
                memory = f"{values['peak memory'] / 1e9:.2f}" if "peak memory" in values else "-"
                found.setdefault(role, []).append(
                    (
                        f"{batch / values['train']:.1f}",
                        memory,
                        f"{device}, {precision}, batch {batch}",
                    )
                )
    return found


def parameters(results: Path) -> Table | None:
    """The share of the parameters that one binary classifier keeps, counted both ways."""
    rows = _benchmark(results, "architectures")
    if rows is None:
        return None
    claimed = reference("binary_parameters").set_index("dataset")["kept_percent_claimed"]
    body = []
    for network, stages in rows.groupby("network", sort=False):
        total = stages["parameters"].sum()
        body.append(
            [
                str(network),
                f"{total:,}",
                f"{stages['kept'].sum():,} ({stages['kept'].sum() / total:.1%})",
                f"{stages['scaled'].sum():,.0f} ({stages['scaled'].sum() / total:.1%})",
                f"{claimed[stages['dataset'].iloc[0]]} %",
            ]
        )
    header = [
        "network",
        "parameters",
        "a classifier that is cut out",
        "coded stages times r",
        "paper's claim",
    ]
    note = "Both counts keep one row of the head; nothing here was trained."
    return Table("parameters", "Text: parameters kept", "Parameters kept", header, body, note)


TABLES: dict[str, Callable[[Path], Table | None]] = {
    "table1": table1,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "parameters": parameters,
    "exponent": exponent_table,
    "concat": concat_table,
    "variants": variants_table,
    "objective": objective_table,
}
"""Name -> what makes it; None where its rows are absent."""


def _benchmark(results: Path, name: str) -> pd.DataFrame | None:
    rows = benchmark_rows(results, name)
    return rows if len(rows) else None


def make_tables(results: Path) -> list[Table]:
    """Every table that the rows allow; UserError where there are no rows of a run at all."""
    if top1_rows(results, "table2").empty:
        raise UserError(f"no accuracy rows in {results}: run an experiment first")
    return [table for make in TABLES.values() if (table := make(results)) is not None]


class Written(NamedTuple):
    """What `write_tables` did."""

    paths: list[Path]
    missing: list[str]
    """A line for each experiment without rows, with the command that makes them."""


def write_tables(results: Path, out: Path, scale: str | None = None) -> Written:
    """Write `out`/tables/NAME.md and .tex for every table that the rows in `results` allow."""
    written = []
    for table in make_tables(results):
        folder = make_directory(out / "tables")
        note = f"\n{table.note}\n" if table.note else ""
        for suffix, text in (
            ("md", markdown(table.header, table.body) + note),
            ("tex", latex(table.header, table.body)),
        ):
            path = folder / f"{table.name}.{suffix}"
            write_text(path, text)
            written.append(path)
    missing = [
        gap.line() for gap in gaps(results, scale) if set(TABLES) & set(gap.experiment.pictures)
    ]
    return Written(written, missing)
