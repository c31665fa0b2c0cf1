"""The coded bottleneck block, Eq. 2-3 of the paper in closed form.

Shapes: B batch, N paths, d width of a path, C output channels, H x W pixels, K classes.

The paper's block computes t_n = W_n h_n for every path, measures its energy, divides by the
root of the mean energy and sums over n. Neither the energies nor the sum need the tensor of
all t_n, (B,N,C,H,W): with S_n = sum over pixels of h_n h_n^T and G_n = W_n^T W_n,
    E_n = mean over c,h,w of t_n^2 = <S_n, G_n> / (C H W),
    sum_n m_n t_n / sqrt(mean E) = conv3(h * m / sqrt(mean E)).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from codepath.codes import CodingScheme
from codepath.core.errors import UserError, unknown_name
from codepath.models.aligned import AlignedConv2d

AGGREGATES = ("sum", "concat")
EnergiesOf = Callable[[Tensor, Tensor], Tensor]
"""(B, N*d, H, W) and `path_grams` (N, d, d) -> (B, N), as `energies_from_grams`."""
SMALLEST_MEAN_ENERGY = 1e-12
"""Lower clamp of the mean energy in Eq. 3: keeps an all-zero sample finite."""
_SMALL_MAP = 2**16
"""Numbers of a map up to which a copy costs less than a call for each path."""


def path_energies(h: Tensor, weight: Tensor, paths: int) -> Tensor:
    """Eq. 2: energy of every path's output, without computing the outputs.

    Args:
        h: (B, N*d, H, W), input of the expanding 1x1 convolution.
        weight: (C, N*d, 1, 1), that convolution's dense weight; columns n*d to (n+1)*d are W_n.
        paths: N.

    Returns:
        (B, N), mean over C, H, W of (W_n h_n)^2; float32, or float64 for float64 input.
    """
    dtype = torch.promote_types(h.dtype, torch.float32)
    return energies_from_grams(h, path_grams(weight, paths, dtype))


def energies_from_grams(h: Tensor, grams: Tensor) -> Tensor:
    """`path_energies` where the weights stay: (B, N*d, H, W) and `path_grams` -> (B, N)."""
    H, W = h.shape[-2:]
    return _contract(_moments(h, grams.shape[0], grams.dtype), grams) / (H * W)


def _contract(moments: Tensor, grams: Tensor) -> Tensor:
    """(B, N, d, d) and (N, d, d) -> (B, N), <S_n, G_n>."""
    return (moments * grams).sum((-2, -1))


def path_grams(weight: Tensor, paths: int, dtype: torch.dtype) -> Tensor:
    """(C, N*d, 1, 1) dense weight of conv3 -> (N, d, d), G_n / C."""
    with torch.autocast(weight.device.type, enabled=False):
        w = weight.to(dtype).reshape(weight.shape[0], paths, -1).permute(1, 2, 0)  # (N, d, C)
        return w @ w.mT / weight.shape[0]


def _moments(h: Tensor, paths: int, dtype: torch.dtype) -> Tensor:
    """(B, N*d, H, W) -> (B, N, d, d), S_n."""
    B, _, H, W = h.shape
    with torch.autocast(h.device.type, enabled=False):
        h = h.to(dtype)
        if (
            h.is_cpu
            and not torch.compiler.is_compiling()
            and h.is_contiguous(memory_format=torch.channels_last)
            and B > 1
            and h.numel() > _SMALL_MAP
        ):
            # One product a path: joining B and N would copy h, whose channels are innermost.
            x = _by_path(h, paths)
            pairs = zip(x.mT.unbind(), x.unbind(), strict=True)
            if torch.is_grad_enabled() and x.requires_grad:
                return torch.stack([torch.bmm(a, b) for a, b in pairs], 1)
            out = x.new_empty(paths, B, x.shape[3], x.shape[3])
            for (a, b), product in zip(pairs, out.unbind(), strict=True):
                torch.bmm(a, b, out=product)
            return out.transpose(0, 1)
        x = h.reshape(B, paths, -1, H * W)
        return x @ x.mT


def _by_path(h: Tensor, paths: int) -> Tensor:
    """(B, N*d, H, W) in channels_last memory -> (N, B, H*W, d), a view."""
    return h.permute(0, 2, 3, 1).reshape(len(h), -1, paths, h.shape[1] // paths).permute(2, 0, 1, 3)


def _per_channel(factor: Tensor, h: Tensor) -> Tensor:
    """(B, N) -> (B, N*d, 1, 1) in the type of h, finite; (B, 1) -> (B, 1, 1, 1)."""
    factor = factor.clamp(max=torch.finfo(h.dtype).max).to(h.dtype)
    if factor.shape[1] == 1:
        return factor[:, :, None, None]
    return factor.repeat_interleave(h.shape[1] // factor.shape[1], 1)[:, :, None, None]


def normalise_energies(
    energies: Tensor, path_mask: Tensor | None, drop_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Eq. 3: (B, N) energies -> those of the normalised paths, and the factor of each.

    The factor is (B, 1) where no mask makes it differ between paths, else (B, N).
    """
    energies, factor = _normalise(energies, path_mask)
    mask = _joined(path_mask, drop_mask)
    return energies, factor if mask is None else factor * mask


