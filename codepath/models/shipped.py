"""Trained networks that come with the package, each in a folder named as timm names it.

A folder is a packed run (see `codepath.parts.packing`): the weights in safetensors, what timm must
know of them in pretrained.json, the model card in README.md, and what the commands on a RUN read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codepath.run.directory import WEIGHTS

FOLDER = Path(__file__).parent / "pretrained"
FACTS = "pretrained.json"
"""timm's `description` and `label_names`; `top1` and `n`, as in the card."""
BEST = "coded_resnext20_10x6d.cifar10_cpu"
"""What is taken where no network is named."""


def shipped_names() -> list[str]:
    """Names for `timm.create_model(NAME, pretrained=True)`, such as "network.tag"."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{FACTS}"))


def shipped_cfgs(same: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """timm's configuration of every shipped network, by name, on top of what is the `same`."""
    found = {}
    for name in shipped_names():
        facts = json.loads((FOLDER / name / FACTS).read_text())
        found[name] = same | {
            "file": str(FOLDER / name / WEIGHTS),
            "description": facts["description"],
            "label_names": tuple(facts["label_names"]),
        }
    return found
