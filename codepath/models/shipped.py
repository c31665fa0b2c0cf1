"""Trained networks that come with the package, each in a folder named as timm names it.

A folder is a packed run (see `codepath.parts.packing`): the weights in safetensors, what timm must
know of them in pretrained.json, the model card in README.md, and what the commands on a RUN read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codepath.core.errors import UserError
from codepath.core.files import read_json
from codepath.core.plain import as_type
from codepath.run.directory import WEIGHTS

FOLDER = Path(__file__).parent / "pretrained"
FACTS = "pretrained.json"
BEST = "coded_resnext20_10x6d.cifar10_cpu"
"""What is taken where no network is named."""


@dataclass(frozen=True)
class Facts:
    """What pretrained.json holds."""

    description: str
    label_names: tuple[str, ...]
    """Both as timm has them."""
    top1: float
    n: int
    """Both as in the card."""


def shipped_names() -> list[str]:
    """Names for `timm.create_model(NAME, pretrained=True)`, such as "network.tag"."""
    return sorted(path.parent.name for path in FOLDER.glob(f"[!.]*/{FACTS}"))


def shipped_cfgs(same: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """timm's configuration of every shipped network, by name, on top of what is the `same`."""
    found = {}
    for name in shipped_names():
        facts = shipped_facts(name)
        found[name] = same | {
            "file": str(FOLDER / name / WEIGHTS),
            "description": facts.description,
            "label_names": facts.label_names,
        }
    return found


def shipped_facts(name: str) -> Facts:
    """What pretrained.json says of a shipped network; UserError where it is damaged."""
    path = FOLDER / name / FACTS
    try:
        facts: Facts = as_type(read_json(path), Facts, FACTS)
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): install codepath again") from None
    return facts
