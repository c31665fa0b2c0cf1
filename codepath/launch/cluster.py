"""Resource profiles of slurm/profiles.toml."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from codepath.core.errors import UserError, unknown_name
from codepath.core.plain import as_type
from codepath.core.provenance import SHIPPED
from codepath.run.config import RunConfig

PROFILES = Path(os.environ.get("CODEPATH_PROFILES") or SHIPPED / "slurm" / "profiles.toml")
USE = "use"
SERVICE = "service"
"""In [use]: the profile of the jobs that prepare data and collect results."""
SIGNAL_DELAY_S = 120
"""How long before its time limit a job is told to save and requeue."""
LEAST_MINUTES = 10
"""Least time limit of a job: a shorter one would spend much of its time on saving and stopping."""
MEETING = (
    "export MASTER_ADDR=${MASTER_ADDR:-$(scontrol show node "
    '"$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" '
    r"| sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')}"
)
"""Shell line for where processes meet: the first node, at the address that Slurm uses for it."""
_TIME = re.compile(r"(?:(?P<days>\d{1,6})-)?(?P<clock>\d{1,9}(?::\d{1,9}){0,2})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The resources of a job; see slurm/profiles.toml for the keys."""

    name: str
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    nodes: int = 1
    gpus: int = 0
    tasks: int = 0
    """Processes per node; 0: one per GPU, at least one."""
    cpus: int = 1
    memory: str = ""
    time: str = "1:00:00"
    parallel: int = 8
    python: str = ""
    setup: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            if isinstance(value, str) and not value.isprintable():
                raise UserError(f"profile {self.name!a}: {key} holds a line break or the like")
        for key in ("nodes", "cpus", "parallel"):
            if getattr(self, key) < 1:
                raise UserError(f"profile '{self.name}': {key} is {getattr(self, key)}, least is 1")
        if min(self.gpus, self.tasks) < 0:
            raise UserError(f"profile '{self.name}': gpus and tasks must not be negative")
        if self.minutes < LEAST_MINUTES:
            raise UserError(
                f"profile '{self.name}': time is {self.time}, at least {LEAST_MINUTES} minutes are "
                f"needed (jobs are told to save {SIGNAL_DELAY_S} s before its end)"
            )
        if self.memory and not re.fullmatch(r"\d+[KMGT]", self.memory):
            raise UserError(
                f"profile '{self.name}': memory is '{self.memory}': write it as 64G or 8000M"
            )

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes."""
        match = _TIME.fullmatch(self.time)
        if not match:
            raise UserError(
                f"profile '{self.name}': time is '{self.time}': write days-hours:minutes:seconds, "
                "hours:minutes:seconds or minutes"
            )
        parts = [int(part) for part in match["clock"].split(":")]
        if match["days"] is not None:  # sbatch: days-hours[:minutes[:seconds]]
            hours, minutes, seconds = (*parts, 0, 0)[:3]
        elif len(parts) == 3:
            hours, minutes, seconds = parts
        else:  # sbatch: minutes[:seconds]
            hours, (minutes, seconds) = 0, (*parts, 0)[:2]
        return (int(match["days"] or 0) * 24 + hours) * 60 + minutes + (seconds >= 30)

    @property
    def tasks_per_node(self) -> int:
        """Processes on each node."""
        return self.tasks or max(1, self.gpus)

    def words(self) -> str:
        """The resources of a job, for a person."""
        processes = self.nodes * self.tasks_per_node
        parts = [
            f"{self.nodes} node{'s' if self.nodes > 1 else ''}",
            f"{processes} process{'es' if processes > 1 else ''} of {self.cpus} CPUs",
            f"{self.gpus} GPU{'s' if self.gpus > 1 else ''} a node" if self.gpus else "no GPU",
            f"{self.memory} a node" if self.memory else "",
            self.time,
        ]
        parts += [
            f"{key} {getattr(self, key)}"
            for key in ("partition", "account", "qos", "constraint")
            if getattr(self, key)
        ]
        return ", ".join(part for part in parts if part)

    def slurm_parameters(self) -> dict[str, Any]:
        """The parameters of submitit's SlurmExecutor.

        srun gets cpus-per-task as its own argument: since Slurm 22.05 it does not inherit sbatch's.
        With --kill-on-bad-exit srun ends all processes when one fails, so that none waits for it.
        With --wait=0 the first process may evaluate after the others have ended, whatever the
        cluster's WaitTime.
        """
        exports = [f"export {key}={shlex.quote(text)}" for key, text in self.environment.items()]
        meeting = [MEETING] if self.nodes * self.tasks_per_node > 1 else []
        named = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint")}
        return {
            "time": self.minutes,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks_per_node,
            "cpus_per_task": self.cpus,
            "stderr_to_stdout": True,
            "signal_delay_s": SIGNAL_DELAY_S,
            "srun_args": [f"--cpus-per-task={self.cpus}", "--kill-on-bad-exit=1", "--wait=0"],
            "setup": [*self.setup, *exports, *meeting],
            **{key: value for key, value in named.items() if value},
            **({"mem": self.memory} if self.memory else {}),
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
        }


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a file, [use] among them, which names profiles."""
    try:
        sections = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except RecursionError:
        raise UserError(f"cannot read {path}: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: '{name}' is no section: write keys below a line [NAME]")
        if not name.isprintable():
            raise UserError(f"{path}: the section's name {name!r} is not of one line: rename it")
    for key, name in sections.get(USE, {}).items():
        if not isinstance(name, str):
            raise UserError(f"[{USE}] of {path}: {key} is {name!r}, must be a section's name")
    return sections