def _normalise(energies: Tensor, path_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Eq. 3: (B, N) energies of the normalised paths, and (B, 1), 1 / root of the mean energy."""
    if path_mask is not None:
        energies = energies * path_mask
    mean = energies.mean(1, keepdim=True).clamp_min(SMALLEST_MEAN_ENERGY)
    return energies / mean, mean.rsqrt()


def _joined(path_mask: Tensor | None, drop_mask: Tensor | None) -> Tensor | None:
    """Both masks as one."""
    if path_mask is None or drop_mask is None:
        return drop_mask if path_mask is None else path_mask
    return path_mask * drop_mask


def _expand(
    h: Tensor,
    weight: Tensor,
    paths: int,
    dtype: torch.dtype,
    path_mask: Tensor | None,
    drop_mask: Tensor | None,
    energies_of: EnergiesOf = energies_from_grams,
    folded: bool = False,
) -> tuple[Tensor, Tensor]:
    """conv3 of the normalised paths, and their energies: (B, C, H, W) and (B, N).

    `folded`: what does not differ between paths multiplies conv3's output, not its input.
    """
    high = torch.promote_types(h.dtype, torch.float32)
    raw = energies_of(h, path_grams(weight, paths, high))
    low, weight = h.to(dtype), weight.to(dtype)
    if not folded:
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        return F.conv2d(low * _per_channel(factor, low), weight), energies
    energies, factor = _normalise(raw, path_mask)
    mask = _joined(path_mask, drop_mask)
    out = F.conv2d(low if mask is None else low * _per_channel(mask, low), weight)
    return out * _per_channel(factor, out), energies


class _Expand(torch.autograd.Function):
    """`_expand` with a backward of few passes, which keeps h, S_n and small factors alone.

    With g the gradient of conv3's input z = f h, m the mean energy, E_n of Eq. 2 and e_n = E_n / m,
        dL/dE_n = (dL/de_n - mean_j e_j dL/de_j - sum(g z) / 2N) / m,
        dL/dh = f g + 2 (dL/dE_n) G_n h / (H W),
        dL/dW_n = (conv3's own part) + 2 W_n (sum over the batch of (dL/dE_n) S_n) / C.
    z is computed again instead of kept, and the energies' parts are added in place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        h: Tensor,
        weight: Tensor,
        paths: int,
        dtype: torch.dtype,
        path_mask: Tensor | None,
        drop_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        high = torch.promote_types(h.dtype, torch.float32)
        grams = path_grams(weight, paths, high)
        moments = _moments(h, paths, high)
        raw = _contract(moments, grams) / (h.shape[2] * h.shape[3])
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        low = h.to(dtype)
        scale = _per_channel(factor, low)
        ctx.save_for_backward(h, weight, grams, moments, raw, energies, scale, path_mask, drop_mask)
        ctx.dtype = dtype
        ctx.set_materialize_grads(False)
        return F.conv2d(low * scale, weight.to(dtype)), energies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        h, weight, grams, moments, raw, energies, scale, path_mask, drop_mask = ctx.saved_tensors
        H, W = h.shape[-2:]
        N = grams.shape[0]
        if torch.is_grad_enabled():  # create_graph: derivatives of this backward are wanted
            outputs = _expand(h, weight, N, ctx.dtype, path_mask, drop_mask)
            used = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None]
            found = torch.autograd.grad(
                [o for o, _ in used], (h, weight), [g for _, g in used], create_graph=True
            )
            return *found, None, None, None, None
        out_gradient, energies_gradient = gradients
        mean = (raw if path_mask is None else raw * path_mask).mean(1, keepdim=True)
        raw_gradient = torch.zeros_like(raw)
        if energies_gradient is not None:
            owed = (energies_gradient * energies).mean(1, keepdim=True)
            raw_gradient = energies_gradient - owed.where(mean >= SMALLEST_MEAN_ENERGY, 0)
        weight_gradient = None
        if out_gradient is None:
            h_gradient = torch.zeros_like(h)
        else:
            h_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
                out_gradient, h.to(ctx.dtype) * scale, weight.to(ctx.dtype), None,
                (1, 1), (0, 0), (1, 1), False, (0, 0), 1, (True, ctx.needs_input_grad[1], False),
            )  # fmt: skip
            h_gradient = h_gradient.to(h.dtype).mul_(scale)
            # Below this the mean or the factor is clamped.
            smallest = max(SMALLEST_MEAN_ENERGY, torch.finfo(ctx.dtype).max ** -2)
            owed = (h_gradient * h).sum((1, 2, 3), dtype=grams.dtype)[:, None] / (2 * N)
            raw_gradient = raw_gradient - owed.where(mean >= smallest, 0)
        raw_gradient = raw_gradient / (mean.clamp_min(SMALLEST_MEAN_ENERGY) * (H * W / 2))
        if path_mask is not None:
            raw_gradient = raw_gradient * path_mask
        # As exact as conv3's part in bfloat16; float16 has not the range.
        dtype = h.dtype if h.dtype == torch.bfloat16 else grams.dtype
        mixed = _add_mixed(h_gradient, h.to(dtype), grams.to(dtype), raw_gradient)
        h_gradient = mixed.to(h.dtype)
        if ctx.needs_input_grad[1]:
            sums = torch.einsum("bn,bnij->nij", raw_gradient, moments)
            weight_gradient = _add_gram_part(weight_gradient, weight, sums)
        return h_gradient, weight_gradient, None, None, None, None


