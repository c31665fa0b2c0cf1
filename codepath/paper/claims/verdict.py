"""What the rows say of the paper's claims.

Claims about a shape are judged at every scale, against twice the standard error; the paper's
numbers are compared with paper-scale rows alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from codepath.core.files import make_directory, write_text
from codepath.experiments import Experiment, all_experiments, find_experiment
from codepath.experiments.coverage import (
    configuration_note,
    gap_at,
    missed_scales,
    rows_of_kind,
)
from codepath.experiments.scales import GPU_SCALES, note, proxy_mark
from codepath.paper.claims.claim_numbers import paper_numbers
from codepath.paper.claims.claim_shapes import SHAPES
from codepath.paper.claims.judge import CONTRADICTED, NOT_RUN, PARTLY, REPRODUCED, Outcome
from codepath.paper.tables.layout import markdown


class Claim(NamedTuple):
    """One line of the verdict."""

    item: str
    text: str
    data: str
    paper: str
    outcome: Outcome | None
    """None where it was not run."""
    reason: str
    """Why it was not run."""
    command: str

    @property
    def verdict(self) -> str:
        """reproduced, partly, contradicted or not run."""
        return self.outcome.verdict if self.outcome else NOT_RUN

    @property
    def why(self) -> str:
        """What stands beside the verdict: its reason, and a note on runs configured otherwise."""
        if self.outcome is None:
            return self.reason
        notes = (self.outcome.why, configuration_note(self.outcome.runs.values()))
        return "; ".join(note for note in notes if note)

    @property
    def ours(self) -> str:
        """Our numbers."""
        return self.outcome.ours if self.outcome else "-"


HEADER = [
    "item",
    "claim",
    "data",
    "paper",
    "ours",
    "difference",
    "seeds",
    "n",
    "verdict",
    "command",
    "run",
]


def cells(claim: Claim) -> list[str]:
    """A claim as the cells of `HEADER`."""
    found = claim.outcome
    if found is None:
        reason = f"{NOT_RUN}, because {claim.why}"
        return [claim.item, claim.text, claim.data, claim.paper, "-", "-", "0", "-", reason,
                claim.command, "-"]  # fmt: skip
    verdict = f"{found.verdict} ({claim.why})" if claim.why else found.verdict
    return [
        claim.item,
        claim.text,
        claim.data,
        claim.paper,
        found.ours,
        found.difference,
        str(found.seeds) if found.runs else "no runs",
        f"{found.n:,}" if found.runs else "-",
        verdict,
        claim.command,
        ", ".join(found.runs) or "-",
    ]


def _label(dataset: str, scale: str) -> str:
    return f"{dataset}, {scale} scale{proxy_mark(scale)}"


def _why_absent(experiment: Experiment, scale: str, results: Path) -> str:
    gap = gap_at(experiment, scale, results)
    reason = gap.what if gap else ""
    if gap is None or gap.only_outdated:
        lack = "its rows lack the measurement, or a seed that all runs have"
        reason = f"{lack}; {reason}" if reason else lack
    needs_gpu = gap is not None and scale in GPU_SCALES and not experiment.benchmarks
    return f"{reason} (it needs a GPU)" if needs_gpu else reason


def _shape_claims(results: Path, only_demo: bool) -> Iterator[Claim]:
    for shape in SHAPES:
        for experiment in all_experiments():
            if shape.picture not in experiment.pictures:
                continue
            missed = missed_scales(experiment, results)
            for scale in experiment.real_scales:
                runs = experiment.runs(scale, 0)
                outcome = shape.judge(results, runs)
                if outcome is None and (scale not in missed or (scale == "demo") != only_demo):
                    continue
                dataset = runs[0].data.source
                yield Claim(
                    shape.item,
                    shape.text,
                    _label(dataset, scale),
                    shape.paper if isinstance(shape.paper, str) else shape.paper(dataset),
                    outcome,
                    "" if outcome else _why_absent(experiment, scale, results),
                    experiment.command(scale, results),
                )


def _number_claims(results: Path, only_demo: bool) -> Iterator[Claim]:
    for number in paper_numbers():
        experiment = find_experiment(number.experiment)
        outcome = number.judge(results)
        if outcome is None and only_demo:
            continue
        data = number.data if experiment.benchmarks else _label(number.data, "paper")
        yield Claim(
            experiment.paper_item,
            number.text + (f" (tolerance {number.tolerance})" if number.tolerance else ""),
            data,
            number.paper,
            outcome,
            "" if outcome else _why_absent(experiment, "paper", results),
            experiment.command("paper", results),
        )


def claims(results: Path) -> list[Claim]:
    """Every claim of the paper, with its verdict from the rows in `results`.

    Where all rows are of demo scale, claims that need other rows are left out.
    """
    only_demo = set(rows_of_kind(results, "accuracy")["scale"]) == {"demo"}
    return [*_shape_claims(results, only_demo), *_number_claims(results, only_demo)]


def summary(judged: list[Claim]) -> str:
    """How many claims got each verdict."""
    counts = Counter(claim.verdict for claim in judged)
    order = (REPRODUCED, PARTLY, CONTRADICTED, NOT_RUN)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict])


_EXPLANATION = (
    "A proxy is another data set or a smaller scale. It shows whether a claim's shape holds there; "
    "only rows at the paper's scale speak of its numbers. A difference counts when it exceeds "
    "twice its standard error (SE). The error is over seeds where there are three, else binomial "
    "on the test images; for binary classifiers it is over classes. The column `difference` says "
    "by how much a claim holds, or how far a number is off. Partly means one of three things: a "
    "difference is too small to tell from noise; a number is beyond its tolerance, but within "
    "twice of it; or a number is beyond its tolerance on images that were compressed again, "
    "however far. Runs are compared at the seeds that all of them have."
)


def explanation(results: Path) -> str:
    """How claims were judged, and what the scales of the rows are."""
    return f"{_EXPLANATION} {note(rows_of_kind(results, 'accuracy')['scale'])}".rstrip()


def write_claims(results: Path, out: Path) -> tuple[Path, list[Claim]]:
    """Write `out`/claims.md."""
    judged = claims(results)
    ran = [claim for claim in judged if claim.outcome]
    rest = [claim for claim in judged if not claim.outcome]
    path = make_directory(out) / "claims.md"
    text = (
        "# Claims of the paper, and what the rows say\n\n"
        f"{explanation(results)} The last column has keys: the column `run` of runs.csv and of "
        f"every other table beside it.\n\nOf {len(judged)}: {summary(judged)}.\n\n"
        "## Judged\n\n"
        f"{markdown(HEADER, [cells(claim) for claim in ran])}"
    )
    if rest:
        kept = ["item", "claim", "data", "paper", "verdict", "command"]
        body = [[row[HEADER.index(name)] for name in kept] for row in map(cells, rest)]
        text += f"\n## Not run\n\n{markdown(kept, body)}"
    write_text(path, text)
    return path, judged
