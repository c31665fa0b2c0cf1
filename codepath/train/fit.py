"""`fit`: train a run in its directory, and go on where an earlier process stopped.

A run directory holds
    config.json        the RunConfig; another one in the same directory is an error
    env.json           machine, versions and commit of each process that trained it
    metrics.jsonl      one line per epoch
    ckpt/last.pt       state after the last finished epoch
    model.safetensors  final weights; its presence means that training is finished
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from torch import nn

from codepath.config import RunConfig, differences, to_dict
from codepath.data import Images, LoaderOptions, Normalize, choose_backend, training_loader
from codepath.losses import TrainingObjective
from codepath.models import create_model
from codepath.rundir import read_config
from codepath.runtime import (
    InterruptedRun,
    UserError,
    atomic_path,
    available_cores,
    cpu_name,
    git_state,
    make_directory,
    now,
    package_versions,
    write_text,
)
from codepath.train.checkpoint import load_checkpoint, save_checkpoint
from codepath.train.estimate import images_per_second, readable_duration
from codepath.train.loop import train_epoch
from codepath.train.optim import make_optimizer
from codepath.train.progress import TrainingProgress


def choose_device() -> torch.device:
    """CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    config: RunConfig,
    images: Images,
    run_dir: Path,
    device: torch.device,
    console: Console | None = None,
    options: LoaderOptions | None = None,
) -> None:
    """Train `config` on `images` in `run_dir` until its final weights are there.

    Interrupting (Ctrl-C) or killing the process loses at most the epoch under way; the same
    call goes on from the last finished one, with the same result as an undisturbed run.

    Raises:
        UserError: the directory holds another configuration, is in use by another process or
            is not writable; the data does not fit the network; the checkpoint is damaged.
        InterruptedRun: on KeyboardInterrupt.
    """
    _check_data(config, images)
    make_directory(run_dir / "ckpt")
    try:
        with FileLock(run_dir / ".lock", timeout=0):
            _claim(config, run_dir)
            if not (run_dir / "model.safetensors").exists():
                _train(
                    config,
                    images,
                    run_dir,
                    device,
                    console or Console(),
                    options or LoaderOptions(),
                )
    except Timeout:
        raise UserError(f"another process is training in {run_dir}; wait for it") from None


def _check_data(config: RunConfig, images: Images) -> None:
    classes, channels = len(images.class_names), images.image_shape[0]
    if config.model.num_classes != classes:
        raise UserError(
            f"{images.dataset} has {classes} classes, model.num_classes is "
            f"{config.model.num_classes}"
        )
    if config.model.in_chans != channels:
        raise UserError(
            f"{images.dataset} has {channels} channels, model.in_chans is {config.model.in_chans}"
        )


def _claim(config: RunConfig, run_dir: Path) -> None:
    """Write config.json, or check that the one there is the same."""
    path = run_dir / "config.json"
    if path.exists():
        changed = differences(to_dict(read_config(run_dir)), to_dict(config))
        if changed:
            raise UserError(
                f"{run_dir} holds a run with another configuration ({'; '.join(changed)}); "
                "remove it or choose another --runs folder"
            )
    else:
        write_text(path, json.dumps(to_dict(config), indent=2) + "\n")


def _note_environment(run_dir: Path, device: torch.device) -> None:
    """Append this process's machine, versions and commit to env.json."""
    commit, dirty = git_state()
    entry = {
        "started": now(),
        "commit": commit,
        "dirty": dirty,
        "device": device_name(device),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }
    path = run_dir / "env.json"
    entries = json.loads(path.read_text()) if path.exists() else []
    write_text(path, json.dumps([*entries, entry], indent=2) + "\n")


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the cores that may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()}, {available_cores()} cores"


