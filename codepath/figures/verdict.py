"""What the rows say of the paper's claims.

Claims about a shape (which is larger, what rises) are judged at every scale, against twice the
standard error; the paper's numbers are compared with paper-scale rows alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.experiments.paper import ACCURACY_TOLERANCE, reference
from codepath.figures.tables import markdown, percent
from codepath.runtime import make_directory, write_text
from codepath.store import read_rows

REPRODUCED, UNDECIDED, CONTRADICTED = "reproduced", "undecided", "contradicted"


class Claim(NamedTuple):
    """One line of the verdict."""

    text: str
    data: str
    paper: str
    ours: str
    seeds: str
    verdict: str


def standard_error(differences: pd.Series, accuracy: float, images: int) -> float:
    """Of a mean difference of two accuracies.

    From the spread over seeds where there are at least three, else the binomial error of two
    independent accuracies on n images (which overstates it for paired ones).
    """
    if len(differences) >= 3:
        return float(differences.std() / math.sqrt(len(differences)))
    return math.sqrt(2 * accuracy * (1 - accuracy) / images / max(len(differences), 1))


def judge(difference: float, error: float) -> str:
    """Whether a difference claimed to be positive is: beyond twice its standard error."""
    if difference > 2 * error:
        return REPRODUCED
    return CONTRADICTED if difference < -2 * error else UNDECIDED


def _compare(larger: pd.DataFrame, smaller: pd.DataFrame) -> tuple[pd.Series, float]:
    """Paired differences by seed (shares) and their mean's standard error."""
    a, b = (f.groupby("seed")["value"].mean().astype(float) for f in (larger, smaller))
    differences = (a - b).dropna()
    images = int(larger["n"].iloc[0])
    return differences, standard_error(differences, float(b.mean()), images)


def _points(differences: pd.Series, error: float) -> str:
    return f"{100 * differences.mean():+.2f} points (SE {100 * error:.2f})"


def _shape_claims(results: Path) -> Iterator[Claim]:
    accuracy = read_rows(results, "accuracy").query("metric == 'top1'")
    accuracy = accuracy[accuracy["experiment"].str.fullmatch(r"table2-\w+")]
    decoders, removal, binary = (
        read_rows(results, kind) for kind in ("decoders", "removal", "binary")
    )
    for (experiment, dataset, scale), top1 in accuracy.groupby(["experiment", "dataset", "scale"]):
        label = f"{dataset}, {scale} scale" + ("" if scale == "paper" else " (proxy)")

        def of(frame: pd.DataFrame, metric: str, **where: float) -> pd.DataFrame:
            chosen = frame[
                (frame["experiment"] == experiment)  # noqa: B023
                & (frame["scale"] == scale)  # noqa: B023
                & (frame["metric"] == metric)
                & (frame["split"] == "test")
            ]
            for column, value in where.items():
                chosen = chosen[chosen[column] == value]
            return chosen

        coded, plain = (top1[top1["model"] == model] for model in ("coded", "baseline"))
        if len(coded) and len(plain):
            differences, error = _compare(coded, plain)
            verdict = judge(float(differences.mean()), error)
            yield Claim(
                "Coded is more accurate than plain ResNeXt (Table 2)",
                label,
                "more",
                f"{percent(coded['value'])} against {percent(plain['value'])} %: "
                f"{_points(differences, error)}",
                str(len(differences)),
                verdict,
            )

        blocks = sorted(of(decoders, "top1")["block"].unique())
        if len(blocks) > 1:
            steps = [
                _compare(of(decoders, "top1", block=b), of(decoders, "top1", block=a))
                for a, b in itertools.pairwise(blocks)
            ]
            first, last = (of(decoders, "top1", block=b) for b in (blocks[0], blocks[-1]))
            differences, error = _compare(last, first)
            falls = any(judge(float(d.mean()), e) == CONTRADICTED for d, e in steps)
            verdict = CONTRADICTED if falls else judge(float(differences.mean()), error)
            means = [100 * of(decoders, "top1", block=b)["value"].mean() for b in blocks]
            yield Claim(
                "Early decoders improve with depth (Fig 4)",
                label,
                "rising",
                f"blocks {blocks[0]} to {blocks[-1]}: {', '.join(f'{m:.1f}' for m in means)} %",
                str(len(differences)),
                verdict,
            )

        active, inactive = (of(removal, f"top1_{group}") for group in ("active", "inactive"))
        if len(active) and len(inactive):
            most = min(active["x"].max(), inactive["x"].max())
            differences, error = _compare(
                of(removal, "top1_inactive", x=most), of(removal, "top1_active", x=most)
            )
            yield Claim(
                "Removing active paths hurts more than as many inactive ones (Fig 2a)",
                label,
                "more",
                f"{most:.0f} removed: "
                f"{percent(of(removal, 'top1_active', x=most)['value'])} % left, against "
                f"{percent(of(removal, 'top1_inactive', x=most)['value'])} %",
                str(len(differences)),
                judge(float(differences.mean()), error),
            )
            everything = inactive["x"].max()
            differences, error = _compare(
                of(removal, "top1_inactive", x=everything), of(removal, "top1_inactive", x=0)
            )
            harmed = judge(float(differences.mean()), error) == CONTRADICTED
            yield Claim(
                "Removing inactive paths does not hurt (Fig 2a)",
                label,
                "no loss",
                f"all {everything:.0f} removed: {_points(differences, error)}",
                str(len(differences)),
                CONTRADICTED if harmed else REPRODUCED,
            )

        f1 = of(binary, "f1").groupby("class")["value"].mean().astype(float)
        if len(f1):
            share = of(binary, "prevalence")["value"].astype(float).mean()
            always = 2 * share / (1 + share)
            yield Claim(
                "Binary classifiers work by masking alone (Fig 2b): every class's F1 is above "
                "that of always answering yes",
                label,
                "yes",
                f"F1 {f1.min():.3f} to {f1.max():.3f}, mean {f1.mean():.3f}; "
                f"always yes {always:.3f}",
                str(of(binary, "f1")["seed"].nunique()),
                REPRODUCED if f1.min() > always else CONTRADICTED,
            )


