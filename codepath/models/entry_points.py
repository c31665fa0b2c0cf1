"""The networks of Table 1 and their plain baselines, registered in timm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from codepath.models.coded_resnext import CodedResNeXt
from codepath.models.shipped import shipped_cfgs
from codepath.models.stages import Stage
from codepath.run.config import STATISTICS


def _cfg(
    size: int, mean: tuple[float, ...], std: tuple[float, ...], **kwargs: Any
) -> dict[str, Any]:
    return {
        "url": "",
        "input_size": (len(mean), size, size),
        "pool_size": (size // 4, size // 4),
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "mean": mean,
        "std": std,
        "first_conv": "conv1",
        "classifier": "fc",
        "license": "mit",
        **kwargs,
    }


_cifar10 = _cfg(32, *STATISTICS["cifar10"], num_classes=10)
_cifar10_half = _cfg(32, *STATISTICS["cifar10"], num_classes=10, pool_size=(4, 4))
_cifar100 = _cfg(32, *STATISTICS["cifar100"], num_classes=100)
_imagenet = _cfg(160, *STATISTICS["imagenet"], num_classes=1000, crop_pct=0.875, pool_size=(5, 5))

default_cfgs = generate_default_cfgs(
    {
        **shipped_cfgs(_cifar10_half),
        "coded_resnext20_10x4d.untrained": _cifar10,
        "resnext20_10x4d.untrained": _cifar10,
        "coded_resnext20_10x6d.untrained": _cifar10_half,
        "resnext20_10x6d.untrained": _cifar10_half,
        "coded_resnext29_10x11d.untrained": _cifar10,
        "resnext29_10x11d.untrained": _cifar10,
        "coded_resnext29_20x6d.untrained": _cifar100,
        "resnext29_20x6d.untrained": _cifar100,
        "coded_resnext50_32x4d.untrained": _imagenet,
    }
)


def _fit_codewords(state: dict[str, Tensor], model: CodedResNeXt) -> dict[str, Tensor]:
    """timm's filter of loaded weights: codewords of other classes give way to the model's own."""
    own = model.state_dict()
    return {
        key: own[key]
        if key.endswith(".codewords") and key in own and own[key].shape != value.shape
        else value
        for key, value in state.items()
    }


def _create(variant: str, pretrained: bool, defaults: dict[str, Any], kwargs: Any) -> CodedResNeXt:
    """The network of an entry point.

    `saved_schemes`, written by `codepath.models.hub`, are tables that a checkpoint brings along,
    words such as "0110": unlike `schemes` they give way where other classes are asked for.
    """
    saved = kwargs.pop("saved_schemes", None)
    if saved and (kwargs.get("num_classes") or len(saved[0])) == len(saved[0]):
        kwargs.setdefault("schemes", [[list(map(int, word)) for word in words] for words in saved])
        kwargs["code_classes"] = len(saved[0])
    if "stages" in kwargs:
        kwargs["stages"] = tuple(Stage(*stage) for stage in kwargs["stages"])
    depth = len(kwargs.get("stages", defaults["stages"]))
    return build_model_with_cfg(
        CodedResNeXt,
        variant,
        pretrained,
        pretrained_filter_fn=_fit_codewords,
        feature_cfg={"out_indices": tuple(range(depth + 1))},
        **{**defaults, **kwargs},
    )


def _stages(
    paths: int, width: int, active: Sequence[int], depths: Sequence[int], channels: int = 256
) -> dict[str, Any]:
    """Stages that double channels and path width from one to the next."""
    return {
        "paths": paths,
        "stages": tuple(
            Stage(channels << i, width << i, a, depth)
            for i, (a, depth) in enumerate(zip(active, depths, strict=True))
        ),
    }


_SMALL: dict[str, Any] = {"channels": 64, "width": 4, "depths": (2, 2, 2)}


@register_model
def coded_resnext20_10x4d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """The demo's network: the C10 network's codes on a small geometry."""
    defaults = {**_stages(10, active=(10, 5, 3), **_SMALL), "stem_width": 32, "code_classes": 10}
    return _create("coded_resnext20_10x4d", pretrained, defaults, kwargs)


@register_model
def resnext20_10x4d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Baseline of coded_resnext20_10x4d: the same network with r = 1 everywhere."""
    defaults = {**_stages(10, active=(10, 10, 10), **_SMALL), "stem_width": 32, "code_classes": 10}
    return _create("resnext20_10x4d", pretrained, defaults, kwargs)


_CPU: dict[str, Any] = {"channels": 64, "width": 6, "depths": (2, 2, 2)}


@register_model
def coded_resnext20_10x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """The cpu scale's network: the C10 network's codes, small, on half the resolution."""
    defaults = {**_stages(10, active=(10, 5, 3), **_CPU), "stem_stride": 2, "code_classes": 10}
    return _create("coded_resnext20_10x6d", pretrained, defaults, kwargs)


@register_model
def resnext20_10x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Baseline of coded_resnext20_10x6d: the same network with r = 1 everywhere."""
    defaults = {**_stages(10, active=(10, 10, 10), **_CPU), "stem_stride": 2, "code_classes": 10}
    return _create("resnext20_10x6d", pretrained, defaults, kwargs)


@register_model
def coded_resnext29_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Table 1, C10: codes 5/10 in c3 and 3/10 in c4."""
    defaults = {**_stages(10, 11, (10, 5, 3), (3, 3, 3)), "code_classes": 10}
    return _create("coded_resnext29_10x11d", pretrained, defaults, kwargs)


@register_model
def resnext29_10x11d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Baseline of coded_resnext29_10x11d: the same network with r = 1 everywhere."""
    defaults = {**_stages(10, 11, (10, 10, 10), (3, 3, 3)), "code_classes": 10}
    return _create("resnext29_10x11d", pretrained, defaults, kwargs)


@register_model
def coded_resnext29_20x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Table 1, C100: codes 8/20 in c3 and 4/20 in c4."""
    defaults = {**_stages(20, 6, (20, 8, 4), (3, 3, 3)), "code_classes": 100}
    return _create("coded_resnext29_20x6d", pretrained, defaults, kwargs)


@register_model
def resnext29_20x6d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Baseline of coded_resnext29_20x6d: the same network with r = 1 everywhere."""
    defaults = {**_stages(20, 6, (20, 20, 20), (3, 3, 3)), "code_classes": 100}
    return _create("resnext29_20x6d", pretrained, defaults, kwargs)


@register_model
def coded_resnext50_32x4d(pretrained: bool = False, **kwargs: Any) -> CodedResNeXt:
    """Table 1, ImageNet: codes 16/32 in c4 and 8/32 in c5.

    Its baseline is timm's resnext50_32x4d.
    """
    defaults = {
        **_stages(32, 4, (32, 32, 16, 8), (3, 4, 6, 3)),
        "stem_kernel": 7,
        "stem_stride": 2,
        "stem_pool": True,
        "code_classes": 1000,
    }
    return _create("coded_resnext50_32x4d", pretrained, defaults, kwargs)


REGISTERED = tuple(sorted({name.split(".")[0] for name in default_cfgs}))
"""Entry points of this module."""