def _train(
    config: RunConfig,
    images: Images,
    run_dir: Path,
    device: torch.device,
    console: Console,
    options: LoaderOptions,
) -> None:
    recipe = config.train
    torch.manual_seed(config.seed)
    model = create_model(config.model).to(device).to(memory_format=torch.channels_last)
    objective = TrainingObjective(
        model, recipe.mu, recipe.exponent, recipe.label_smoothing, recipe.gradient_masking
    )
    optimizer = make_optimizer(model, recipe)
    loader = training_loader(images, config.data, recipe.batch_size, config.seed, options)
    normalize = Normalize(images.mean, images.std).to(device)

    checkpoint = run_dir / "ckpt" / "last.pt"
    first_epoch = 0
    if checkpoint.exists():
        first_epoch = _restore(load_checkpoint(checkpoint), model, optimizer, checkpoint)
        console.print(
            f"{config.experiment} {config.name}: resuming after epoch {first_epoch} "
            f"of {recipe.epochs}",
            highlight=False,
        )
    _note_environment(run_dir, device)
    metrics = run_dir / "metrics.jsonl"
    _drop_lines_after(metrics, first_epoch)

    steps = recipe.epochs * len(loader)
    title = f"{config.experiment} {config.name}"
    left = (recipe.epochs - first_epoch) * loader.num_samples
    speed = images_per_second(
        objective, recipe, images.image_shape, config.model.num_classes, device
    )
    backend, reason = choose_backend(images, options)
    console.print(
        f"{title}: {config.scale} scale, {images.source}, {recipe.epochs - first_epoch} epochs of "
        f"{loader.num_samples:,} images, {device_name(device)}, {backend} loader"
        f"{f' ({reason})' if reason else ''}; about {readable_duration(left / speed)} "
        f"at {speed:.0f} img/s",
        highlight=False,
        soft_wrap=True,
    )
    try:
        with TrainingProgress(title, steps, first_epoch * len(loader), console) as progress:
            for epoch in range(first_epoch, recipe.epochs):
                values = train_epoch(
                    objective,
                    loader,
                    normalize,
                    optimizer,
                    recipe,
                    epoch,
                    device,
                    on_step=lambda done, epoch=epoch: progress.step(done, epoch + 1),  # type: ignore[misc]
                )
                with metrics.open("a") as file:
                    file.write(json.dumps({"epoch": epoch + 1, "time": now(), **values}) + "\n")
                save_checkpoint(checkpoint, _state(config, epoch + 1, model, optimizer))
                progress.epoch(epoch + 1, recipe.epochs, (epoch + 1) * len(loader), values)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"interrupted: {title} is saved up to its last finished epoch; "
            "repeat the command to go on"
        ) from None
    with atomic_path(run_dir / "model.safetensors") as temporary:
        safetensors.torch.save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()},
            temporary,
            metadata={"config": json.dumps(to_dict(config))},
        )


def _state(
    config: RunConfig, epochs_done: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    return {
        "config": to_dict(config),
        "epochs_done": epochs_done,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(
    state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, path: Path
) -> int:
    """Put a saved state in place and return the number of finished epochs."""
    codewords = {
        name: value for name, value in model.state_dict().items() if name.endswith("codewords")
    }
    for name, value in codewords.items():
        if not torch.equal(state["model"][name].cpu(), value.cpu()):
            raise UserError(
                f"{path} was trained with another coding scheme ({name}); "
                f"restore the scheme or remove {path.parent}"
            )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    if state["rng_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["rng_cuda"])
    return int(state["epochs_done"])


def _drop_lines_after(metrics: Path, epochs_done: int) -> None:
    """Keep the metrics of the finished epochs alone; a killed process may have left more."""
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    if len(lines) > epochs_done:
        write_text(metrics, "".join(f"{line}\n" for line in lines[:epochs_done]))


def load_trained(run_dir: Path, device: torch.device) -> tuple[RunConfig, nn.Module]:
    """A finished run's configuration and network in evaluation mode.

    Raises UserError where training is not finished or the weights are damaged.
    """
    config = read_config(run_dir)
    weights = run_dir / "model.safetensors"
    if not weights.exists():
        raise UserError(f"{run_dir} has no final weights yet: finish its training first")
    model = create_model(config.model)
    try:
        model.load_state_dict(safetensors.torch.load_file(weights))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{weights} is damaged ({str(error).splitlines()[0]}); remove it and repeat the run: "
            "it is made again from the last checkpoint"
        ) from None
    return config, model.to(device).to(memory_format=torch.channels_last).eval()
