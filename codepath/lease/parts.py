"""What a lease works through: each part is a command of its own, with what it should take."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from codepath.core.files import json_lines
from codepath.core.provenance import REPO_ROOT
from codepath.experiments import find_experiment
from codepath.experiments.coverage import benchmark_files, rows_of_run
from codepath.experiments.registry import override
from codepath.experiments.run_time import training_seconds
from codepath.run.config import RunConfig
from codepath.run.directory import Places, is_done
from codepath.run.metrics_file import METRICS, metrics_lines
from codepath.store import read_benchmark

START_S = 60.0
"""Seconds assumed for a run's start, compiling and evaluation before one was measured here."""
FULL_MINUTES = 20.0
"""Minutes that must be given before a run of all the paper's epochs is thought of."""
WAYS = ("launched", "recorded", "aligned", "compiled")
"""Of a step, as `codepath bench step` names them."""
CANDIDATES = (
    "kernels", "kernels+folded", "dense+folded", "sums", "statistics", "recomputed",
    "kernels+folded+statistics",
)  # fmt: skip
"""Of a step, measured where time is left (see `codepath.train.candidates`)."""


Taken = Mapping[str, tuple[float, float | None]]
"""Part that ended in this folder -> its seconds, and those of them `besides` (see `Part`)."""


@dataclass(frozen=True)
class Place:
    """Where a lease works, and with what."""

    folder: Path
    device: str
    commit: str
    """Empty where the source is not that of a commit."""
    minutes: float
    known: Path
    """Results whose rows are not made again."""
    data: Path | None = None
    loader: str = "auto"
    continued: bool = False
    """Whether another lease follows in the same folder: runs are begun that cannot end in this."""
    full_minutes: float = FULL_MINUTES

    @property
    def results(self) -> Path:
        """Where rows go."""
        return self.folder / "results"

    @property
    def runs(self) -> Path:
        """Where run directories live."""
        return self.folder / "runs"


@dataclass(frozen=True)
class Part:
    """One command of a lease."""

    name: str
    limit: float | None = field(default=None, kw_only=True)
    """Seconds after which it is cut; None: it is begun only where it can end."""
    shares: str = field(default="", kw_only=True)
    """Parts of the same name have `limit` together."""

    @property
    def stop(self) -> signal.Signals:
        """What tells it to save and end."""
        return signal.SIGTERM

    def command(self, place: Place) -> list[str]:
        """Arguments of the Python that runs the lease."""
        raise NotImplementedError

    def ready(self, place: Place) -> str:
        """Why nothing is to be done, or empty."""
        raise NotImplementedError

    def expected(self, place: Place, taken: Taken) -> float | None:
        """Seconds by measured speed, None where none is known."""
        raise NotImplementedError

    def besides(self, place: Place, seconds: float) -> float | None:  # noqa: ARG002
        """Of the seconds that it took, those that every part of its kind takes."""
        return None

    def outcome(self, place: Place) -> str:
        """What came out, in a line."""
        raise NotImplementedError


@dataclass(frozen=True)
class GpuTests(Part):
    """pytest on what holds on a GPU alone; tests that passed for this commit are left out."""

    device: str = "cuda"

    @property
    def stop(self) -> signal.Signals:
        """A test that trains would take a gentler one for its own."""
        return signal.SIGKILL

    def _progress(self, place: Place) -> Path:
        return place.folder / f"tests-{place.commit or 'changed'}.jsonl"

    def command(self, place: Place) -> list[str]:
        """pytest."""
        progress = self._progress(place)
        if not place.commit:
            progress.unlink(missing_ok=True)
        folder = str(REPO_ROOT / "tests" / "gpu")
        return ["-m", "pytest", folder, "-q", "-p", "no:cacheprovider",
                "--tested-device", self.device, "--progress", str(progress)]  # fmt: skip

    def _results(self, place: Place) -> tuple[list[str], dict[str, str]]:
        """All tests, and the outcomes of those that ended."""
        path = self._progress(place)
        tests: list[str] = []
        outcomes: dict[str, str] = {}
        for line in json_lines(path.read_text() if path.exists() else ""):
            tests = line.get("tests", tests)
            if "outcome" in line:
                outcomes[line["test"]] = line["outcome"]
        return tests, outcomes

    def ready(self, place: Place) -> str:
        """Whether all passed for this commit."""
        tests, outcomes = self._results(place)
        passed = tests and all(outcomes.get(test) in ("passed", "skipped") for test in tests)
        return f"all {len(tests)} passed for this commit" if passed and place.commit else ""

    def expected(self, place: Place, taken: Taken) -> float | None:  # noqa: ARG002
        """At most its limit."""
        return self.limit

    def outcome(self, place: Place) -> str:
        """Counts, and the names of the failed and of the cut."""
        tests, outcomes = self._results(place)
        named = {"failed": [], "skipped": [], "passed": []}  # type: dict[str, list[str]]
        for test, outcome in outcomes.items():
            named[outcome].append(test.rpartition("::")[2])
        said = [f"{len(named['passed'])} passed"]
        if named["skipped"]:
            said.append(f"{len(named['skipped'])} skipped")
        if named["failed"]:
            said.append(f"{len(named['failed'])} failed: {', '.join(named['failed'])}")
        rest = [test.rpartition("::")[2] for test in tests if test not in outcomes]
        if rest or not tests:
            said.append(f"cut before: {', '.join(rest) or 'the first'}")
        return "; ".join(said)


