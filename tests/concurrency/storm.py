"""Many processes that write and read the same folders, and are killed at random (run as a module).

python -m tests.concurrency.storm FOLDER PROCESSES SECONDS SEED prints what was done. It ends with
code 1, and what was wrong, where an invariant was broken. Workers are forked. What a worker was
told is on the disk before it goes on, so that it counts although the worker is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import submitit  # noqa: F401 (before workers are forked)
from filelock import FileLock

from codepath import store
from codepath.core.errors import InUseError
from codepath.core.files import make_directory
from codepath.core.provenance import now
from codepath.experiments import find_experiment
from codepath.launch.control import cancel
from codepath.launch.plan import Destination, make_plan, run_title
from codepath.launch.submit import Submission
from codepath.launch.turns import submitting
from codepath.run.config import RunConfig
from codepath.run.events import read_order
from codepath.run.state import find_runs, look_all, table
from codepath.store import Measurement, Provenance

KINDS = ("accuracy", "binary", "decoders")
NUMBERS = 3
"""Numbers of each kind that are written at once."""
RUNS = 3
"""Run directories that are measured again and again."""
SLURM = {
    # Each job has a file with a line for each of its array's elements, as squeue prints them.
    "sbatch": """
for id in $(seq $((100 + $(ls {0}/ids | wc -l))) 99999); do
    mkdir {0}/ids/$id 2>/dev/null && break
done
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
if [ -n "$last" ]; then for k in $(seq 0 $last); do echo "${{id}}_$k|PENDING|None"; done
else echo "$id|PENDING|None"; fi >{0}/queue/$id
echo "Submitted batch job $id"
""",
    "scancel": """
for id in "$@"; do
    for file in {0}/queue/${{id%_*}}; do
        grep -E "^$id(_[0-9]+)?\\|" $file | sed 's/PENDING/CANCELLED/' >{0}/cancelled/$id
    done
done
""",
    "squeue": "cat {0}/queue/* {0}/cancelled/* 2>/dev/null; exit 0",
    "sacct": "exit 0",
    "srun": "exit 1",
}
"""Stand-ins. What was cancelled is printed last, and counts."""


class Storm:
    """The folders, and what workers do to them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.results = folder / "results"
        self.benchmark = folder / "results" / "benchmarks" / "redraw.csv"
        self.destination = Destination(folder / "runs")
        self.measured = [folder / "measured" / str(k) for k in range(RUNS)]
        self.configs = [
            run for s in range(3) for run in find_experiment("table2-digits").runs("demo", s)
        ]
        for made in (self.benchmark.parent, folder / "told", folder / "wrong", *self.measured):
            make_directory(made)
        slurm = folder / "slurm"
        for name in ("ids", "queue", "cancelled"):
            make_directory(slurm / name)
        for name, text in SLURM.items():
            (slurm / name).write_text(f"#!/bin/sh\n{text.format(slurm).strip()}\n")
            (slurm / name).chmod(0o755)
        os.environ["PATH"] = f"{slurm}:{os.environ['PATH']}"

    def work(self, until: float) -> None:
        """What a worker does: one thing after another, at random."""
        self.rng = random.Random(f"{self.seed} {os.getpid()}")
        self.mine: list[str] = []
        self.told = (self.folder / "told" / f"{os.getpid()}").open("a", buffering=1)
        doings: list[Callable[[], None]] = [
            *[self.append] * 4, *[self.measure] * 2, *[self.collect] * 2, *[self.bench] * 3,
            *[self.look] * 4, self.submit, self.cancel,
        ]  # fmt: skip
        while time.time() < until:
            doing = self.rng.choice(doings)
            try:
                doing()
                self.tell("did", doing.__name__)
            except InUseError:  # said in a line; nothing was done
                self.tell("refused", doing.__name__)

    def tell(self, what: str, value: Any) -> None:
        """Write down what this worker was told."""
        self.told.write(json.dumps([what, value]) + "\n")

    def rows(self, run_id: str) -> tuple[str, store.Rows]:
        """Made-up rows of a run, and their key."""
        origin = Provenance(
            experiment="table2-digits", run_id=run_id, scale="demo", dataset="digits",
            source="made up", model="coded", seed=self.rng.randrange(10**9), precision="float32",
            device="none", commit="abc", dirty=False, created=now(),
        )  # fmt: skip
        found = (
            Measurement(
                kind=kind, metric=f"m{k}", value=self.rng.random(), n=k + 1,
                **({"class_name": "c", "objective": "f1", "fitted": "train", "negatives": "all"}
                   if kind == "binary" else {}),
                **({"block": k, "decoder": "eq7"} if kind == "decoders" else {}),
            )
            for kind in KINDS for k in range(NUMBERS)
        )  # fmt: skip
        return origin.key, store.rows_of(found, origin)

    def append(self) -> None:
        key, rows = self.rows(f"{os.getpid()}-{self.rng.random()}")
        store.append_rows(self.results, rows)
        self.tell("rows", key)
        self.mine.append(key)

    def measure(self) -> None:
        """Measure a run again, all kinds or some."""
        run = self.rng.choice(self.measured)
        _, rows = self.rows(run.name)
        kinds = self.rng.sample(KINDS, self.rng.randint(1, 3))
        some = store.Rows(rows.runs, {kind: rows.tables[kind] for kind in kinds})
        store.replace_rows(make_directory(run / "rows"), some, kinds)

    def collect(self) -> None:
        store.collect(self.results, self.rng.sample(self.measured, 2))

    def bench(self) -> None:
        what = f"{os.getpid()}-{self.rng.random()}"
        numbers = ["cores", "turns", "runs", "rows", "value", "least", "most", "processor_seconds"]
        origin = {"device": "none", "commit": "abc", "dirty": False, "created": now()}
        line = pd.DataFrame([{"what": what, **dict.fromkeys(numbers, 1.0), **origin}])
        store.put_benchmark(self.benchmark, line, ("what",))
        self.tell("bench", what)

    def look(self) -> None:
        """Everything is readable at every moment, and holds what this worker was told."""
        kind = self.rng.choice(KINDS)
        rows = store.read_rows(self.results, kind)
        lost = Counter(dict.fromkeys(self.mine, NUMBERS)) - Counter(rows["run"])
        assert not lost, f"{kind} lacks {lost}"
        store.read_rows(self.rng.choice(self.measured) / "rows", kind)
        if self.benchmark.exists():
            store.read_benchmark(self.benchmark)
        table(look_all(find_runs(self.destination.runs)))

    def submit(self) -> None:
        some = self.rng.sample(self.configs, self.rng.randint(1, 3))
        plan = make_plan(some, self.destination)
        titles = {run_title(config): config.run_id for config in some}
        for line in Submission(plan, self.destination, "slurm").submit():
            job, _, title = line.strip().partition("  ")
            if title in titles:
                self.tell("job", [titles[title], job])

    def cancel(self) -> None:
        with submitting(self.destination.runs):
            runs = find_runs(self.destination.runs)
            if runs:
                cancel(look_all([self.rng.choice(runs)]))


