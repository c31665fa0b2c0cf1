"""Resource profiles of slurm/profiles.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from codepath.runtime import REPO_ROOT, UserError, unknown_name

PROFILES = REPO_ROOT / "slurm" / "profiles.toml"

_KEYS = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "constraint": "slurm_constraint",
    "minutes": "timeout_min",
    "cpus": "cpus_per_task",
    "memory_gb": "mem_gb",
    "gpus": "gpus_per_node",
}
"""Key of a profile -> parameter of submitit's AutoExecutor."""


def load_profile(name: str, path: Path = PROFILES) -> dict[str, Any]:
    """The executor parameters of a profile; UserError for unknown names and keys."""
    try:
        profiles = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if name not in profiles:
        raise unknown_name("profile", name, profiles)
    unknown = set(profiles[name]) - set(_KEYS)
    if unknown:
        raise unknown_name(f"key of profile '{name}' in {path}:", min(unknown), _KEYS)
    return {_KEYS[key]: value for key, value in profiles[name].items()}
