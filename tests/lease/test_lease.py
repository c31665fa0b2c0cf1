"""`codepath lease`: budget, interruption, what comes back, with parts that are small scripts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from rich.console import Console
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.lease import parcel, work
from codepath.lease.parts import (
    START_S,
    GpuTests,
    Part,
    Place,
    Run,
    Steps,
    Taken,
    paper_parts,
    rehearsal_parts,
)
from codepath.lease.work import Lease
from codepath.store import BENCHMARK_SETTINGS, read_benchmark
from codepath.store.schema import benchmark_columns


@dataclass(frozen=True)
class Script(Part):
    """Runs Python code; done once it wrote the file of its name."""

    code: str = ""
    seconds: float | None = None

    def command(self, place: Place) -> list[str]:
        return ["-c", self.code.replace("DIR", repr(str(place.folder)))]

    def ready(self, place: Place) -> str:
        return "done before" if (place.folder / self.name).exists() else ""

    def expected(self, place: Place, taken: Taken) -> float | None:  # noqa: ARG002
        return self.seconds

    def outcome(self, place: Place) -> str:  # noqa: ARG002
        return "came out"


def finishes(name: str, seconds: float | None = None, **options: float) -> Script:
    return Script(name, f"open(DIR + '/{name}', 'w').write('x')", seconds, **options)


WAITS = "import time; print('waiting', flush=True); time.sleep(60)"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "lease"
    folder.mkdir()
    return Place(folder, "NVIDIA H200", "abc", 13.0, tmp_path / "known")


def lease_of(place: Place, parts: list[Part]) -> Lease:
    return Lease(place, parts, place.folder / "back", Console(quiet=True))


def states(place: Place) -> dict[str, str]:
    records = json.loads((place.folder / "lease.json").read_text())["parts"]
    return {name: record["state"] for name, record in records.items()}


def test_parts_are_done_in_turn_and_left_out_when_repeated(place: Place) -> None:
    parts: list[Part] = [finishes("first"), finishes("second")]
    assert lease_of(place, parts).work() == 0
    assert states(place) == {"first": "done", "second": "done"}
    (place.folder / "second").unlink()
    assert lease_of(place, parts).work() == 0
    records = json.loads((place.folder / "lease.json").read_text())["parts"]
    assert records["first"]["at"] < records["second"]["at"]
    assert "| second | done |" in (place.folder / "lease.md").read_text()


def test_what_cannot_end_is_not_begun(place: Place) -> None:
    short = replace(place, minutes=(work.CLOSE_S + 30) / 60)
    assert lease_of(short, [finishes("long", 31.0), finishes("brief", 8.0)]).work() == 0
    assert states(place) == {"long": "waiting", "brief": "done"}
    assert not (place.folder / "long").exists()
    assert "left: long" in (place.folder / "lease.md").read_text()


def test_what_may_be_cut_ends_at_its_limit_and_at_that_of_its_kind(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SAVE_S", 2.0)
    options = {"limit": 7.0, "shares": "both"}
    parts = [Script("slow", WAITS, **options), Script("next", WAITS, **options), finishes("after")]
    began = time.monotonic()
    assert lease_of(place, list(parts)).work() == 0
    assert states(place) == {"slow": "cut", "next": "waiting", "after": "done"}
    assert 7 <= time.monotonic() - began < 40


def test_what_does_not_heed_the_signal_is_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SAVE_S", 1.0)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
    assert lease_of(place, [Script("deaf", deaf, limit=6.0)]).work() == 0
    assert states(place) == {"deaf": "cut"}


def test_a_part_that_fails_is_named_and_the_others_are_done(place: Place) -> None:
    broken = Script("broken", "import sys; print('error: no data'); sys.exit(1)")
    assert lease_of(place, [broken, finishes("after")]).work() == 1
    assert states(place) == {"broken": "failed", "after": "done"}
    assert "error: no data" in (place.folder / "lease.md").read_text()


DRIVER = """
import sys
from pathlib import Path
from rich.console import Console
from codepath.lease.parts import Place
from codepath.lease.work import Lease
from tests.lease.test_lease import Script, finishes
place = Place(Path(sys.argv[1]), "NVIDIA H200", "abc", 13.0, Path(sys.argv[1]) / "known")
saves = '''
import os, signal, sys, time
saved = DIR + "/saved"
def save(*_):
    open(saved, "w").write("x")
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
if not os.path.exists(saved):
    open(DIR + "/begun", "w").write(str(os.getpid()))
    time.sleep(100)
open(DIR + "/resumed", "w").write("x")
'''
sys.exit(Lease(place, [Script("resumed", saves), finishes("last")], place.folder / "back",
               Console()).work())