def fork(storm: Storm, until: float) -> int:
    """A worker in a process of its own; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        storm.work(until)
    except BaseException:
        (storm.folder / "wrong" / str(os.getpid())).write_text(traceback.format_exc())
        os._exit(1)
    os._exit(0)


def blow(storm: Storm, processes: int, seconds: float) -> int:
    """Let workers work, kill one every now and then, and start another; returns the kills."""
    rng, kills = random.Random(storm.seed), 0
    until = time.time() + seconds
    workers = {fork(storm, until) for _ in range(processes)}
    while time.time() < until:
        time.sleep(max(seconds / 60, 0.5))
        victim = rng.choice(sorted(workers))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        workers.remove(victim)
        kills += 1
        workers.add(fork(storm, until))
    for worker in workers:
        os.waitpid(worker, 0)
    return kills


def told(storm: Storm) -> Iterator[tuple[str, Any]]:
    """What all workers were told; a line that a kill cut was not told."""
    for path in (storm.folder / "told").iterdir():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield tuple(json.loads(line))


def judge(storm: Storm, facts: list[tuple[str, Any]]) -> None:
    """AssertionError where something was lost, is there twice, or keeps others waiting."""
    wrong = [path.read_text() for path in (storm.folder / "wrong").iterdir()]
    assert not wrong, f"{len(wrong)} workers failed:\n{wrong[0]}"
    keys = {value for what, value in facts if what == "rows"}
    for kind in KINDS:
        rows = store.read_rows(storm.results, kind)
        found = Counter(rows["run"])
        assert {key for key in keys if found[key] != NUMBERS} == set(), f"{kind}: lost or twice"
        lines = (storm.results / f"{kind}.csv").read_text().splitlines()
        assert len(set(lines)) == len(lines), f"{kind}: a line is there twice"
    runs = (storm.results / "runs.csv").read_text().splitlines()
    assert len({line.split(",")[0] for line in runs}) == len(runs), "a run is there twice"
    measured = Counter(store.read_benchmark(storm.benchmark)["what"])
    put = {value for what, value in facts if what == "bench"}
    assert {what for what in put if measured[what] != 1} == set(), "benchmark: lost or twice"
    judge_jobs(storm, facts)
    for lock in storm.folder.rglob(".*lock"):
        with FileLock(lock, timeout=0):
            pass
    left = [path.name for place in ("results", "measured")
            for path in (storm.folder / place).rglob("*.csv")]  # fmt: skip
    assert set(left) == {*(f"{kind}.csv" for kind in KINDS), "runs.csv", "redraw.csv"}
    storm.work(time.time() + 1)
    _key, rows = storm.rows("the last")
    assert store.append_rows(storm.results, rows) == NUMBERS * len(KINDS)
    new = find_experiment("table2-digits").runs("demo", 7)
    assert Submission(make_plan(new, storm.destination), storm.destination, "slurm").submit()
    half = [*storm.results.glob(".*.tmp"), *storm.destination.runs.glob("source/.*")]
    assert not half, "what killed writers left is still there"


def judge_jobs(storm: Storm, facts: list[tuple[str, Any]]) -> None:
    """No run waits in two jobs, and the order of each run names the one that it has."""
    cancelled = {path.name for path in (storm.folder / "slurm" / "cancelled").iterdir()}
    jobs: dict[str, list[str]] = {}
    for what, value in facts:
        if what == "job" and not {value[1], value[1].split("_")[0]} & cancelled:
            jobs.setdefault(value[0], []).append(value[1])
    assert {run: ids for run, ids in jobs.items() if len(ids) > 1} == {}, "submitted twice"
    by_id: dict[str, RunConfig] = {config.run_id: config for config in storm.configs}
    for run, (job,) in jobs.items():
        order = read_order(storm.destination.run_dir(by_id[run]))
        assert order["job"] == job, f"{run} waits in job {job}, its order says {order['job']}"


def main(folder: Path, processes: int, seconds: float, seed: int) -> None:
    """Blow, judge, and print a line of JSON."""
    storm = Storm(folder, seed)
    kills = blow(storm, processes, seconds)
    facts = list(told(storm))
    storm.rng, storm.mine = random.Random(0), []
    judge(storm, facts)
    did = Counter(value for what, value in facts if what == "did")
    refused = sum(what == "refused" for what, _ in facts)
    print(json.dumps({"kills": kills, "refused": refused, **did}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