@dataclass(frozen=True)
class Steps(Part):
    """`codepath bench step` on one network, coded and plain in turns."""

    network: str
    ways: tuple[str, ...] = WAYS
    candidates: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    first: str = ""
    """The part of another network that tells how long this one takes."""

    def command(self, place: Place) -> list[str]:
        """The benchmark."""
        missing = [name for name in self.candidates if self._way(name) not in self._measured(place)]
        chosen = ["--candidates", *missing] if self.candidates else ["--profile"]
        out = str(place.results / "benchmarks")
        return ["-m", "codepath.cli", "bench", "step", "--networks", self.network,
                "--ways", *self.ways, *chosen, *self.options, "--out", out]  # fmt: skip

    def _rows(self, place: Place) -> list[dict[Hashable, Any]]:
        """Rows of this network and device, of the results known before and of here."""
        found = []
        for results in (place.known, place.results):
            for path in benchmark_files(results, "step"):
                rows = read_benchmark(path)
                mine = (rows["network"] == self.network) & (rows["device"] == place.device)
                found += rows[mine].to_dict("records")
        return found

    def _way(self, candidate: str) -> str:
        return f"{self.ways[-1]}+{candidate}"

    def _wanted(self) -> set[str]:
        return set(map(self._way, self.candidates)) or set(self.ways)

    def _measured(self, place: Place) -> set[str]:
        """Ways with rows of this device and commit."""
        rows = self._rows(place)
        return {str(row["way"]) for row in rows if row["commit"] == place.commit}

    def ready(self, place: Place) -> str:
        """Whether all ways have rows of this device and commit."""
        return "its rows are there" if self._wanted() <= self._measured(place) else ""

    def expected(self, place: Place, taken: Taken) -> float | None:  # noqa: ARG002
        """What it took before, or what the first network took."""
        known = taken.get(self.name) or taken.get(self.first)
        return known[0] if known else self.limit

    def outcome(self, place: Place) -> str:
        """The fastest way: coded beside plain."""
        rows = [row for row in self._rows(place) if row["way"] in self._wanted()]
        coded = [row for row in rows if row["model"] == "coded"]
        if not coded:
            return "no rows"
        best = max(coded, key=lambda row: float(str(row["images_per_second"])))
        ratio = best["coded_ratio"]
        plain = f", {float(str(ratio)):.3f} of plain" if ratio == ratio else ""
        speed = float(str(best["images_per_second"]))
        return f"coded {speed:,.0f} images/s {best['way']}{plain}"


