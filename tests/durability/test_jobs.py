"""Power cuts while runs are submitted, noted and cancelled, and while the source is copied."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import pytest

from codepath.core.files import make_directory
from codepath.core.provenance import PACKAGE_ROOT, REPO_ROOT
from codepath.experiments import find_experiment
from codepath.launch import snapshot, submit
from codepath.launch.plan import Destination, make_plan
from codepath.launch.submit import Submission
from codepath.run import state
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.run.events import beat, events, note, read_order
from codepath.run.state import look
from tests.durability.cuts import Extent, check_states
from tests.durability.recorder import Recorder

pytestmark = pytest.mark.usefixtures("outside_jobs")


def source_files() -> list[Path]:
    """A few files in place of the whole source."""
    return sorted((PACKAGE_ROOT / "core").glob("*.py"))


def assert_whole(copy: Path) -> None:
    """A snapshot has all files, and no other content."""
    for path in source_files():
        assert (copy / path.relative_to(REPO_ROOT)).read_bytes() == path.read_bytes()
    assert (copy / "SNAPSHOT.json").read_text().endswith("}\n")


def test_a_copy_of_the_source_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extent: Extent
) -> None:
    monkeypatch.setattr(snapshot, "_files", source_files)
    folder = tmp_path / "runs"
    folder.mkdir()
    with Recorder(folder) as recorder:
        snapshot.take_snapshot(folder / "source")
        recorder.mark("taken")

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        copy = left / "source" / snapshot.snapshot_name()
        assert copy.exists() >= ("taken" in marks)
        if copy.exists():
            assert_whole(copy)
        assert_whole(snapshot.take_snapshot(left / "source"))

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 30


def test_an_event_that_was_noted_stays_and_the_next_one_is_read(
    tiny_config: RunConfig, tmp_path: Path, extent: Extent
) -> None:
    names = ["submitted", "started", "stopped", "submitted", "cancelled"]
    folder = make_directory(tmp_path / "folder")
    with Recorder(folder) as recorder:
        claim(tiny_config, make_directory(folder / "run"))
        for name in names:
            if name == "started":
                beat(folder / "run", "starting")
            else:
                note(folder / "run", name, job="12")
            recorder.mark(name)

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        before = [event["event"] for event in events(left / "run")]
        assert before == names[: len(before)]
        assert len(before) >= len(marks)
        look(left / "run")
        note(make_directory(left / "run"), "started", job="13")
        assert [event["event"] for event in events(left / "run")] == [*before, "started"]

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 30


@pytest.fixture
def configs() -> list[RunConfig]:
    return list(find_experiment("table2-digits").runs("demo", 0))


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """A Slurm that accepts every job; the ids of those that were sent, of each array a list."""
    accepted: list[list[str]] = []

    def sent(folder: Path, tasks: list[object]) -> list[str]:
        number = 100 + len(accepted)
        (folder / f"{number}_submitted.pkl").write_text("its task")
        jobs = [f"{number}_{k}" for k in range(len(tasks))] if len(tasks) > 1 else [str(number)]
        accepted.append(jobs)
        return jobs

    monkeypatch.setattr(submit, "_sent", sent)
    monkeypatch.setattr(submit, "_require_cluster", lambda _: None)
    monkeypatch.setattr(submit, "_slurm_executor", lambda folder, *_: folder)
    monkeypatch.setattr(state, "job_states", lambda _: {})
    monkeypatch.setattr(snapshot, "_files", source_files)
    return accepted


def test_a_submission_is_known_or_can_be_repeated(
    configs: list[RunConfig],
    slurm: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    extent: Extent,
) -> None:
    folder = tmp_path / "folder"
    destination = Destination(folder / "runs")
    run_dirs = [destination.run_dir(config) for config in configs]

    def submission() -> list[str]:
        return Submission(make_plan(configs, destination), destination, "slurm").submit()

    folder.mkdir()
    with Recorder(folder) as recorder, monkeypatch.context() as patch:
        patch.setattr(submit, "_note_job", recorder.marking(submit._note_job, lambda _, job: job))
        submission()
        recorder.mark("submitted")
    jobs = [job for sent in slurm for job in sent if "_" in job]
    assert [read_order(run_dir)["job"] for run_dir in run_dirs] == jobs
    # After the cut, the submitting process is gone.
    monkeypatch.setattr(state, "process_alive", lambda *_: False)

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        assert left == folder  # the paths in the orders are absolute
        for run_dir, job in zip(run_dirs, jobs, strict=True):
            status = look(run_dir)
            order = read_order(run_dir)
            assert (order.get("job") == job) >= (job in marks)
            if order.get("job"):
                assert (status.state, status.job) == ("waiting", job)
                task = Path(order["folder"]) / f"{job.split('_')[0]}_submitted.pkl"
                assert task.read_text() == "its task"
            else:
                assert status.state in ("new", "failed")
            if order:
                assert_whole(Path(order["source"]))
                assert Path(order["folder"]).is_dir()
        known = {run_dir: read_order(run_dir).get("job") for run_dir in run_dirs}
        submission()
        for run_dir in run_dirs:
            status = look(run_dir)
            assert status.state == "waiting"
            assert status.job == (known[run_dir] or status.job)

    assert check_states(recorder.recording, folder, check, extent) > 30
