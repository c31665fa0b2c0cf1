"""timm's own scripts with this package's networks: registered, and trained with the coding loss.

timm's loops compute a loss of the logits and know nothing of energies. Networks therefore keep the
energies of their last training pass, and a hook on loss modules, PyTorch's global one, adds the
coding loss to the loss of exactly those logits.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from codepath.core.errors import UserError
from codepath.models import CodedResNeXt
from codepath.models.script import LastEnergies, take_energies
from codepath.run.objectives import ObjectiveConfig
from codepath.train.losses import added_losses, block_losses
from codepath.train.questions import Questions, question_costs, question_masks
from codepath.train.targets import Targets, guess_classes

PAPER = ObjectiveConfig(mu=6)
"""Eq. 6 with the weight of the paper's CIFAR runs."""


def run_script(script: Path, arguments: Sequence[str], objective: ObjectiveConfig = PAPER) -> None:
    """Run timm's train.py, validate.py or the like in this process.

    Args:
        script: its path in a timm checkout (the scripts are no part of the installed package).
        arguments: the script's own.
        objective: what training adds to the script's loss.
    """
    if not script.is_file():
        raise UserError(
            f"{script} is not a file: give the path of a script in a checkout of timm, such as "
            "pytorch-image-models/train.py"
        )
    before = sys.argv, sys.path[:]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        with coding_loss_added(objective):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


@contextlib.contextmanager
def coding_loss_added(objective: ObjectiveConfig = PAPER) -> Iterator[None]:
    """While it lasts, losses of a coded network's training logits include the energies' losses.

    It acts on the first loss module (cross-entropy, binary cross-entropy, or one of timm.loss)
    that is called with the logits themselves and a target: (B,) class indices, or (B, K) weights
    of the classes. Of an objective that asks, the script's loss is taken over the images that are
    not asked. What is asked is drawn in the network's forward pass, before the script computes its
    loss; the own class is known there from the batch that a DataLoader or timm's loader gave last.
    """
    hook = _Hook(objective)
    before = CodedResNeXt.keeps_energies, CodedResNeXt.__dict__["path_masks_of"]
    CodedResNeXt.keeps_energies = True
    with contextlib.ExitStack() as stack:
        if objective.terms.asks:
            stack.enter_context(hook.targets.remembered())
            CodedResNeXt.path_masks_of = staticmethod(hook.ask)
        handle = register_module_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
            CodedResNeXt.keeps_energies, CodedResNeXt.path_masks_of = before


class _Hook:
    """Remembers a network's logits until a loss of them is computed."""

    def __init__(self, objective: ObjectiveConfig) -> None:
        self.objective = objective
        self.targets = Targets()
        self.logits: Tensor | None = None
        self.network: nn.Module | None = None
        self.taken: list[LastEnergies] = []
        """Of the pass that gave `logits`."""
        self.questions: Questions | None = None
        """Of the same pass."""
        self.warned = self.inside = False

    @torch.compiler.disable
    def ask(self, network: CodedResNeXt, images: Tensor) -> dict[int, Tensor]:
        """Draw the questions of a training pass; the masks of their classes' paths."""
        rows, classes = len(images), network.num_classes
        own = guess_classes(self.targets.last, rows, classes)
        other = (own + torch.randint(1, classes, (rows,))) % classes
        questions = Questions(
            torch.rand(rows) < self.objective.asked,
            torch.where(torch.rand(rows) < self.objective.own_share, own, other),
        )
        self.questions = Questions(*(part.to(images.device) for part in questions))
        return question_masks(network, self.questions)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled() or self.inside:
            return None
        if _is_loss(module):
            if not self.taken or len(inputs) < 2 or not self._are_logits(inputs[0]):
                return None
            total = self._with_energies(module, inputs[0], inputs[1], output)
            self.logits, self.network, self.taken, self.questions = None, None, [], None
            return total
        network = _network_in(module)
        if network is None or not network.training:
            return None
        taken = _take_energies(network)
        if taken:
            if self.logits is not None and not self.warned:
                self.warned = True
                warnings.warn(
                    "a coded network's training pass met no loss module that takes its logits and "
                    "the target, so the coding loss was left out: use nn.CrossEntropyLoss or a "
                    "loss of timm.loss",
                    stacklevel=3,
                )
            if self.objective.terms.asks and isinstance(network, torch.jit.ScriptModule):
                raise UserError(
                    f"the objective {self.objective.objective} asks images questions, which a "
                    "scripted network does not take: leave --torchscript out"
                )
            self.logits, self.network, self.taken = output, network, taken
        elif module is not network and network is self.network:
            self.logits = output  # a wrapper's, of the same pass
        return None

    def _are_logits(self, value: Any) -> bool:
        """Whether they are the logits or, as in timm's JSD loss, the first rows of them."""
        if value is self.logits:
            return True
        whole = value._base if isinstance(value, Tensor) else None
        if whole is None or whole is not self.logits or value.ndim != 2:
            return False
        same_start = int(value.storage_offset()) == int(whole.storage_offset())
        return same_start and value.shape[1] == whole.shape[1]

    def _with_energies(
        self, module: nn.Module, logits: Tensor, target: Tensor, output: Tensor
    ) -> Tensor:
        """The script's loss with the objective's other terms."""
        rows, classes = len(logits), self.taken[0].codewords.shape[0]
        if target.shape not in ((rows,), (rows, classes)):
            raise UserError(
                f"targets have the shape {tuple(target.shape)}: the coding loss needs "
                f"({rows},) class indices or ({rows}, {classes}) weights of classes"
            )
        target = target.long() if target.ndim == 1 else target
        weights, questions = None, self.questions
        if questions is not None:
            questions = Questions(questions.asked[:rows], questions.classes[:rows])
            free = ~questions.asked
            weights = free / (1 - self.objective.asked)
            self.inside = True
            try:
                mean = module(logits[free], target[free]) if free.any() else logits.sum() * 0
            finally:
                self.inside = False
            output = mean * weights.mean()
        added = added_losses(
            self.objective,
            [
                block_losses(self.objective, energies[:rows], words, target, ratio, logits, weights)
                for energies, words, ratio in self.taken
            ],
        )
        if questions is not None:
            answers = (question_costs(logits, questions, target) / self.objective.asked).mean()
            added = added + self.objective.question_weight * answers
        return output + torch.as_tensor(added).to(output.dtype)


def _is_loss(module: nn.Module) -> bool:
    known = isinstance(module, nn.CrossEntropyLoss | nn.BCEWithLogitsLoss)
    return known or type(module).__module__.startswith("timm.loss")


def _network_in(module: Any) -> nn.Module | None:
    """A network of this package or a scripted one, also in DDP's or torch.compile's wrapper."""
    while isinstance(module, nn.Module):
        if isinstance(module, CodedResNeXt | torch.jit.ScriptModule):
            return module
        module = getattr(module, "_orig_mod", getattr(module, "module", None))
    return None


def _take_energies(network: nn.Module) -> list[LastEnergies]:
    """The energies of a network's last training pass, which it then no longer keeps."""
    if not isinstance(network, CodedResNeXt):
        assert isinstance(network, torch.jit.ScriptModule)
        return take_energies(network)
    energies, network.last_energies = network.last_energies or {}, None
    return [
        LastEnergies(energies[number], block.codewords, block.ratio)
        for number, block in network.coded_blocks.items()
        if number in energies
    ]