"""


@contextlib.contextmanager
def begun(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A lease in a process of its own, in its first part."""
    command = [sys.executable, "-c", DRIVER, str(place.folder)]
    lease = subprocess.Popen(command, cwd=REPO_ROOT, start_new_session=True)
    try:
        end = time.monotonic() + 60
        while not (place.folder / "begun").exists():
            assert time.monotonic() < end
            assert lease.poll() is None
            time.sleep(0.05)
        yield lease
    finally:
        if lease.poll() is None:
            lease.kill()
            lease.wait()


def again(place: Place) -> int:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(place.folder)], cwd=REPO_ROOT, check=False, timeout=120
    ).returncode


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_another_process_goes_on(
    place: Place, number: signal.Signals, code: int
) -> None:
    with begun(place) as lease:
        lease.send_signal(number)
        assert lease.wait(60) == code
    assert states(place) == {"resumed": "cut", "last": "waiting"}
    assert list((place.folder / "back").glob("lease.tar.*"))
    assert again(place) == 0
    assert states(place) == {"resumed": "done", "last": "done"}


def test_a_killed_lease_takes_its_part_along_and_another_goes_on(place: Place) -> None:
    with begun(place) as lease:
        lease.kill()
        lease.wait()
    assert again(place) == 0
    assert (place.folder / "saved").exists()
    assert states(place) == {"resumed": "done", "last": "done"}


def test_a_folder_has_one_lease(place: Place) -> None:
    with (
        FileLock(place.folder / ".lock"),
        pytest.raises(UserError, match="another lease works in"),
    ):
        lease_of(place, [finishes("first")]).work()


def test_a_damaged_record_is_named(place: Place) -> None:
    (place.folder / "lease.json").write_text("{")
    with pytest.raises(UserError, match=r"lease\.json is damaged .* remove it"):
        lease_of(place, [finishes("first")]).work()


# What comes back


def made_run(place: Place, name: str, weights: bytes, checkpoint: bytes = b"") -> Path:
    run = place.runs / "short" / "table2-cifar10" / name
    (run / "rows").mkdir(parents=True)
    (run / "ckpt").mkdir()
    (run / "config.json").write_text("{}")
    (run / "rows" / "runs.csv").write_text("run\n")
    if weights:
        (run / "model.safetensors").write_bytes(weights)
    for step in (1, 2):
        (run / "ckpt" / f"step-{step:08}.pt").write_bytes(checkpoint)
    return run


def unpacked(files: list[Path], folder: Path) -> Path:
    folder.mkdir()
    whole = folder / "whole.tar"
    whole.write_bytes(b"".join(file.read_bytes() for file in files))
    with tarfile.open(whole) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_another_process_with_the_number_of_the_last_part_is_not_waited_for(place: Place) -> None:
    """After a reboot the numbers of processes are given again."""
    state = {"parts": {}, "child": os.getpid(), "start": "7", "host": socket.gethostname()}
    (place.folder / "lease.json").write_text(json.dumps(state))
    assert lease_of(place, [finishes("a")]).work() == 0
    assert (place.folder / "a").exists()


