"""Two processes train and measure as one does, and place themselves as torchrun and Slurm say."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from codepath import store
from codepath.core.errors import UserError
from codepath.core.machine import available_cores
from codepath.core.provenance import REPO_ROOT
from codepath.data import ArrayDataSet, Normalize, evaluation_loader, training_loader
from codepath.data.loaders import Shard
from codepath.evaluate import Predictions, predict
from codepath.models import create_model
from codepath.run.config import RunConfig, to_dict
from codepath.train import FitOptions, fit, load_trained, loop
from codepath.train.distributed import (
    Placement,
    World,
    first_host,
    partner_patience,
    placement,
)
from tests.train.runs import CPU, QUIET, assert_same_run, reported

SCRIPT = """
import json, pickle, signal, sys
from pathlib import Path
import torch
from rich.console import Console
from codepath.pipeline.measure import predict_test_images
from codepath.run.config import run_config_from_dict
from codepath.core.signals import InterruptedRun, Interruption
from codepath.train import FitOptions, connected, fit
import tests.train.runs as runs
import codepath.train.fit
torch.set_num_threads(1)
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
job = pickle.loads((folder / "job").read_bytes())
config, images = run_config_from_dict(job["config"]), job["images"]
options = FitOptions(log_steps=2, save_minutes=job["save_minutes"])
with Interruption() as interruption, connected(torch.device("cpu")) as world:
    torch.set_num_threads(1)
    if stop and world.rank == 1:
        runs.SignalAfter.at = {stop}
        sys.modules["codepath.train.fit"].TrainingProgress = runs.SignalAfter
    try:
        fit(config, images, folder / "run", world.device, Console(quiet=not world.first),
            options, world, interruption)
    except InterruptedRun as error:
        sys.exit(error.exit_code)
    from codepath.train import load_trained
    _, model = load_trained(folder / "run", world.device)
    found = predict_test_images(model, images, world)
    if world.first:
        found.save(folder / "predictions.npz")
"""


EVALUATING = """
import pickle, signal, sys
from pathlib import Path
import torch
from rich.console import Console
from codepath.run.config import run_config_from_dict
from codepath.core.signals import InterruptedRun, Interruption
from codepath.train import FitOptions, connected, fit
folder, number = Path(sys.argv[1]), int(sys.argv[2])
job = pickle.loads((folder / "job").read_bytes())
config, images = run_config_from_dict(job["config"]), job["images"]
with Interruption() as interruption, connected(torch.device("cpu")) as world:
    def evaluate(model):
        if world.rank == 1:
            signal.raise_signal(number)
        world.gather(0)
    try:
        fit(config, images, folder / "run", world.device, Console(quiet=True),
            FitOptions(evaluate_every=1), world, interruption, evaluate)
    except InterruptedRun as error:
        sys.exit(error.exit_code)
"""
"""The second process gets a signal while the network is measured."""


def in_float64(config: RunConfig, images: ArrayDataSet, world: World, parts: int = 1) -> dict:
    """The state after three epochs in double precision, where rounding does not grow visible."""
    share = config.train.batch_size // world.size
    loader = training_loader(images, config.data, 32, config.seed, shard=world.shard)
    with mock.patch.object(loop, "create_model", lambda model: create_model(model).double()):
        trainer = loop.Trainer(config, world, len(loader), share // parts)
    normalize = Normalize(images.mean, images.std)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for batch in loader:
            trainer.train_step(batch, epoch, lambda images: normalize(images).double())
    assert trainer.step == 9
    losses = trainer.epoch_meter.means(world)
    return trainer.averaged_state() | {
        name: torch.tensor(value, dtype=torch.float64) for name, value in losses.items()
    }


IN_FLOAT64 = """
import pickle, sys
from pathlib import Path
import torch
from codepath.run.config import run_config_from_dict
from codepath.train import connected
from tests.train.test_distributed import in_float64
folder = Path(sys.argv[1])
job = pickle.loads((folder / "job").read_bytes())
with connected(torch.device("cpu")) as world:
    torch.set_num_threads(1)
    state = in_float64(run_config_from_dict(job["config"]), job["images"], world)
    torch.save(state, folder / f"state{world.rank}.pt")
