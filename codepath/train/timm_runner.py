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
from codepath.train.losses import coding_loss, coding_loss_soft


def run_script(script: Path, arguments: Sequence[str], mu: float = 6, exponent: float = 4) -> None:
    """Run timm's train.py, validate.py or the like in this process.

    Args:
        script: its path in a timm checkout (the scripts are no part of the installed package).
        arguments: the script's own.
        mu: weight of the coding loss in Eq. 6.
        exponent: of Eq. 5.
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
        with coding_loss_added(mu, exponent):
            runpy.run_path(str(script), run_name="__main__")
    finally:
        sys.argv, sys.path[:] = before


@contextlib.contextmanager
def coding_loss_added(mu: float = 6, exponent: float = 4) -> Iterator[None]:
    """While it lasts, losses of a coded network's training logits include the coding loss.

    It acts on the first loss module (cross-entropy, binary cross-entropy, or one of timm.loss)
    that is called with the logits themselves and a target: (B,) class indices, or (B, K) weights
    of the classes, for which see `coding_loss_soft`.
    """
    if mu < 0 or exponent <= 0:
        raise UserError(f"mu is {mu}, exponent {exponent}: mu >= 0 and exponent > 0 needed")
    before = CodedResNeXt.keeps_energies
    CodedResNeXt.keeps_energies = True
    handle = register_module_forward_hook(_Hook(mu, exponent))
    try:
        yield
    finally:
        handle.remove()
        CodedResNeXt.keeps_energies = before


class _Hook:
    """Remembers a network's logits until a loss of them is computed."""

    def __init__(self, mu: float, exponent: float) -> None:
        self.mu = mu
        self.exponent = exponent
        self.logits: Tensor | None = None
        self.network: nn.Module | None = None
        self.taken: list[LastEnergies] = []
        """Of the pass that gave `logits`."""
        self.warned = False

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return None
        if _is_loss(module):
            if not self.taken or len(inputs) < 2 or not self._are_logits(inputs[0]):
                return None
            added = self._coding_loss(len(inputs[0]), inputs[1])
            self.logits, self.network, self.taken = None, None, []
            return output + self.mu * added.to(output.dtype)
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

    def _coding_loss(self, rows: int, target: Tensor) -> Tensor:
        losses = []
        for all_energies, codewords, ratio in self.taken:
            energies = all_energies[:rows]
            if target.ndim == 1 and len(target) == len(energies):
                words = codewords[target.long()]
                losses.append(coding_loss(energies, words, ratio, self.exponent))
            elif target.shape == (len(energies), len(codewords)):
                arguments = (energies, codewords, target, ratio, self.exponent)
                losses.append(coding_loss_soft(*arguments))
            else:
                raise UserError(
                    f"targets have the shape {tuple(target.shape)}: the coding loss needs "
                    f"({len(energies)},) class indices or ({len(energies)}, "
                    f"{len(codewords)}) weights of classes"
                )
        return torch.stack(losses).sum()


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