def _add_mixed(total: Tensor, h: Tensor, grams: Tensor, factor: Tensor) -> Tensor:
    """total + factor_n G_n h_n at every pixel, for factors (B, N); in place where memory allows."""
    B, hidden, H, W = h.shape
    N = grams.shape[0]
    scale = _per_channel(factor, h)
    if not h.is_contiguous(memory_format=torch.channels_last):
        mixed = grams @ (h * scale).reshape(B, N, -1, H * W)
        return mixed.view(B, hidden, H, W).add_(total)
    out = total.to(h.dtype).contiguous(memory_format=torch.channels_last)
    if h.is_cpu and h.dtype != torch.float64:
        return out.addcmul_(F.conv2d(h, grams.reshape(hidden, -1, 1, 1), groups=N), scale)
    rows = _by_path(out, N).flatten(1, 2)
    torch.baddbmm(rows, _by_path(h * scale, N).flatten(1, 2), grams, out=rows)
    return out


def _add_gram_part(total: Tensor | None, weight: Tensor, sums: Tensor) -> Tensor:
    """total + W_n sums_n / C, (C, N*d, 1, 1), in the weight's type."""
    C, N = weight.shape[0], sums.shape[0]
    columns = weight.to(sums.dtype).reshape(C, N, -1).transpose(0, 1)  # (N, C, d)
    out = torch.zeros_like(weight) if total is None else total
    out = out.to(sums.dtype).contiguous()
    view = out.view(C, N, -1).transpose(0, 1)
    torch.baddbmm(view, columns, sums, alpha=1 / C, out=view)
    return out.to(weight.dtype)


def draw_drop_mask(batch: int, paths: int, p_drop: float, device: torch.device) -> Tensor:
    """DropSubNNs: (B, N), 0 with probability p_drop, else 1 / (1 - p_drop)."""
    kept = torch.rand(batch, paths, device=device) >= p_drop
    return kept / (1 - p_drop)