def load_profile(name: str, path: Path | None = None) -> Profile:
    """A profile; UserError for an unknown name or key, and for a value that makes no sense."""
    path = path or PROFILES
    sections = {key: value for key, value in _read(path).items() if key != USE}
    if name not in sections:
        raise unknown_name(f"profile in {path}:", name, sections)
    types = {key: kind for key, kind in get_type_hints(Profile).items() if key != "name"}
    values: dict[str, Any] = {}
    for key, value in sections[name].items():
        if key not in types:
            raise unknown_name(f"key of profile '{name}' in {path}:", key, types)
        values[key] = _typed(value, types[key], f"profile '{name}' in {path}: {key}", key)
    return Profile(name=name, **values)


def _typed(value: Any, kind: Any, where: str, key: str) -> Any:
    if key == "memory" and isinstance(value, int):
        return f"{value}G"
    if key == "time" and isinstance(value, int):
        return str(value)
    if key == "setup":
        if isinstance(value, list) and all(isinstance(line, str) for line in value):
            return tuple(value)
        raise UserError(f'{where} must be a list of shell lines, such as ["module load cuda"]')
    if key == "environment":
        if isinstance(value, dict) and all(map(_is_variable, value.items())):
            return {name: str(text) for name, text in value.items()}
        raise UserError(f'{where} must be a table, such as {{ NCCL_DEBUG = "INFO" }}')
    try:
        found = as_type(value, kind, where)
    except ValueError as error:
        raise UserError(str(error)) from None
    if isinstance(found, str) and not found.isprintable():
        raise UserError(f"{where} is {found!r}: write it in one line")
    return found


def _is_variable(item: tuple[str, Any]) -> bool:
    """Whether a name and its value can be a shell's."""
    name, value = item
    is_name = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) is not None
    return is_name and isinstance(value, str | int | float) and "\0" not in str(value)


def profile_name(config: RunConfig | None, path: Path | None = None) -> str:
    """The profile that [use] names for a run; for None, the one of the service jobs."""
    path = path or PROFILES
    use = _read(path).get(USE, {})
    wanted = [SERVICE] if config is None else [f"{config.scale}/{config.data.source}", config.scale]
    for key in wanted:
        if key in use:
            name: str = use[key]
            return name
    raise UserError(f"[{USE}] of {path} has no line for {wanted[-1]}: add one, or give --profile")


def check_profiles(path: Path | None = None) -> None:
    """UserError for the first profile that cannot be used, and for a [use] line that names none."""
    path = path or PROFILES
    sections = _read(path)
    for name in sections:
        if name != USE:
            load_profile(name, path)
    for key, name in sections.get(USE, {}).items():
        if name not in sections:
            raise unknown_name(f"profile in [{USE}] of {path}, {key}:", name, sections)


__all__ = [
    "PROFILES",
    "Profile",
    "check_profiles",
    "load_profile",
    "profile_name",
]
