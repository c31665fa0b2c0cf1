"""The networks as TorchScript compiles them: `torch.jit.script(model)`.

Shapes: B batch, N paths, d width of a path, C output channels, K classes.

TorchScript cannot compile a loop over stages whose number a network chooses, nor an autograd
function. So `__prepare_scriptable__`, torch's own hook for this, hands it these modules in place of
a network and its coded blocks. They hold the same parameters under the same names.
"""

# No `from __future__ import annotations`: TorchScript reads annotations as objects.

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from codepath.models.energies import (
    normalise_energies,
    path_energies,
    per_channel,
)


def draw_drop_mask(batch: int, paths: int, p_drop: float, device: torch.device) -> Tensor:
    """DropSubNNs: (B, N), 0 with probability p_drop, else 1 / (1 - p_drop)."""
    kept = torch.rand(batch, paths, device=device) >= p_drop
    return kept / (1 - p_drop)


class DropMask(nn.Module):
    """DropSubNNs' mask of a run of coded blocks: (B, N) in training, None in evaluation."""

    def __init__(self, paths: int, p_drop: float) -> None:
        super().__init__()
        self.paths, self.p_drop = paths, float(p_drop)

    def forward(self, x: Tensor) -> Tensor | None:
        """Any tensor whose first dimension is B -> (B, N)."""
        if self.training and self.p_drop > 0:
            return draw_drop_mask(x.shape[0], self.paths, self.p_drop, x.device)
        return None


class ScriptedBottleneck(nn.Module):
    """A coded bottleneck, as TorchScript compiles it.

    In training it draws DropSubNNs' mask where none is given, and where the energies are asked for
    it leaves them in `last_energies`.

    Args:
        block: a CodedBottleneck, whose modules are shared.
        keeps_energies: whether `last_energies` is filled in training.
    """

    codewords: Tensor
    last_energies: Tensor | None
    """(B, N) of the last training pass."""
    if TYPE_CHECKING:  # TorchScript takes annotated modules for interfaces
        conv1: nn.Module
        bn1: nn.Module
        act1: nn.Module
        conv2: nn.Module
        bn2: nn.Module
        act2: nn.Module
        conv3: Any
        bn3: nn.Module
        act3: nn.Module

    def __init__(self, block: Any, keeps_energies: bool) -> None:
        super().__init__()
        self.paths: int = block.paths
        self.ratio: float = block.ratio
        self.keeps_energies = keeps_energies
        self.last_energies = None
        for name, child in block.named_children():
            self.add_module(name, child)
        if block.downsample is None:
            self.downsample = nn.Identity()
        self.register_buffer("codewords", block.codewords)
        self.drop_mask = DropMask(block.paths, block.p_drop)
        self.train(block.training)

    def forward(self, x: Tensor, drop_mask: Tensor | None = None) -> Tensor:
        """(B, in_chs, H, W) and (B, N) -> (B, C, H', W')."""
        h = self.act1(self.bn1(self.conv1(x)))
        h = self.act2(self.bn2(self.conv2(h)))
        if drop_mask is None:
            drop_mask = self.drop_mask(x)
        energies, factor = normalise_energies(self.raw_energies(h), None, drop_mask)
        out = self.bn3(self.conv3(h * per_channel(factor, h)))
        if self.keeps_energies and self.training:
            self.last_energies = energies
        return self.act3(out + self.downsample(x))

    def raw_energies(self, h: Tensor) -> Tensor:
        """(B, N*d, H, W) -> (B, N), Eq. 2."""
        return path_energies(h, self.conv3.weight, self.paths)


class ScriptedConcatenation(ScriptedBottleneck):
    """The same for paths whose outputs are concatenated."""

    def raw_energies(self, h: Tensor) -> Tensor:
        """(B, N*d, H, W) -> (B, N), Eq. 2."""
        return self.conv3.energies(h)


def scripted_block(block: Any, keeps_energies: bool) -> ScriptedBottleneck:
    """What TorchScript compiles in place of a CodedBottleneck."""
    kind = ScriptedBottleneck if block.aggregate == "sum" else ScriptedConcatenation
    return kind(block, keeps_energies)


def scripted_network(network: Any) -> fx.GraphModule:
    """What TorchScript compiles in place of a CodedResNeXt: (B, in_chans, H, W) -> (B, K).

    A straight line of modules. A run of coded blocks with one scheme shares its drop mask.
    """
    modules: dict[str, nn.Module] = {
        name: getattr(network, name) for name in ("conv1", "bn1", "act1", "maxpool")
    }
    graph = fx.Graph()
    x = graph.placeholder("x", type_expr=Tensor)
    for name in modules:
        x = graph.call_module(name, (x,))
    number, mask = 0, None
    coded, starts = network.coded_blocks, network.drop_starts
    for stage in network.layer_names:
        for place, block in enumerate(getattr(network, stage)):
            number += 1
            name = f"{stage}.{place}"
            modules[name] = block
            if number not in coded:
                x = graph.call_module(name, (x,))
                continue
            modules[name] = scripted_block(block, network.keeps_energies)
            if number in starts:
                modules[f"drop_mask{number}"] = DropMask(network.paths, network.p_drop)
                mask = graph.call_module(f"drop_mask{number}", (x,))
            x = graph.call_module(name, (x, mask))
    modules["global_pool"], modules["fc"] = network.global_pool, network.fc
    x = graph.call_module("global_pool", (x,))
    if network.drop_rate:
        modules["head_drop"] = nn.Dropout(network.drop_rate)
        x = graph.call_module("head_drop", (x,))
    graph.output(graph.call_module("fc", (x,)))
    scripted = fx.GraphModule(modules, graph, type(network).__name__)
    for name, _ in network.named_children():  # parameters in the network's own order
        scripted.add_module(name, scripted._modules.pop(name))
    return scripted.train(network.training)


class LastEnergies(NamedTuple):
    """What a coded block did in the last training pass."""

    energies: Tensor
    """(B, N)"""
    codewords: Tensor
    """(K, N)"""
    ratio: float


def take_energies(scripted: torch.jit.ScriptModule) -> list[LastEnergies]:
    """The energies of a scripted network's last training pass, block by block; they are removed.

    Empty where the network has no coded blocks, or was compiled without `keeps_energies`.
    """
    found = []
    block: Any
    for block in scripted.modules():
        energies = getattr(block, "last_energies", None)
        if energies is not None:
            found.append(LastEnergies(energies, block.codewords, block.ratio))
            block.last_energies = None
    return found
