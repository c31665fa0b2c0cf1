"""The parts of a lease: each is a command of its own, and knows how long it should take."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from codepath.core.files import json_lines
from codepath.core.plain import is_type
from codepath.core.provenance import CHECKOUT
from codepath.experiments import find_experiment
from codepath.experiments.coverage import benchmark_files, rows_of_run
from codepath.experiments.registry import override
from codepath.experiments.run_time import training_seconds
from codepath.run.config import RunConfig
from codepath.run.directory import Places, is_done
from codepath.run.metrics_file import METRICS, metrics_lines
from codepath.store import read_benchmark

START_S = 60.0
"""Seconds assumed for a run's start, compiling and evaluation until a run was measured here."""
FULL_MINUTES = 20.0
"""Minutes; only a lease of more begins a run of all the paper's epochs."""
WAYS = ("launched", "recorded", "aligned", "compiled")
"""Ways of a step, as `codepath bench step` names them."""
CANDIDATES = (
    "kernels", "kernels+folded", "dense+folded", "sums", "statistics", "recomputed",
    "kernels+folded+statistics",
)  # fmt: skip
"""Candidates for a faster step, measured where time is left (`codepath.train.candidates`)."""


_OUTCOMES = ("failed", "skipped", "passed")


Taken = Mapping[str, tuple[float, float | None]]
"""Part that was done in this folder -> its seconds, and what `Part.besides` says of them."""


@dataclass(frozen=True)
class Place:
    """Where a lease works, on which device, for how long, and with which data and results."""

    folder: Path
    device: str
    commit: str
    """The source's commit; empty where the source is not that of a commit."""
    minutes: float
    known: Path
    """Folder of earlier results, whose rows are not made again."""
    data: Path | None = None
    loader: str = "auto"
    continued: bool = False
    """Whether another lease follows in this folder: runs that cannot end in this one are begun."""
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
    """Seconds after which the part is told to stop; None: it is begun only where it can end."""
    shares: str = field(default="", kw_only=True)
    """Parts with the same name here have `limit` together."""

    @property
    def stop(self) -> signal.Signals:
        """The signal that tells the part to save and end."""
        return signal.SIGTERM

    def command(self, place: Place) -> list[str]:
        """The part's command, as arguments of the Python that runs the lease."""
        raise NotImplementedError

    def ready(self, place: Place) -> str:
        """Why nothing is left to do; empty where something is."""
        raise NotImplementedError

    def expected(self, place: Place, taken: Taken) -> float | None:
        """Seconds that the part should take by measured speed; None where no speed is known."""
        raise NotImplementedError

    def besides(self, place: Place, seconds: float) -> float | None:  # noqa: ARG002
        """Those of the seconds it took that every part of its kind takes; None: not known."""
        return None

    def outcome(self, place: Place) -> str:
        """What the part gave, in a line."""
        raise NotImplementedError


