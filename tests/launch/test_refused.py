"""A submission that comes to nothing leaves nothing behind (sbatch and scancel are stand-ins)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.core.signals import InterruptedRun
from codepath.experiments import find_experiment
from codepath.launch import submit
from codepath.launch.plan import Destination, make_plan
from codepath.launch.snapshot import take_snapshot
from codepath.launch.submit import Submission
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.run.events import note, write_order
from tests.cli.test_cli import assert_one_clear_line, call

SBATCH = """#!/bin/sh
cd {here}
n=$(ls | grep -c ^accepted)
if [ $n -ge $ACCEPTS ]; then
    echo "sbatch: error: Batch job submission failed: no such partition" >&2
    exit 1
fi
touch accepted-$n
echo "Submitted batch job $((101 + n))"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Slurm that accepts $ACCEPTS jobs; `cancelled` there names those cancelled."""
    here = make_directory(tmp_path / "slurm")
    texts = {
        "sbatch": SBATCH.format(here=here),
        "scancel": f'#!/bin/sh\necho "$@" >>{here}/cancelled\n',
        "srun": "#!/bin/sh\nexit 1\n",  # submitit looks whether there is one
    }
    for name, text in texts.items():
        (here / name).write_text(text)
        (here / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(here), prepend=":")
    monkeypatch.setenv("ACCEPTS", "0")
    return here


@pytest.fixture
def configs() -> list[RunConfig]:
    return list(find_experiment("table2-digits").runs("demo", 0))


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "runs")


def submission(
    configs: list[RunConfig], destination: Destination, cluster: str = "slurm"
) -> Submission:
    return Submission(make_plan(configs, destination), destination, cluster)


def files(folder: Path) -> dict[Path, bytes | None]:
    """Everything below a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def failed_before(config: RunConfig, destination: Destination) -> Path:
    """A run that was submitted once, saved something and failed."""
    run_dir = make_directory(destination.run_dir(config))
    claim(config, run_dir)
    write_order(run_dir, {"cluster": "slurm", "job": "7", "folder": "elsewhere"})
    note(run_dir, "submitted")
    note(run_dir, "failed", error=["out of luck"])
    (make_directory(run_dir / "ckpt") / "step-00000001.pt").write_text("saved")
    return run_dir


@pytest.mark.parametrize(("accepts", "cancelled"), [(0, ""), (1, "101"), (2, "101 102_0 102_1")])
def test_a_refused_submission(
    accepts: int,
    cancelled: str,
    slurm: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of data, training and collecting the first few are accepted."""
    monkeypatch.setenv("ACCEPTS", str(accepts))
    runs = tmp_path / "deep" / "runs"
    done = call("submit", "table2-digits", "--seeds", "1", "--runs", str(runs))
    assert_one_clear_line(done, "sbatch refused the job", "no such partition", "profiles.toml")
    assert not (tmp_path / "deep").exists()
    assert ((slurm / "cancelled").read_text() if accepts else "").strip() == cancelled
    assert call("status", "--runs", str(runs)).stdout == "no runs\n"


@pytest.mark.parametrize("shared", [True, False])
def test_what_was_there_is_as_before(
    shared: bool, slurm: Path, configs: list[RunConfig], destination: Destination
) -> None:
    """A run that failed, one that has a folder alone, and the snapshot if there was one."""
    del slurm
    failed_before(configs[0], destination)
    make_directory(destination.run_dir(configs[1]) / "ckpt")
    if shared:
        take_snapshot(destination.runs / "source")
    before = files(destination.runs)
    with pytest.raises(UserError, match="sbatch refused"):
        submission(configs, destination).submit()
    assert files(destination.runs) == before


def test_a_snapshot_that_others_took_meanwhile(
    configs: list[RunConfig],
    destination: Destination,
    slurm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del slurm
    other = destination.runs / "demo" / "another" / "coded-s0"

    def meanwhile(*_: object) -> list[str]:
        claim(configs[0], make_directory(other))
        write_order(other, {"source": str(take_snapshot(destination.runs / "source"))})
        raise UserError("refused")

    monkeypatch.setattr(submit, "_sent", meanwhile)
    with pytest.raises(UserError, match="refused"):
        submission(configs, destination).submit()
    assert sorted(path.name for path in destination.runs.iterdir()) == ["demo", "source"]
    assert [path.name for path in (destination.runs / "demo").iterdir()] == ["another"]
    (source,) = (destination.runs / "source").iterdir()
    assert (source / "SNAPSHOT.json").exists()


def test_an_interrupt_while_jobs_are_sent(
    configs: list[RunConfig],
    destination: Destination,
    slurm: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job that was accepted meanwhile is known, and cancelled."""
    monkeypatch.setenv("ACCEPTS", "3")
    real = submit._sent

    def interrupted(*arguments: object) -> list[str]:
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(submit, "_sent", interrupted)
    failed_before(configs[0], destination)
    before = files(destination.runs)
    with pytest.raises(InterruptedRun, match="interrupted by SIGINT"):
        submission(configs, destination).submit()
    assert (slurm / "cancelled").read_text() == "101\n"
    assert files(destination.runs) == before


def test_a_process_that_does_not_start(
    configs: list[RunConfig], destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no processes left")

    monkeypatch.setattr("submitit.LocalExecutor.submit", fail)
    with pytest.raises(OSError, match="no processes left"):
        submission(configs, destination, "local").submit()
    assert not destination.runs.exists()
