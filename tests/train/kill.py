"""Kill a training process with -9 at random moments until its run is done (run as a module).

python -m tests.train.kill FOLDER BACKEND KILLS SEED EPOCHS leaves FOLDER/straight and
FOLDER/killed, and prints what the kills hit. Children are forked, so that each starts without
importing anything.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from codepath.data import ArrayDataSet, ArraySplit, LoaderOptions
from codepath.pipeline.measure import predict_test_images
from codepath.run.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from codepath.train import FitOptions, World, fit, load_trained
from codepath.train.distributed import Placement

CPU = torch.device("cpu")


def make_images() -> ArrayDataSet:
    """96 training and 25 test images of 16 x 16 pixels in colour."""
    rng = np.random.default_rng(0)

    def split(size: int) -> ArraySplit:
        labels = np.arange(size) % 10
        noise = rng.integers(0, 20, (size, 16, 16, 3))
        return ArraySplit((noise + 23 * labels[:, None, None, None]).astype(np.uint8), labels)

    names = tuple(f"class{k}" for k in range(10))
    return ArrayDataSet("tiny", "generated", split(96), split(25), names, (0.4,) * 3, (0.3,) * 3)


def make_config(epochs: int) -> RunConfig:
    """Three steps an epoch of a small coded network."""
    return RunConfig(
        experiment="table2-tiny",
        scale="demo",
        model_role="coded",
        seed=3,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, p_drop=0.1),
        data=DataConfig(source="cifar10", pad=2, flip=True, randaugment="rand-m4-n3"),
        train=TrainConfig(
            epochs=epochs, batch_size=32, lr=0.05, lr_end=1e-4, mu=6.0, bn_batch=16, ema_decay=0.9
        ),
    )


def child(folder: Path, run: str, backend: str, epochs: int) -> int:
    """Train in a process of its own, with a checkpoint after every step; returns its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        torch.set_num_threads(1)
        images = make_images()
        options = FitOptions(
            loader=LoaderOptions(backend, folder / "betons", workers=1),
            save_minutes=0,
            log_steps=7,
        )
        fit(make_config(epochs), images, folder / run, CPU, Console(quiet=True), options)
        _, model = load_trained(folder / run, CPU)
        predictions = predict_test_images(model, images, World(Placement(), CPU))
        predictions.save(folder / f"{run}.npz")
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> None:
    """Wait for a child that must succeed."""
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"the training process ended with {status}")


def main(folder: Path, backend: str, kills: int, seed: int, epochs: int) -> None:
    """Train once undisturbed and once killed."""
    ended(child(folder, "straight", backend, epochs))  # with kernels compiled, and betons written
    begun = time.monotonic()
    ended(child(folder, "timed", backend, epochs))
    whole = time.monotonic() - begun
    rng = random.Random(seed)
    hits = {"kills": 0, "before the first checkpoint": 0, "inside a checkpoint": 0}
    steps: list[str] = []
    while hits["kills"] < kills:
        pid = child(folder, "killed", backend, epochs)
        time.sleep(rng.uniform(0.0, 0.4) * whole)
        if hits["kills"] % 3 == 2:
            await_writing(folder / "killed" / "ckpt")
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            hits["kills"] += 1
            saved = sorted(path.name for path in (folder / "killed").glob("ckpt/step-*.pt"))
            hits["before the first checkpoint"] += not saved
            hits["inside a checkpoint"] += bool(list((folder / "killed").glob("ckpt/.*.tmp")))
            steps.append(saved[-1][5:-3] if saved else "0")
        elif status:
            raise SystemExit(f"the training process ended with {status}")
        else:  # done before it was hit: begin another run
            compare(folder)
            shutil.rmtree(folder / "killed")
    if not (folder / "killed" / "model.safetensors").exists():
        ended(child(folder, "killed", backend, epochs))
    compare(folder)
    print(json.dumps({**hits, "checkpoints": len(set(steps))}))


def await_writing(folder: Path) -> None:
    """Return while a checkpoint is being written, after two seconds at the latest."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and not list(folder.glob(".*.tmp")):
        pass


def compare(folder: Path) -> None:
    """Weights, metrics and predictions of both runs, to the bit."""
    from tests.train.runs import assert_same_run

    assert_same_run(folder / "straight", folder / "killed")
    left, right = (np.load(folder / f"{run}.npz") for run in ("straight", "killed"))
    for name in left.files:
        if not np.array_equal(left[name], right[name]):
            raise SystemExit(f"predictions differ: {name}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6]))