@dataclass(frozen=True)
class Run(Part):
    """One training run with its evaluations."""

    config: RunConfig
    asked: tuple[str, ...]
    """Arguments of `codepath run` that make it."""
    full: bool = False
    """All epochs of the paper, on leases of more than `full_minutes` alone."""

    def command(self, place: Place) -> list[str]:
        """`codepath run`."""
        data = ["--data", str(place.data)] if place.data else []
        return ["-m", "codepath.cli", "run", *self.asked, *data, "--loader", place.loader,
                "--runs", str(place.runs), "--results", str(place.results)]  # fmt: skip

    def run_dir(self, place: Place) -> Path:
        """Where the run lives."""
        return Places(place.runs, place.results).run_dir(self.config)

    def ready(self, place: Place) -> str:
        """Whether its rows are known, or it is done here."""
        rows = rows_of_run(place.known, "accuracy", self.config)
        if self.config.seed in set(rows["seed"]):
            return f"{place.known.name}/ has its rows"
        if is_done(self.run_dir(place), self.config):
            return "done before"
        if self.full and place.minutes <= place.full_minutes:
            return f"only on leases of more than {place.full_minutes:g} minutes"
        return ""

    def expected(self, place: Place, taken: Taken) -> float | None:
        """What is left of its training, by the speed of an earlier run here or of the steps'
        rows, and what runs here took besides."""
        training = self._training(place)
        if training is None:
            return None
        besides = [seconds for _, seconds in taken.values() if seconds is not None]
        return training * (1 - self._done(place)) + (max(besides) if besides else START_S)

    def besides(self, place: Place, seconds: float) -> float | None:
        """Starting, compiling and evaluating, where the run took `seconds` in one go."""
        training = _training_by_metrics(self.run_dir(place), self.config)
        return None if training is None else max(seconds - training, 0.0)

    def _training(self, place: Place) -> float | None:
        """Seconds of its whole training, of an equal run but for the seed, or by steps."""
        for seed in range(self.config.seed + 1):
            like = replace(self.config, seed=seed)
            seconds = _training_by_metrics(Places(place.runs, place.results).run_dir(like), like)
            if seconds is not None:
                return seconds
        for results in (place.results, place.known):
            seconds = training_seconds(self.config, results, place.device)
            if seconds is not None:
                return seconds
        return None

    def _done(self, place: Place) -> float:
        """Share of the training that is saved."""
        saved = sorted((self.run_dir(place) / "ckpt").glob("step-*.pt"))
        epochs = _epochs(self.run_dir(place))
        if not saved or not epochs:
            return 0.0
        step = int(saved[-1].stem.rpartition("-")[2])
        return step / (epochs[-1]["step"] / epochs[-1]["epoch"] * self.config.train.epochs)

    def outcome(self, place: Place) -> str:
        """Its top-1, or how far it came."""
        rows = rows_of_run(place.results, "accuracy", self.config)
        rows = rows[(rows["seed"] == self.config.seed) & (rows["metric"] == "top1")]
        if rows.empty:
            return f"{100 * self._done(place):.0f} % of its epochs saved"
        return f"top-1 {100 * float(rows['value'].iloc[-1]):.2f} %"


def _epochs(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics that report an epoch."""
    return [line for line in metrics_lines(run_dir / METRICS) if line["kind"] == "epoch"]


def _training_by_metrics(run_dir: Path, config: RunConfig) -> float | None:
    """Seconds that all epochs of a run take at the median speed of those that it made."""
    lines = _epochs(run_dir)
    if not lines:
        return None
    images = lines[-1]["step"] / lines[-1]["epoch"] * config.train.epochs * config.train.batch_size
    return float(images / statistics.median(line["images_per_second"] for line in lines))


def _steps(
    network: str,
    first: str = "",
    ways: tuple[str, ...] = WAYS,
    options: tuple[str, ...] = (),
    limit: float = 180.0,
) -> Steps:
    return Steps(
        f"steps {network}", network, ways, options=options, first=first, limit=limit, shares="steps"
    )


def paper_parts() -> list[Part]:
    """What a GPU is to show, ordered by worth."""

    def runs(scale: str, seed: int) -> list[Run]:
        experiment = find_experiment("table2-cifar10")
        asked = (experiment.name, "--scale", scale, "--seed", str(seed), "--only")
        return [
            Run(f"{config.name} {scale}", config, (*asked, config.name), full=scale == "paper")
            for config in experiment.runs(scale, seed)
        ]

    first = _steps("C10")
    return [
        GpuTests("tests", limit=90.0),
        first,
        _steps("ImageNet", first.name),
        _steps("C100", first.name),
        *runs("short", 0),
        Steps("candidates C10", "C10", ("compiled",), CANDIDATES, limit=300.0),
        *runs("short", 1),
        *runs("short", 2),
        Steps("autotuned C10", "C10", ("compiled",), ("autotuned",), limit=300.0),
        *(run for seed in range(3) for run in runs("paper", seed)),
    ]


def rehearsal_parts() -> list[Part]:
    """The same kinds of parts on the CPU, with tiny settings."""
    tiny = ("--images", "8", "--turns", "1", "--steps", "1")

    def runs(seed: int) -> list[Run]:
        experiment, setting = find_experiment("table2-digits"), "train.epochs=2"
        asked = (experiment.name, "--scale", "demo", "--set", setting, "--seed", str(seed))
        planned = [override(config, [setting]) for config in experiment.runs("demo", seed)]
        return [
            Run(f"{run.name} demo", run, (*asked, "--only", run.name), full=seed > 0)
            for run in planned
        ]

    first = _steps("C10", "", ("launched", "aligned"), tiny, 60.0)
    return [
        GpuTests("tests", "cpu", limit=35.0),
        first,
        _steps("C100", first.name, ("launched",), tiny, 60.0),
        *runs(0),
        Steps("candidates C10", "C10", ("aligned",), ("folded",), tiny, limit=60.0),
        *runs(1),
    ]