def test_what_is_taken_home_says_nothing_of_the_environment(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a part that is done and of one that fails: no secret, no account, no other key."""
    monkeypatch.setenv("HF_TOKEN", "hunter2-do-not-record")
    failing = Script("fails", "raise SystemExit('out of luck')")
    assert lease_of(place, [finishes("done"), failing]).work() == 1
    files = sorted((place.folder / "back").glob("lease.tar.*"))
    other = unpacked(files, tmp_path / "other")
    content = b"".join(path.read_bytes() for path in other.rglob("*") if path.is_file())
    assert b"out of luck" in content
    assert b"hunter2" not in content
    state = json.loads((other / "lease.json").read_text())
    keys = {"state", "said", "seconds", "besides", "at", "device", "commit"}
    assert [set(record) for record in state["parts"].values()] == [keys, keys]
    assert state.keys() == {"parts", "child", "host", "start"}
    with tarfile.open(other / "whole.tar") as archive:
        owners = {(one.uid, one.gid, one.uname, one.gname) for one in archive.getmembers()}
    assert owners == {(0, 0, "", "")}


def test_pieces_make_the_lease_again_elsewhere(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "PIECE", 2**16)
    random = os.urandom(300_000)
    made_run(place, "coded-s0", random)
    made_run(place, "baseline-s0", b"", random[:50_000])
    (place.folder / "lease.md").write_text("what was done\n")
    files, left = parcel.pack(place.folder, tmp_path / "back")
    assert not left
    assert [file.stat().st_size for file in files[:-1]] == [2**16] * (len(files) - 1)
    other = unpacked(files, tmp_path / "other")
    runs = Path("runs/short/table2-cifar10")
    assert (other / runs / "coded-s0/model.safetensors").read_bytes() == random
    kept = sorted(path.name for path in (other / runs).glob("*/ckpt/*"))
    assert kept == ["step-00000002.pt"]
    assert (other / "lease.md").read_text() == "what was done\n"


def test_what_has_no_room_is_named_and_rows_come_first(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "MOST", 100_000)
    for age, name in enumerate(("coded-s0", "baseline-s0", "coded-s1")):
        run = made_run(place, name, bytes(40_000))
        for path in (run / "model.safetensors", run / "config.json"):
            os.utime(path, (age, age))
    files, left = parcel.pack(place.folder, tmp_path / "back")
    assert left == ["runs/short/table2-cifar10/coded-s0/model.safetensors"]
    with tarfile.open(files[0]) as archive:
        names = archive.getnames()
    assert names[0].endswith("coded-s1/config.json")
    assert names[-1].endswith("baseline-s0/model.safetensors")


def test_new_pieces_replace_the_old_ones(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "PIECE", 2**14)
    run = made_run(place, "coded-s0", bytes(200_000))
    back = tmp_path / "back"
    before, _ = parcel.pack(place.folder, back)
    (run / "model.safetensors").unlink()
    after, _ = parcel.pack(place.folder, back)
    assert len(after) < len(before)
    assert sorted(back.iterdir()) == after


def test_what_a_killed_packing_left_does_not_block(place: Place, tmp_path: Path) -> None:
    """It had begun more pieces than are needed now."""
    made_run(place, "coded-s0", bytes(2000))
    left = tmp_path / "back" / ".new"
    left.mkdir(parents=True)
    for number in range(3):
        (left / f"lease.tar.{number:02}").write_bytes(b"half")
    files, _ = parcel.pack(place.folder, tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == files


# What is to be done, and how long it takes


def test_the_list_is_what_the_command_line_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of the list is the one that its arguments ask `codepath run` for."""
    from codepath.pipeline import run

    made = []
    monkeypatch.setattr(run, "train_and_evaluate", lambda config, *_: made.append(config))
    for part in [*paper_parts(), *rehearsal_parts()]:
        if isinstance(part, Run):
            made.clear()
            monkeypatch.setattr(sys, "argv", ["codepath", "run", *part.asked, "--runs", "none"])
            with pytest.raises(SystemExit) as end:
                cli.main()
            assert end.value.code in (0, None)
            assert made == [part.config]


def test_the_list_is_ordered_by_worth() -> None:
    names = [part.name for part in paper_parts()]
    assert len(set(names)) == len(names)
    assert names[:2] == ["tests", "steps C10"]
    runs = [name for name in names if name.endswith("short")]
    assert runs == [f"{role}-s{seed} short" for seed in range(3) for role in ("coded", "baseline")]
    assert names[-6:] == [
        f"{role}-s{seed} paper" for seed in range(3) for role in ("coded", "baseline")
    ]


def runs_of(scale: str) -> list[Run]:
    return [part for part in paper_parts() if isinstance(part, Run) and part.config.scale == scale]


def step_rows(device: str, way: str = "compiled", seconds: float = 0.0256) -> pd.DataFrame:
    text, numbers = benchmark_columns("step")
    row = dict.fromkeys(text, "") | dict.fromkeys(numbers, 1.0)
    row |= {"network": "C10", "precision": "bfloat16", "way": way, "device": device}
    row |= {"batch": 512, "value": seconds, "commit": "abc", "created": "2026-01-01"}
    row |= {"images_per_second": 512 / seconds}
    return pd.DataFrame([row | {"model": model} for model in ("coded", "baseline")])


def write_steps(results: Path, rows: pd.DataFrame) -> None:
    (results / "benchmarks").mkdir(parents=True)
    rows.to_csv(results / "benchmarks" / "step-cuda.csv", index=False)


def write_profile(results: Path) -> None:
    text, numbers = benchmark_columns("profile")
    row = dict.fromkeys(text, "") | dict.fromkeys(numbers, 1.0)
    row |= {"network": "C10", "model": "coded", "way": "compiled", "device": "NVIDIA H200"}
    rows = pd.DataFrame([row | {"commit": "abc"}])
    rows.to_csv(results / "benchmarks" / "profile-cuda.csv", index=False)


def test_a_run_is_expected_by_the_speed_of_steps_on_this_device(place: Place) -> None:
    coded = runs_of("short")[0]
    assert coded.expected(place, {}) is None
    write_steps(place.known, step_rows("NVIDIA H200"))
    assert coded.expected(place, {}) == pytest.approx(60 * 50_000 * 0.0256 / 512 + START_S)
    assert coded.expected(replace(place, device="NVIDIA L4"), {}) is None


def test_candidates_do_not_say_how_long_runs_take(place: Place) -> None:
    rows = step_rows("NVIDIA H200")
    write_steps(place.known, pd.concat([rows, step_rows("NVIDIA H200", "compiled+sums", 0.01)]))
    expected = runs_of("short")[0].expected(place, {})
    assert expected == pytest.approx(60 * 50_000 * 0.0256 / 512 + START_S)


def write_epochs(run: Run, place: Place, epochs: int, speed: float) -> Path:
    run_dir = run.run_dir(place)
    (run_dir / "ckpt").mkdir(parents=True)
    lines = [
        {"kind": "epoch", "step": 98 * epoch, "epoch": epoch, "images_per_second": speed}
        for epoch in range(1, epochs + 1)
    ]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run_dir


def test_a_run_is_expected_by_runs_before_it_and_what_they_took_besides(place: Place) -> None:
    first, _, later = (run for run in runs_of("short") if run.config.model_role == "coded")
    write_epochs(first, place, 60, 20_000.0)
    training = 60 * 98 * 512 / 20_000
    assert first.besides(place, training + 31.0) == pytest.approx(31.0)
    taken = {first.name: (training + 31.0, 31.0)}
    assert later.expected(place, taken) == pytest.approx(training + 31.0)


def test_of_an_interrupted_run_the_rest_is_expected(place: Place) -> None:
    first = runs_of("short")[0]
    run_dir = write_epochs(first, place, 15, 20_000.0)
    training = 60 * 98 * 512 / 20_000
    assert first.expected(place, {}) == pytest.approx(training + START_S)  # nothing is saved
    (run_dir / "ckpt" / f"step-{98 * 15:08}.pt").write_bytes(b"")
    assert first.expected(place, {}) == pytest.approx(0.75 * training + START_S)
    assert first.outcome(place) == "25 % of its epochs saved"


def test_a_run_that_cannot_end_is_begun_where_another_lease_follows(place: Place) -> None:
    run = runs_of("short")[0]
    write_steps(place.known, step_rows("NVIDIA H200"))
    for minutes, continued, begun_ in ((3.0, False, False), (3.0, True, True), (1.5, True, False)):
        short = replace(place, minutes=minutes, continued=continued)
        assert bool(lease_of(short, [])._why_not(run)) is not begun_


def test_at_its_start_a_lease_begins_whatever_may_be_cut(place: Place) -> None:
    """Whatever its limit, also one as short as a start."""
    lease = lease_of(place, [])
    for part in paper_parts():
        if part.limit is not None:
            assert not lease._why_not(part)


def test_full_runs_are_for_long_leases(place: Place) -> None:
    full = runs_of("paper")[0]
    assert full.ready(place) == "only on leases of more than 20 minutes"
    assert not full.ready(replace(place, minutes=60.0))


def test_steps_are_done_where_this_commit_has_their_rows(place: Place) -> None:
    steps = Steps("steps C10", "C10", ("compiled",), limit=180.0)
    assert not steps.ready(place)
    assert "--profile" in steps.command(place)
    write_steps(place.results, step_rows("NVIDIA H200"))
    assert not steps.ready(place)  # cut before its profile
    assert "--only-profile" in steps.command(place)
    write_profile(place.results)
    assert steps.ready(place) == "its rows are there"
    assert not steps.ready(replace(place, commit="def"))
    assert not steps.ready(replace(place, device="NVIDIA L4"))
    assert steps.outcome(place) == "coded 20,000 images/s compiled, 1.000 of plain"


def test_candidates_that_have_rows_are_not_measured_again(place: Place) -> None:
    steps = Steps("candidates C10", "C10", ("compiled",), ("sums", "folded"), limit=300.0)
    write_steps(place.results, step_rows("NVIDIA H200", "compiled+sums"))
    command = steps.command(place)
    assert command[command.index("--candidates") + 1 : command.index("--out")] == ["folded"]
    assert not steps.ready(place)


# The tests


def test_tests_name_what_was_cut(place: Place) -> None:
    progress = place.folder / "tests-abc.jsonl"
    lines = [
        {"tests": ["t.py::one", "t.py::two", "t.py::three", "t.py::four"]},
        {"test": "t.py::one", "outcome": "passed"},
        {"test": "t.py::two", "outcome": "failed"},
    ]
    progress.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"test": "t.py::th')
    part = GpuTests("tests", limit=90.0)
    assert part.outcome(place) == "1 passed; 1 failed: two; cut before: three, four"
    assert not part.ready(place)


def test_tests_that_passed_are_left_out_the_next_time(place: Place) -> None:
    """On the CPU, with the quick tests alone."""
    part = GpuTests("tests", "cpu", limit=90.0)
    quick = [sys.executable, *part.command(place), "-k", "zero_image"]
    first, second = (
        subprocess.run(quick, cwd=REPO_ROOT, capture_output=True, text=True, check=False).stdout
        for _ in range(2)
    )
    assert "3 passed" in first
    assert "passed" not in second
    assert part.outcome(place) == "3 passed"
    assert part.ready(place) == "all 3 passed for this commit"


# Taking it home


def test_collect_takes_the_rows_of_a_lease(place: Place, tmp_path: Path) -> None:
    (place.folder / "lease.json").write_text("{}")
    write_steps(place.results, step_rows("NVIDIA H200"))
    results = tmp_path / "results"
    write_steps(results, pd.concat([step_rows("NVIDIA H200", seconds=1.0), step_rows("NVIDIA L4")]))
    command = [sys.executable, "-m", "codepath.cli", "collect", str(place.folder)]
    subprocess.run([*command, "--results", str(results)], cwd=REPO_ROOT, check=True)
    rows = read_benchmark(results / "benchmarks" / "step-cuda.csv")
    assert len(rows) == 4
    assert set(rows.groupby("device")["value"].first()) == {0.0256}
    assert set(BENCHMARK_SETTINGS["step"]) <= set(rows)


def test_collect_names_a_file_that_is_no_benchmark_of_a_lease(place: Place, tmp_path: Path) -> None:
    (place.folder / "lease.json").write_text("{}")
    stray = place.results / "benchmarks" / "roofline.csv"
    stray.parent.mkdir(parents=True)
    stray.write_text("a\n")
    done = CliRunner().invoke(
        cli.app, ["collect", str(place.folder), "--results", str(tmp_path / "x")]
    )
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == f"{stray} is no benchmark that a lease measures: remove it"