class CodedBottleneck(nn.Module):
    """ResNeXt bottleneck whose N paths carry energies that a coding scheme prescribes.

    Submodules are named as in timm's bottleneck (conv1 bn1 conv2 bn2 conv3 bn3 downsample).
    The projection skip exists where the stride or the number of channels changes.

    Args:
        in_chs: input channels.
        out_chs: output channels C.
        width: d, channels of one path.
        scheme: CodingScheme or (K, N) table.
        stride: of the 3x3 convolution and of the projection skip.
        p_drop: probability of dropping a path in training (DropSubNNs).
        aggregate: "sum" of the paths' outputs, or "concat" for the paper's ablation: path n
            gives C // N of the C output channels, the first C % N paths one more.
    """

    codewords: Tensor
    active: int
    """Nact."""
    words_digest: str
    """Equal for blocks with equal codewords."""
    energies_of: EnergiesOf | None = None
    """What takes the energies of Eq. 2; None: the default way."""
    folded = False
    """Whether the factor of Eq. 3 multiplies conv3's output, where the paths have it in common."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        width: int,
        scheme: CodingScheme | ArrayLike,
        stride: int = 1,
        aggregate: str = "sum",
        p_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if aggregate not in AGGREGATES:
            raise unknown_name("aggregate", aggregate, AGGREGATES)
        scheme = scheme if isinstance(scheme, CodingScheme) else CodingScheme(scheme)
        self.paths = scheme.paths
        self.p_drop = p_drop
        hidden = self.paths * width
        self.conv1 = nn.Conv2d(in_chs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(
            hidden, hidden, 3, stride=stride, padding=1, groups=self.paths, bias=False
        )
        self.bn2 = nn.BatchNorm2d(hidden)
        self.act2 = nn.ReLU(inplace=True)
        self.aggregate = aggregate
        self.conv3: nn.Conv2d | ConcatenatedPaths = (
            nn.Conv2d(hidden, out_chs, 1, bias=False)
            if aggregate == "sum"
            else ConcatenatedPaths(hidden, out_chs, self.paths)
        )
        self.bn3 = nn.BatchNorm2d(out_chs)
        self.act3 = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_chs != out_chs:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_chs, out_chs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_chs),
            )
        self.set_scheme(scheme)
        self.register_load_state_dict_post_hook(_note_codewords)
        self.reset_parameters()

    @property
    def ratio(self) -> float:
        """r = Nact / N."""
        return self.active / self.paths

    @property
    def scheme(self) -> CodingScheme:
        """The coding scheme that the saved codewords hold."""
        return CodingScheme(self.codewords.cpu().numpy())

    def set_scheme(self, scheme: CodingScheme) -> None:
        """Give the block another table over the same N paths (other classes, say)."""
        if scheme.paths != self.paths:
            raise ValueError(f"scheme has {scheme.paths} paths, the block has {self.paths}")
        device = self.conv1.weight.device
        table = torch.from_numpy(np.array(scheme.table)).to(device)
        self.register_buffer("codewords", table)
        _note_codewords(self)

    def reset_parameters(self) -> None:
        """Kaiming-normal fan-out start, and the last normalisation's gamma at zero.

        conv3 starts as N separate (C, d) convolutions would, fan-out N*C: Eq. 3 makes it
        invariant to scale, so that its start sets its effective learning rate.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        fan_out = self.conv3.out_channels * (self.paths if self.aggregate == "sum" else 1)
        nn.init.normal_(self.conv3.weight, std=(2 / fan_out) ** 0.5)
        nn.init.zeros_(self.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, C, H', W')."""
        return self.forward_coded(x)[0]

    def forward_coded(
        self,
        x: Tensor,
        path_mask: Tensor | None = None,
        drop_mask: Tensor | None = None,
        gradient_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The block with its energies.

        Args:
            x: (B, in_chs, H, W).
            path_mask: (N,) or (B, N) of any dtype, 1 where a path acts; removed paths leave
                before the normaliser of Eq. 3.
            drop_mask: (N,) or (B, N) of any dtype, factor of each normalised path (DropSubNNs);
                drawn here in training where it is not given.
            gradient_mask: (N,) or (B, N) of any dtype, 1 where gradients flow back into a path's
                output; it changes no value (the paper's footnote 5).

        Returns:
            (B, C, H', W') output and (B, N) energies of the normalised paths, before dropping;
            they sum to N unless all are zero.
        """
        shortcut = x if self.downsample is None else self.downsample(x)
        h = self.forward_hidden(x)
        if drop_mask is None and self.training and self.p_drop > 0:
            drop_mask = draw_drop_mask(x.shape[0], self.paths, self.p_drop, x.device)
        out, energies = self._expand(h, path_mask, drop_mask, gradient_mask)
        out = self.bn3(out)
        out += shortcut
        return self.act3(out), energies

    def forward_hidden(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, N*d, H', W'): all that the energies need, up to conv3."""
        h = self.act1(self.bn1(self.conv1(x)))
        return self.act2(self.bn2(self.conv2(h)))

    def _dense_weight(self) -> Tensor:
        """(C, N*d, 1, 1) of conv3, padded as h is where the block is aligned."""
        conv = self.conv3
        return conv.aligned_weight() if isinstance(conv, AlignedConv2d) else conv.weight

    def _expand(
        self,
        h: Tensor,
        path_mask: Tensor | None,
        drop_mask: Tensor | None,
        gradient_mask: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """conv3 under the normaliser: (B, N*d, H, W) -> (B, C, H, W) and (B, N)."""
        B, device = h.shape[0], h.device.type
        high = torch.promote_types(h.dtype, torch.float32)
        path_mask, drop_mask, gradient_mask = (
            None if mask is None else mask.to(high).expand(B, -1)
            for mask in (path_mask, drop_mask, gradient_mask)
        )
        if self.aggregate == "sum" and gradient_mask is None:
            low = torch.is_autocast_enabled(device)
            dtype = torch.get_autocast_dtype(device) if low else h.dtype
            inputs = (h, self._dense_weight(), self.paths, dtype, path_mask, drop_mask)
            traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
            chosen = self.folded or self.energies_of is not None
            with torch.autocast(device, enabled=False):
                if torch.is_grad_enabled() and h.requires_grad and not traced and not chosen:
                    return _Expand.apply(*inputs)
                return _expand(*inputs, self.energies_of or energies_from_grams, self.folded)
        raw = (
            path_energies(h, self._dense_weight(), self.paths)
            if isinstance(self.conv3, nn.Conv2d)
            else self.conv3.energies(h)
        )
        if gradient_mask is not None:
            raw = raw * gradient_mask + (raw * (1 - gradient_mask)).detach()
        energies, factor = normalise_energies(raw, path_mask, drop_mask)
        z = h * _per_channel(factor, h)
        if gradient_mask is None:
            return self.conv3(z), energies
        own = _per_channel(gradient_mask, z)
        return self.conv3(z * own) + self.conv3(z * (1 - own)).detach(), energies


def _note_codewords(block: CodedBottleneck, _: Any = None) -> None:
    # Kept as plain values: reading them off the buffer would synchronise the device every step.
    table = block.codewords.cpu().numpy()
    block.active = int(table[0].sum())
    block.words_digest = hashlib.sha256(table.tobytes()).hexdigest()


class ConcatenatedPaths(nn.Module):
    """1x1 convolutions of the paths' channels, path by path, side by side in the output.

    `weight` is (C, d, 1, 1): row c maps the d channels of the path that owns output channel c.
    """

    def __init__(self, hidden: int, out_channels: int, paths: int) -> None:
        super().__init__()
        if out_channels < paths:
            raise UserError(f"{out_channels} channels cannot be shared by {paths} paths")
        self.paths = paths
        self.out_channels = out_channels
        each, rest = divmod(out_channels, paths)
        self.sizes = tuple(each + (n < rest) for n in range(paths))
        self.weight = nn.Parameter(torch.empty(out_channels, hidden // paths, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        """(B, N*d, H, W) -> (B, C, H, W)."""
        each, most = min(self.sizes), max(self.sizes)
        if each == most:
            return F.conv2d(z, self.weight, groups=self.paths)
        parts = zip(z.chunk(self.paths, 1), self.weight.split(list(self.sizes)), strict=True)
        return torch.cat([F.conv2d(part, weight) for part, weight in parts], 1)

    def energies(self, h: Tensor) -> Tensor:
        """Eq. 2 over a path's own output channels: (B, N*d, H, W) -> (B, N)."""
        dtype = torch.promote_types(h.dtype, torch.float32)
        with torch.autocast(h.device.type, enabled=False):
            weights = self.weight.to(dtype).flatten(1).split(list(self.sizes))
            grams = torch.stack([w.mT @ w / len(w) for w in weights])
            return _contract(_moments(h, self.paths, dtype), grams) / (h.shape[2] * h.shape[3])
