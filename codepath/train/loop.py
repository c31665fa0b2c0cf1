"""The state of a run in training, and its steps."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from codepath.core.errors import UserError
from codepath.data import Batch, Normalize
from codepath.data.randomness import Draw, uniform
from codepath.models import CodedResNeXt, create_model
from codepath.run.config import RunConfig
from codepath.train.candidates import check_candidates, compiled_with, use_candidates
from codepath.train.distributed import World
from codepath.train.ghost import use_ghost_batches
from codepath.train.graph import Recorded, fill
from codepath.train.losses import LossParts, TrainingObjective
from codepath.train.metrics import Meter, values_of
from codepath.train.optim import make_optimizer, set_rate
from codepath.train.precision import autocast
from codepath.train.questions import Questions, draw_questions
from codepath.train.schedule import learning_rate

CHECK_STEPS = 50
"""Every how many steps a GPU is asked whether all was finite; it is waited for then."""
_NEVER = -1


class Diverged(UserError):  # noqa: N818 (UserError's kind)
    """Losses or weights are not finite. `report` says where, for a file."""

    def __init__(self, message: str, report: dict[str, Any]) -> None:
        super().__init__(message)
        self.report = report

    def __reduce__(self) -> Any:
        return Diverged, (str(self), self.report)


def drop_masks(
    model: nn.Module, seed: int, epoch: int, indices: NDArray[np.int64]
) -> dict[int, Tensor]:
    """DropSubNNs' masks (B, N) by block number: 0 with probability p_drop, else 1 / (1 - p_drop).

    A draw is a hash of (seed, epoch, sample, block, path), so that it does not depend on how the
    batch is shared out, nor on what was drawn before.
    """
    if not isinstance(model, CodedResNeXt):
        return {}
    N = model.paths
    masks = {}
    for number in model.drop_starts:
        counters = (indices[:, None] * (len(model.blocks) + 1) + number) * N + np.arange(N)
        kept = uniform(seed, epoch, counters, Draw.DROPPED_PATHS) >= model.p_drop
        masks[number] = torch.from_numpy(kept.astype(np.float32) / np.float32(1 - model.p_drop))
    return masks


class Trainer:
    """Network, optimiser and running sums of a run: all that its next step depends on.

    Args:
        config: the run.
        world: the processes that train it; each holds all weights and a share of every batch.
        steps_per_epoch: batches of an epoch.
        device_batch: images that this process takes through the network at once, a divisor of its
            share of the batch; gradients are accumulated over the parts.
        compiled: whether torch.compile is used.
        recorded: whether one process with a GPU replays its steps as a CUDA graph.
        aligned: whether channels are padded and groups merged (see `codepath.models.aligned`).
        precision: float32, or bfloat16 by autocast.
        candidates: of a faster step, see `codepath.train.candidates`.
    """

    def __init__(
        self,
        config: RunConfig,
        world: World,
        steps_per_epoch: int,
        device_batch: int,
        compiled: bool = False,
        recorded: bool = True,
        aligned: bool = False,
        precision: str = "float32",
        candidates: Collection[str] = (),
    ) -> None:
        check_candidates(candidates, compiled)
        self.config, self.recipe, self.world = config, config.train, world
        self.steps_per_epoch = steps_per_epoch
        self.device_batch, self.precision = device_batch, precision
        torch.manual_seed(config.seed)
        model = create_model(config.model)
        group = bn_images(self.recipe.bn_batch, device_batch)
        self._norms = use_ghost_batches(model, group, self.recipe.bn_momentum, aligned)
        use_candidates(model, candidates)
        self.model = model.to(world.device).to(memory_format=torch.channels_last)
        recipe = self.recipe
        self.objective = TrainingObjective(self.model, recipe)
        self.optimizer = make_optimizer(self.model, recipe, world.device)
        coded = isinstance(model, CodedResNeXt) and bool(model.coded_blocks)
        self._asks = coded and recipe.terms.asks
        self._wrapped: Any = self.objective
        if world.size > 1:
            # The running statistics stay each process's own; `averaged_state` takes their mean.
            cuda = world.device.type == "cuda"
            self._wrapped = DistributedDataParallel(
                self.objective,
                process_group=world.tensors,
                device_ids=[world.device] if cuda else None,
                broadcast_buffers=False,
                gradient_as_bucket_view=True,
            )
        if compiled:
            self._wrapped = compiled_with(self._wrapped, candidates)
        self.step = 0
        """Steps made."""
        self.epoch_meter, self.recent_meter = Meter(world.device), Meter(world.device)
        self.average: dict[str, Tensor] = {}
        """The moving average of the weights by name, where the recipe has one."""
        if recipe.ema_decay:
            self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._batches: deque[tuple[int, Tensor]] = deque(maxlen=CHECK_STEPS)
        self._broken = torch.zeros(0, dtype=torch.int64, device=world.device)
        self._names: list[str] = []
        self._recorded = recorded and world.size == 1 and world.device.type == "cuda"
        self._inputs: dict[str, Tensor] = {}
        self._replay: Recorded | None = None

    def train_step(self, batch: Batch, epoch: int, normalize: Normalize) -> None:
        """Forward, backward and update on this process's share of a batch."""
        self.objective.train()
        size = len(batch.labels)
        self._batches.append((self.step, batch.indices))
        rate = learning_rate(self.step, self.steps_per_epoch, self.recipe)
        for group in self.optimizer.param_groups:
            set_rate(group, rate)
        masks = drop_masks(self.model, self.config.seed, epoch, batch.indices.numpy())
        inputs = {"images": batch.images, "labels": batch.labels}
        inputs |= {f"mask{number}": mask for number, mask in masks.items()}
        if self._asks:
            inputs |= self._questions(batch, epoch)._asdict()
        if self._recorded:
            values = self._replayed(inputs, normalize)
        else:
            values = self._update(
                {name: self._moved(value) for name, value in inputs.items()}, normalize
            )
        self.epoch_meter.add(self._names, values, size)
        self.recent_meter.add(self._names, values, size)
        if not len(self._broken):
            self._broken = torch.full_like(values, _NEVER, dtype=torch.int64)
        first = ~torch.isfinite(values) & (self._broken == _NEVER)
        self._broken = torch.where(first, self.step, self._broken)
        self.step += 1

    def _update(self, inputs: dict[str, Tensor], normalize: Normalize) -> Tensor:
        """The step's work on the device; returns the values that `_names` names."""
        size = len(inputs["labels"])
        starts = range(0, size, self.device_batch)
        values = torch.zeros(0)
        self.optimizer.zero_grad(set_to_none=True)
        for start in starts:
            part = {k: value[start : start + self.device_batch] for k, value in inputs.items()}
            last = start == starts[-1]
            for norm in self._norms:
                norm.starts_step, norm.parts = start == 0, len(starts)
            with contextlib.nullcontext() if last else self._unsynchronised():
                images, labels = normalize(part.pop("images")), part.pop("labels")
                questions = None
                if self._asks:
                    questions = Questions(part.pop("asked"), part.pop("classes"))
                masks = {int(name.removeprefix("mask")): mask for name, mask in part.items()}
                parts = self._forward(images, labels, masks, questions)
                (parts.total / len(starts) if len(starts) > 1 else parts.total).backward()
            named = values_of(parts, labels)
            self._names = list(named)
            found = torch.stack(list(named.values())) / len(starts)
            values = found if start == 0 else values + found
        self.optimizer.step()
        if self.average:
            weights = [p.detach() for p in self.model.parameters()]
            torch._foreach_lerp_(list(self.average.values()), weights, 1 - self.recipe.ema_decay)
        return values

    def _replayed(self, inputs: dict[str, Tensor], normalize: Normalize) -> Tensor:
        """`_update` as a CUDA graph."""
        if self._replay is None:
            self._inputs = {name: self._moved(value) for name, value in inputs.items()}
            self._replay = Recorded(
                lambda: self._update(self._inputs, normalize), self.world.device
            )
        for name, value in inputs.items():
            fill(self._inputs[name], value)
        return self._replay()

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.world.device, non_blocking=True)

    def _questions(self, batch: Batch, epoch: int) -> Questions:
        return draw_questions(
            self.config.seed,
            epoch,
            batch.indices.numpy(),
            batch.labels,
            self.config.model.num_classes,
            self.recipe.asked,
            self.recipe.own_share,
        )

    def _forward(
        self,
        images: Tensor,
        labels: Tensor,
        masks: dict[int, Tensor],
        questions: Questions | None,
    ) -> LossParts:
        with autocast(self.world.device, self.precision):
            parts: LossParts = self._wrapped(images, labels, masks or None, questions)
        return parts

    def _unsynchronised(self) -> Any:
        wrapped = getattr(self._wrapped, "_orig_mod", self._wrapped)
        several = isinstance(wrapped, DistributedDataParallel)
        return wrapped.no_sync() if several else contextlib.nullcontext()

    @property
    def due(self) -> bool:
        """Whether `trouble` is to be asked for now: a GPU must be waited for."""
        return self.world.device.type == "cpu" or self.step % CHECK_STEPS == 0

    def trouble(self, weights: bool = False) -> dict[str, Any] | None:
        """Where a value was first not finite in this process, or None.

        Args:
            weights: look at weights and momenta as well, as before they are saved.
        """
        broken = {
            name: step
            for name, step in zip(self._names, self._broken.tolist(), strict=False)
            if step != _NEVER
        }
        if broken:
            step = min(broken.values())
            first = [name for name, when in broken.items() if when == step]
            blocks = [int(name.rpartition("block")[2]) for name in first if "energy" in name]
            indices = next((i.tolist() for when, i in self._batches if when == step), [])
            place = f"the energies of block {min(blocks)}" if blocks else f"the {first[0]}"
            return {"step": step, "first": place, "values": first, "indices": indices}
        if weights:
            bad = first_not_finite(self._everything())
            if bad:
                indices = self._batches[-1][1].tolist() if self._batches else []
                step = self.step - 1
                return {"step": step, "first": bad, "values": [bad], "indices": indices}
        return None

    def _everything(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.state_dict().items()
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    yield f"the {key} of {name}", value

    def diverged(self, trouble: dict[str, Any], saved: str) -> Diverged:
        """The error that says so; `saved` names what is kept."""
        step, indices = trouble["step"], trouble["indices"]
        epoch, number = divmod(step, self.steps_per_epoch)
        shown = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
        return Diverged(
            f"training diverged at step {step + 1} (epoch {epoch + 1}, batch {number + 1} of "
            f"{self.steps_per_epoch}): {trouble['first']} not finite, training images {shown} "
            f"(all in divergence.json); {saved}; try a smaller learning rate",
            {"epoch": epoch + 1, "batch": number + 1, **trouble, "step": step + 1},
        )

    def averaged_state(self) -> dict[str, Tensor]:
        """What is kept of the network: its state with the mean of the processes' running
        statistics, and the moving average in place of the weights where there is one."""
        state = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        for name, value in self._statistics().items():
            state[name] = self.world.sum(value) / self.world.size
        return state | {name: value.clone() for name, value in self.average.items()}

    def _statistics(self) -> dict[str, Tensor]:
        buffers = dict(self.model.named_buffers())
        return {name: value for name, value in buffers.items() if value.is_floating_point()}

    def state(self) -> dict[str, Any]:
        """To be saved; every process must call it."""
        own = {
            "statistics": {name: value.cpu() for name, value in self._statistics().items()},
            "epoch_meter": self.epoch_meter.state(),
            "recent_meter": self.recent_meter.state(),
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state() if self.world.device.type == "cuda" else None,
        }
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "processes": self.world.gather(own),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state, also of another number of processes.

        Raises UserError where it is of another coding scheme.
        """
        for name, value in self.model.state_dict().items():
            if name.endswith("codewords") and not torch.equal(state["model"][name], value.cpu()):
                raise UserError(
                    f"the checkpoint was trained with another coding scheme ({name}); "
                    "restore the scheme, or remove the run's ckpt folder"
                )
        self._replay = None  # it would go on with what is replaced here
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        # The groups' settings are the configuration's, and how they are held is the device's.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": groups})
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        processes = state["processes"]
        if len(processes) == self.world.size:
            own = processes[self.world.rank]
        else:
            own = _merged(processes, self.world.first)
        buffers = dict(self.model.named_buffers())
        for name, value in own["statistics"].items():
            buffers[name].copy_(value)
        self.epoch_meter.restore(own["epoch_meter"])
        self.recent_meter.restore(own["recent_meter"])
        torch.set_rng_state(own["rng"])
        if own["rng_cuda"] is not None and self.world.device.type == "cuda":
            torch.cuda.set_rng_state(own["rng_cuda"])


def bn_images(bn_batch: int, device_batch: int) -> int:
    """Images that batch norm's statistics are taken over: the recipe's, or else all at once."""
    fits = bn_batch and device_batch % bn_batch == 0
    return bn_batch if fits else device_batch


def first_not_finite(tensors: Iterator[tuple[str, Tensor]]) -> str:
    """The name of the first tensor with an infinity or NaN; empty where there is none."""
    floating = [(name, value) for name, value in tensors if value.is_floating_point()]
    finite = torch.stack([value.isfinite().all() for _, value in floating]).tolist()
    return next((name for (name, _), good in zip(floating, finite, strict=True) if not good), "")


def _merged(processes: Sequence[dict[str, Any]], takes_sums: bool) -> dict[str, Any]:
    """One process's part of a state that others' number of processes saved."""
    merged = dict(processes[0])
    merged["statistics"] = {
        name: torch.stack([one["statistics"][name] for one in processes]).mean(0)
        for name in processes[0]["statistics"]
    }
    for key in ("epoch_meter", "recent_meter"):
        meters = [one[key] for one in processes]
        merged[key] = {
            "names": meters[0]["names"],
            "sums": sum(meter["sums"] for meter in meters) * takes_sums,
            "images": sum(meter["images"] for meter in meters) * takes_sums,
        }
    return merged


def batches_of(loader: Any) -> Generator[Batch, None, None]:
    """The loader's next batches; closing them ends its threads."""
    batches = iter(loader)
    try:
        yield from batches
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()