@dataclass(frozen=True)
class GpuTests(Part):
    """pytest on what only a GPU can show; tests that passed for this commit are left out."""

    device: str = "cuda"

    @property
    def stop(self) -> signal.Signals:
        """SIGKILL: a test that trains would take a gentler signal for one of its own."""
        return signal.SIGKILL

    def _progress(self, place: Place) -> Path:
        return place.folder / f"tests-{place.commit or 'changed'}.jsonl"

    def command(self, place: Place) -> list[str]:
        """pytest on tests/gpu; without a commit all tests are run again."""
        progress = self._progress(place)
        if not place.commit:
            progress.unlink(missing_ok=True)
        folder = str(Path(CHECKOUT or "") / "tests" / "gpu")
        return ["-m", "pytest", folder, "-q", "-p", "no:cacheprovider",
                "--tested-device", self.device, "--progress", str(progress)]  # fmt: skip

    def _results(self, place: Place) -> tuple[list[str], dict[str, str]]:
        """The names of all tests, and the outcomes of those that ended."""
        path = self._progress(place)
        tests: list[str] = []
        outcomes: dict[str, str] = {}
        for line in json_lines(path):
            if is_type(line.get("tests"), list[str]):
                tests = line["tests"]
            test, outcome = line.get("test"), line.get("outcome")
            if isinstance(test, str) and outcome in _OUTCOMES:
                outcomes[test] = outcome
        return tests, outcomes

    def ready(self, place: Place) -> str:
        """A line if all tests passed or were skipped for this commit, else empty."""
        tests, outcomes = self._results(place)
        ended = [outcomes.get(test) for test in (*tests, *outcomes)]
        passed = tests and all(outcome in ("passed", "skipped") for outcome in ended)
        return f"all {len(tests)} passed for this commit" if passed and place.commit else ""

    def expected(self, place: Place, taken: Taken) -> float | None:  # noqa: ARG002
        """The part's limit."""
        return self.limit

    def outcome(self, place: Place) -> str:
        """Counts, and the names of the tests that failed and of those that had not ended."""
        tests, outcomes = self._results(place)
        named: dict[str, list[str]] = {outcome: [] for outcome in _OUTCOMES}
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
    """`codepath bench step` on one network; coded and plain are timed in turns."""

    network: str
    ways: tuple[str, ...] = WAYS
    candidates: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    first: str = ""
    """The part of another network that tells how long this one takes."""

    def command(self, place: Place) -> list[str]:
        """`codepath bench step`, only with what has no rows yet."""
        measured = self._measured(place)
        missing = [name for name in self.candidates if self._way(name) not in measured]
        profile = "--only-profile" if self._wanted() <= measured else "--profile"
        chosen = ["--candidates", *missing] if self.candidates else [profile]
        out = str(place.results / "benchmarks")
        return ["-m", "codepath.cli", "bench", "step", "--networks", self.network,
                "--ways", *self.ways, *chosen, *self.options, "--out", out]  # fmt: skip

    def _rows(self, place: Place, benchmark: str = "step") -> list[dict[Hashable, Any]]:
        """The rows of this network and device, from the known and from the lease's results."""
        found = []
        for results in (place.known, place.results):
            for path in benchmark_files(results, benchmark):
                rows = read_benchmark(path)
                mine = (rows["network"] == self.network) & (rows["device"] == place.device)
                found += rows[mine].to_dict("records")
        return found

    def _way(self, candidate: str) -> str:
        return f"{self.ways[-1]}+{candidate}"

    def _wanted(self) -> set[str]:
        return set(map(self._way, self.candidates)) or set(self.ways)

    def _measured(self, place: Place, benchmark: str = "step") -> set[str]:
        """The ways that have rows of this device and commit."""
        rows = self._rows(place, benchmark)
        return {str(row["way"]) for row in rows if row["commit"] == place.commit}

    def ready(self, place: Place) -> str:
        """A line if all ways, and the profile of the last, have rows of this device and commit."""
        if not self._wanted() <= self._measured(place):
            return ""
        if not self.candidates and self.ways[-1] not in self._measured(place, "profile"):
            return ""
        return "its rows are there"

    def expected(self, place: Place, taken: Taken) -> float | None:  # noqa: ARG002
        """What the part took before, else what the first network took, else the part's limit."""
        known = taken.get(self.name) or taken.get(self.first)
        return known[0] if known else self.limit

    def outcome(self, place: Place) -> str:
        """The fastest way of the coded network: its speed, and the ratio to the plain network."""
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
    """The arguments of `codepath run` that make this run."""
    full: bool = False
    """Whether it is too long for a lease of `full_minutes` or less (all epochs of the paper)."""

    def command(self, place: Place) -> list[str]:
        """`codepath run` for this run alone."""
        data = ["--data", str(place.data)] if place.data else []
        return ["-m", "codepath.cli", "run", *self.asked, *data, "--loader", place.loader,
                "--runs", str(place.runs), "--results", str(place.results)]  # fmt: skip

    def run_dir(self, place: Place) -> Path:
        """The run's directory."""
        return Places(place.runs, place.results).run_dir(self.config)

    def ready(self, place: Place) -> str:
        """A line if its rows are known, it is done here or the lease is too short; else empty."""
        rows = rows_of_run(place.known, "accuracy", self.config)
        if self.config.seed in set(rows["seed"]):
            return f"{place.known.name}/ has its rows"
        if is_done(self.run_dir(place), self.config):
            return "done before"
        if self.full and place.minutes <= place.full_minutes:
            return f"only on leases of more than {place.full_minutes:g} minutes"
        return ""

    def expected(self, place: Place, taken: Taken) -> float | None:
        """Seconds for the rest of its training and for start, compiling and evaluation.

        The training's speed is that of an earlier run here, else that of the rows of steps. The
        other seconds are the most that a run here took besides training, else START_S.
        """
        training = self._training(place)
        if training is None:
            return None
        besides = [seconds for _, seconds in taken.values() if seconds is not None]
        return training * (1 - self._done(place)) + (max(besides) if besides else START_S)

    def besides(self, place: Place, seconds: float) -> float | None:
        """Seconds of start, compiling and evaluation, for a run that took `seconds` in one go."""
        training = _training_by_metrics(self.run_dir(place), self.config)
        return None if training is None else max(seconds - training, 0.0)

    def _training(self, place: Place) -> float | None:
        """Seconds of its whole training, by its own speed, a lower seed's, or the rows of steps."""
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
        """The share of the training that is in the newest checkpoint."""
        saved = sorted((self.run_dir(place) / "ckpt").glob(f"step-{'[0-9]' * 8}.pt"))
        epochs = _epochs(self.run_dir(place))
        if not saved or not epochs:
            return 0.0
        step = int(saved[-1].stem.removeprefix("step-"))
        return step / (epochs[-1]["step"] / epochs[-1]["epoch"] * self.config.train.epochs)

    def outcome(self, place: Place) -> str:
        """The run's top-1; without its rows, the share of its epochs that is saved."""
        rows = rows_of_run(place.results, "accuracy", self.config)
        rows = rows[(rows["seed"] == self.config.seed) & (rows["metric"] == "top1")]
        if rows.empty:
            return f"{100 * self._done(place):.0f} % of its epochs saved"
        return f"top-1 {100 * float(rows['value'].iloc[-1]):.2f} %"


def _epochs(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics that report an epoch."""
    lines = metrics_lines(run_dir / METRICS)
    return [line for line in lines if line["kind"] == "epoch" and line.get("epoch", 0) > 0]


def _training_by_metrics(run_dir: Path, config: RunConfig) -> float | None:
    """Seconds of all epochs of a run at the median speed of its finished ones; None without any."""
    lines = _epochs(run_dir)
    speeds = [line["images_per_second"] for line in lines if line.get("images_per_second", 0) > 0]
    if not speeds:
        return None
    images = lines[-1]["step"] / lines[-1]["epoch"] * config.train.epochs * config.train.batch_size
    return float(images / statistics.median(speeds))


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
    """The parts of a lease of a GPU, ordered by worth."""

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