def _number_claims(results: Path) -> Iterator[Claim]:
    accuracy = read_rows(results, "accuracy").query(
        "metric == 'top1' and split == 'test' and scale == 'paper'"
    )
    for line in reference("table2_accuracy").drop_duplicates(["dataset", "model"]).itertuples():
        rows = accuracy[
            (accuracy["experiment"] == f"table2-{line.dataset}") & (accuracy["model"] == line.model)
        ]
        ours, verdict = "-", "not run: no paper-scale rows of this data set in results"
        if len(rows):
            difference = 100 * rows["value"].astype(float).mean() - float(str(line.top1))
            inside = abs(difference) <= ACCURACY_TOLERANCE
            ours = f"{percent(rows['value'])} % ({difference:+.2f})"
            verdict = REPRODUCED if inside else CONTRADICTED
        yield Claim(
            f"Top-1 of the {line.model} network (Table 2, tolerance {ACCURACY_TOLERANCE} points)",
            f"{line.dataset}, paper scale",
            f"{line.top1:.2f} %",
            ours,
            str(rows["seed"].nunique()),
            verdict,
        )


def claims(results: Path) -> list[Claim]:
    """Every claim that is judged, with its verdict from the rows in `results`."""
    return [*_shape_claims(results), *_number_claims(results)]


def write_claims(results: Path, out: Path) -> tuple[Path, list[Claim]]:
    """Write `out`/claims.md."""
    judged = claims(results)
    header = ["claim", "data", "paper", "ours", "seeds", "verdict"]
    path = make_directory(out) / "claims.md"
    write_text(
        path,
        "# Claims of the paper, and what the rows say\n\n"
        "A proxy (another data set or a smaller scale) shows whether a claim's shape holds "
        "there; only paper-scale rows speak of the paper's numbers. A difference counts when "
        "it exceeds twice its standard error (SE).\n\n"
        + markdown(header, [list(claim) for claim in judged]),
    )
    return path, judged