"""


def assert_close(left: dict, right: dict) -> None:
    """Equal states up to a few roundings of double precision (losses are kept in single).

    Means over the images that are not asked are quotients, whose mean over parts is another.
    """
    assert left.keys() == right.keys()
    for name, value in left.items():
        loss = name.endswith(("loss", "entropy", "top1")) or "/" in name
        of_unasked = "question_loss" in left and name.startswith(("train_top1", "energy"))
        scale = float(value.double().abs().max()) or 1.0
        gap = float((value.double() - right[name].double()).abs().max()) / scale
        assert gap < (0.03 if of_unasked else 1e-6 if loss else 1e-11), name


def start(
    folder: Path,
    rank: int,
    port: int,
    stop: int = 0,
    size: int = 2,
    script: str = SCRIPT,
    more: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """One process of several; `more` arguments of the script and variables for it."""
    place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    variables = {**os.environ, **{key: str(value) for key, value in place.items()}}
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(stop), *more],
        cwd=REPO_ROOT,
        env={**variables, **(environment or {})},
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(folder: Path, stop: int = 0, script: str = SCRIPT) -> list[int]:
    """Exit codes of two processes that train the job in `folder`."""
    port = free_port()
    processes = [start(folder, rank, port, stop, script=script) for rank in (0, 1)]
    said = [process.communicate(timeout=240)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert set(codes) in ({0}, {75}), said
    return codes


def write_job(
    folder: Path, config: RunConfig, images: ArrayDataSet, save_minutes: float = 5
) -> None:
    folder.mkdir()
    job = {"config": to_dict(config), "images": images, "save_minutes": save_minutes}
    (folder / "job").write_bytes(pickle.dumps(job))


def with_train(config: RunConfig, **changes: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **changes))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@pytest.mark.parametrize("objective", ["energy_power", "extraction_and_cross_entropy"])
def test_two_processes_train_as_one(
    objective: str, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """With batch norm over the images of a process; gradients are summed in another order.

    In single precision such differences grow where a ReLU's input changes its sign.
    """
    config = with_train(tiny_config, bn_batch=16, objective=objective)
    write_job(tmp_path / "two", config, tiny_images)
    assert together(tmp_path / "two", script=IN_FLOAT64) == [0, 0]
    one = in_float64(config, tiny_images, World(Placement(), CPU))
    for rank in (0, 1):
        assert_close(one, torch.load(tmp_path / "two" / f"state{rank}.pt", weights_only=True))
    other = in_float64(with_train(config, bn_batch=32), tiny_images, World(Placement(), CPU))
    with pytest.raises(AssertionError):  # batch norm over other images is another training
        assert_close(one, other)


def test_torchrun_does_an_experiment(tmp_path: Path) -> None:
    """Both of its runs, one connection after the other; one set of rows and of words."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = ["-m", "codepath.cli", "run", "table2-digits", "--set", "train.epochs=1"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", *command, "--runs", str(tmp_path)],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("batch 64 (2 x 1 x 32: processes, parts, images)") == 2
    assert done.stdout.count("warning: batch norm takes its statistics over 32 images") == 2
    assert done.stdout.count("evaluating") == 2
    accuracy = store.read_rows(tmp_path / "demo" / "results", "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    assert (accuracy["n"] == 500).all()
    folder = tmp_path / "demo" / "table2-digits+train.epochs=1" / "coded-s0"
    (start_,) = json.loads((folder / "env.json").read_text())
    assert start_["processes"] == 2
    assert start_["cores"] == max(available_cores() // 2, 1)


@pytest.mark.parametrize(
    ("parts", "objective"), [(2, "energy_power"), (4, "energy_power"), (4, "extraction")]
)
def test_accumulated_parts_train_as_one_batch(
    parts: int, objective: str, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    """With batch norm over a part's images; running statistics and moving average included."""
    config = with_train(tiny_config, bn_batch=8, ema_decay=0.9, objective=objective)
    world = World(Placement(), CPU)
    whole = in_float64(config, tiny_images, world)
    assert_close(whole, in_float64(config, tiny_images, world, parts))


def undisturbed_pair(pairs: Path, config: RunConfig, images: ArrayDataSet) -> None:
    """Train two processes in PAIRS/two, once for the tests that look at it."""
    if not (pairs / "two").exists():
        write_job(pairs / "two", config, images)
        assert together(pairs / "two") == [0, 0]


def test_a_run_of_two_processes_is_measured_by_both(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, pairs: Path
) -> None:
    """The test split has 25 images, an odd number: 13 and 12 of them are measured."""
    config = with_train(tiny_config, bn_batch=16)
    undisturbed_pair(pairs, config, tiny_images)
    fit(config, tiny_images, pairs / "one", CPU, QUIET, FitOptions(log_steps=2))
    for left, right in zip(reported(pairs / "one"), reported(pairs / "two" / "run"), strict=True):
        assert left.keys() == right.keys()
        if left["step"] <= 3:  # later single precision may have gone its own ways
            for key, value in left.items():
                assert right[key] == (
                    value if isinstance(value, str) else pytest.approx(value, 1e-4)
                )
    _, model = load_trained(pairs / "two" / "run", CPU)
    normalize = Normalize(tiny_images.mean, tiny_images.std)
    alone = predict(model, evaluation_loader(tiny_images.test), normalize, CPU)
    shared = np.load(pairs / "two" / "predictions.npz")
    assert np.array_equal(shared["indices"], np.arange(25))
    assert np.array_equal(shared["labels"], alone.labels)
    assert np.array_equal(shared["logits"].argmax(1), alone.logits.argmax(1))
    np.testing.assert_allclose(shared["logits"], alone.logits, rtol=1e-4, atol=1e-5)


def test_two_processes_stop_together_and_go_on_to_the_bit(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, pairs: Path, tmp_path: Path
) -> None:
    """A signal to the second process stops both after the same step."""
    config = with_train(tiny_config, bn_batch=16)
    write_job(tmp_path / "two", config, tiny_images)
    assert together(tmp_path / "two", stop=4) == [75, 75]
    (path,) = [p for p in (tmp_path / "two" / "run" / "ckpt").iterdir() if "4" in p.name]
    assert path.name == "step-00000004.pt"
    assert together(tmp_path / "two") == [0, 0]
    undisturbed_pair(pairs, config, tiny_images)
    assert_same_run(pairs / "two" / "run", tmp_path / "two" / "run")
    starts = json.loads((tmp_path / "two" / "run" / "env.json").read_text())
    assert [entry["processes"] for entry in starts] == [2, 2]


def test_one_process_goes_on_where_two_stopped(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """And says that its result is no longer the same to the bit."""
    import io

    from rich.console import Console

    config = with_train(tiny_config, bn_batch=16)
    write_job(tmp_path / "two", config, tiny_images)
    assert together(tmp_path / "two", stop=5) == [75, 75]
    out = io.StringIO()
    options = FitOptions(log_steps=2)
    fit(config, tiny_images, tmp_path / "two" / "run", CPU, Console(file=out, width=300), options)
    assert "processes: 2 -> 1: the result is the same up to rounding" in out.getvalue()
    lines = reported(tmp_path / "two" / "run")
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 6, 8, 9]
    assert lines[-1]["loss"] < lines[1]["loss"]


def test_a_process_whose_partner_is_killed_says_so(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    import time

    config = with_train(tiny_config, epochs=400)
    write_job(tmp_path / "two", config, tiny_images, save_minutes=0)
    port = free_port()
    processes = [start(tmp_path / "two", rank, port) for rank in (0, 1)]
    deadline = time.monotonic() + 200
    while not list((tmp_path / "two").glob("run/ckpt/step-*.pt")):
        assert time.monotonic() < deadline
        assert processes[0].poll() is None, processes[0].communicate()
        time.sleep(0.05)
    processes[1].kill()
    _, said = processes[0].communicate(timeout=120)
    processes[1].communicate()
    assert processes[0].returncode == 1
    last = said.strip().splitlines()[-1]
    assert "process 0 of 2 lost the others" in last
    assert "the run goes on from what it saved last" in last


@pytest.mark.parametrize("evil", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_ends_in_an_evaluation(
    evil: signal.Signals, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """The other one says so in a line, and the run goes on from the end of the epoch."""
    config = with_train(tiny_config, epochs=2)
    folder = tmp_path / "two"
    write_job(folder, config, tiny_images)
    port = free_port()
    processes = [start(folder, rank, port, int(evil), script=EVALUATING) for rank in (0, 1)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert processes[0].returncode == 1
    assert "process 0 of 2 lost the others" in said[0].strip().splitlines()[-1]
    assert processes[1].returncode == (75 if evil == signal.SIGTERM else -9)
    assert (folder / "run" / "ckpt" / "step-00000003.pt").exists()
    assert together(folder) == [0, 0]


STOPPED = SCRIPT.replace("world.rank == 1", "world.rank == int(sys.argv[3])").replace(
    "runs.SignalAfter.at = {stop}",
    "runs.SignalAfter.at, runs.SignalAfter.number = {stop}, signal.SIGSTOP",
)
"""One of the processes stands still after some steps."""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_stands_still(
    rank: int, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """The other one says so in a line; a later start ends as if nothing had happened."""
    straight, folder = tmp_path / "straight", tmp_path / "two"
    for job in (straight, folder):
        write_job(job, tiny_config, tiny_images, save_minutes=0)
    port = free_port()
    patience = {"CODEPATH_PARTNER_PATIENCE": "2"}
    processes = [
        start(folder, k, port, 4, script=STOPPED, more=(str(rank),), environment=patience)
        for k in (0, 1)
    ]
    still, other = processes[rank], processes[1 - rank]
    try:
        _, said = other.communicate(timeout=240)
        assert still.poll() is None
    finally:
        still.kill()
        still.communicate()
    assert other.returncode == 1
    last = said.strip().splitlines()[-1]
    assert f"process {1 - rank} of 2 lost the others" in last
    assert "ended or stands still; when all have ended repeat the command" in last
    assert (folder / "run" / "ckpt" / "step-00000003.pt").exists()
    assert together(folder) == together(straight) == [0, 0]
    assert_same_run(folder / "run", straight / "run")


ALONE = """
import sys, time
import torch
from codepath.train import connected
with connected(torch.device("cpu")) as world:
    last = time.monotonic() + 6
    def work():
        while time.monotonic() < last:
            time.sleep(0.1)
        return world.rank
    assert world.by_first(work) == 0
    last = time.monotonic() + 6
    assert world.first_leads(work) == world.rank
    assert world.gather(world.rank) == [0, 1]
"""
"""Each process works alone for much longer than the others are to wait for an answer."""


@pytest.mark.slow
def test_long_work_of_one_process_is_waited_for(tmp_path: Path) -> None:
    port, patience = free_port(), {"CODEPATH_PARTNER_PATIENCE": "2"}
    processes = [start(tmp_path, k, port, script=ALONE, environment=patience) for k in (0, 1)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said


@pytest.mark.parametrize("value", ["0", "x", "-1", "inf", "nan"])
def test_a_patience_that_is_no_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEPATH_PARTNER_PATIENCE", value)
    with pytest.raises(UserError, match=f"CODEPATH_PARTNER_PATIENCE is '{value}', must be"):
        partner_patience()


def test_a_batch_norm_of_other_images_is_warned_of(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    import io

    from rich.console import Console

    config = with_train(tiny_config, epochs=1)
    for name, bn_batch, device_batch, warned in (
        ("a", 0, 32, False),
        ("b", 0, 16, True),
        ("c", 16, 8, True),
        ("d", 16, 32, False),
    ):
        out = io.StringIO()
        fit(
            with_train(config, bn_batch=bn_batch),
            tiny_images,
            tmp_path / name,
            CPU,
            Console(file=out, width=300),
            FitOptions(device_batch=device_batch),
        )
        assert ("warning: batch norm takes" in out.getvalue()) == warned, name
        if name == "b":
            assert "batch 32 (1 x 2 x 16: processes, parts, images)" in out.getvalue()


def test_shares_of_an_evaluation_are_disjoint_and_complete(
    tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    model = create_model(tiny_config.model).eval()
    normalize = Normalize(tiny_images.mean, tiny_images.std)
    parts = []
    for rank in range(3):
        loader = evaluation_loader(tiny_images.test, batch_size=4, shard=Shard(rank, 3))
        parts.append(predict(model, loader, normalize, CPU, len(range(rank, 25, 3))))
    assert sorted(len(part.labels) for part in parts) == [8, 8, 9]
    whole = Predictions.merged(parts, 25)
    assert np.array_equal(whole.labels, tiny_images.test.labels)
    with pytest.raises(RuntimeError, match="17 images evaluated, 25 expected"):
        Predictions.merged(parts[:2], 25)
    with pytest.raises(RuntimeError, match="33 images evaluated"):
        Predictions.merged([*parts, parts[2]], 25)
    loader = evaluation_loader(tiny_images.test, shard=Shard(0, 2))
    with pytest.raises(RuntimeError, match="25 expected once"):
        predict(model, loader, normalize, CPU)


TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node7",
    "MASTER_PORT": "1234",
}
SLURM = {
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[03-04,9]",
}


def test_places_of_processes() -> None:
    assert placement({}) == Placement()
    assert placement(TORCHRUN) == Placement(3, 4, 1, 2, "node7", 1234)
    found = placement(SLURM)
    assert (found.rank, found.size, found.local_rank) == (5, 8, 1)
    assert found.address == "gpu03"
    assert found.port == placement({**SLURM, "SLURM_PROCID": "0"}).port
    assert found.port != placement({**SLURM, "SLURM_JOB_ID": "4712"}).port
    assert placement({**SLURM, "MASTER_ADDR": "x", "MASTER_PORT": "9"}).address == "x"
    batch_script = {key: value for key, value in SLURM.items() if key != "SLURM_STEP_ID"}
    assert placement(batch_script).size == 1
    with pytest.raises(UserError, match="number 8 of 8"):
        placement({**SLURM, "SLURM_PROCID": "8"})
    with pytest.raises(UserError, match="WORLD_SIZE is 'x'"):
        placement({**TORCHRUN, "WORLD_SIZE": "x"})


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("gpu[07-09,12]-ib,login", "gpu07-ib"),
        ("a-b[3,5]", "a-b3"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_a_batch_that_cannot_be_shared(tiny_config: RunConfig) -> None:
    with pytest.raises(UserError, match="a batch of 32 cannot be shared by 3 processes"):
        FitOptions().share_at_once(tiny_config.train.batch_size, 3)
    assert FitOptions(device_batch=4).share_at_once(32, 2) == 4
    with pytest.raises(UserError, match="device_batch is 5, must divide a process's 32 images"):
        FitOptions(device_batch=5).share_at_once(32, 1)
