"""How long the jobs of a plan should take, by measured speeds: wall time and GPU hours."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.core.durations import readable_duration
from codepath.core.machine import gpu_name, processor_name
from codepath.experiments.run_time import (
    TRAINING_IMAGES,
    assumed_gpu_hours,
    measured_speeds,
    seconds_by_speeds,
)
from codepath.launch.cluster import Profile
from codepath.launch.plan import Group, Plan
from codepath.run.config import RunConfig


class _Times(NamedTuple):
    """What the jobs of a group take on one device."""

    device: str
    gpus: int
    """GPUs of a job; 0 on processors."""
    seconds: dict[str, float | None]
    """Run id -> wall time of its training; None where its network was not measured."""

    def of_all(self, group: Group) -> list[float] | None:
        """The jobs' times in their order; None where one of them is not known."""
        times = [self.seconds[config.run_id] for config in group.configs]
        known = [seconds for seconds in times if seconds is not None]
        return known if len(known) == len(times) else None

    def gpu_hours(self, seconds: float) -> str:
        """GPU hours of jobs that take so long together, for a list; empty on processors."""
        return f"{self.gpus * seconds / 3600:,.1f} GPU hours, " if self.gpus else ""


def expected_lines(
    plan: Plan, cluster: str, results: Path, precision: str = "auto"
) -> Iterator[str]:
    """What each job of a plan takes, and all of them, in lines.

    Args:
        plan: what is to be submitted.
        cluster: slurm, local or debug.
        results: folder of the rows of speeds.
        precision: what the runs are trained in; "auto": the recipe's where it was measured.
    """
    if not plan.configs:
        return
    yield (
        f"expected by the speeds in {results / 'benchmarks'}, for training alone (evaluation and "
        "waiting come on top):"
    )
    speeds = measured_speeds(results)
    total: dict[str, float] = {}
    for group in plan.groups:
        found = [
            _times(group, speeds[speeds["device"] == device], cluster, precision)
            for device in _devices(group.profile, cluster, speeds)
        ]
        found = [times for times in found if any(times.seconds.values())]
        if not found:
            yield f"  {_name(group)}: {_unmeasured(group, results)}"
        for times in found:
            yield from _group_lines(group, times, cluster)
            each = times.of_all(group)
            if each and times.gpus:
                spent = times.gpus * sum(each) / 3600
                total[times.device] = total.get(times.device, 0.0) + spent
    if len(plan.groups) > 1:
        for device, spent in total.items():
            yield f"  all jobs that are known on {device}: {spent:,.1f} GPU hours"


def _devices(profile: Profile, cluster: str, speeds: pd.DataFrame) -> list[str]:
    """The measured devices that are such as a profile's.

    Off Slurm that is this machine's. A GPU profile's are all measured GPUs, or those that its
    constraint names. A CPU profile's have as many cores as its one process.
    """
    names = list(dict.fromkeys(speeds["device"]))
    if cluster != "slurm":
        here = gpu_name() or processor_name()
        return [name for name in names if name == here]
    if profile.gpus:
        gpus = list(dict.fromkeys(speeds[speeds["gpu"].astype(bool)]["device"]))
        named = [name for name in gpus if profile.constraint.lower() in name.lower()]
        return named or gpus
    if profile.nodes * profile.tasks_per_node > 1:
        return []
    return [name for name in names if name.endswith(f", {profile.cpus} cores")]


def _times(group: Group, speeds: pd.DataFrame, cluster: str, precision: str) -> _Times:
    """The times on the one device of `speeds`, where several GPUs share a job's work."""
    gpus = 0
    if speeds["gpu"].any():
        gpus = group.profile.gpus * group.profile.nodes if cluster == "slurm" else 1
    seconds = {run.run_id: seconds_by_speeds(run, speeds, precision) for run in group.configs}
    shared = {run: one and one / max(1, gpus) for run, one in seconds.items()}
    return _Times(str(speeds["device"].iloc[0]), gpus, shared)


def _group_lines(group: Group, times: _Times, cluster: str) -> Iterator[str]:
    """A line for each network and setting of a group, and one for all of its jobs."""
    gpus = times.gpus
    ideal = f", if {gpus} GPUs are {gpus} times as fast as one" if gpus > 1 else ""
    yield f"  {_name(group)}, {times.device}{ideal}:"
    alike: dict[str, list[RunConfig]] = {}
    for config in group.configs:
        name = f"{config.experiment} {config.scale} {config.model_role}"
        alike.setdefault(name, []).append(config)
    for name, configs in alike.items():
        seconds = times.seconds[configs[0].run_id]
        jobs = f"{len(configs)} jobs, each " if len(configs) > 1 else ""
        if seconds is None:
            yield f"    {name}: {jobs}no measurement for this device"
        else:
            yield f"    {name}: {jobs}{times.gpu_hours(seconds)}{readable_duration(seconds)}"
    each = times.of_all(group)
    if each is None:
        yield "    in all: not known, as some were not measured"
        return
    slots = group.profile.parallel if cluster == "slurm" else 1
    at_once = min(slots, len(each))
    turns = f"with {at_once} at a time" if at_once > 1 else "one after the other"
    wall = readable_duration(_makespan(each, slots))
    yield f"    in all: {times.gpu_hours(sum(each))}{wall} of wall time {turns}"


def _name(group: Group) -> str:
    return f"profile {group.profile.name}, {group.configs[0].data.source}"


def _makespan(seconds: list[float], slots: int) -> float:
    """When the last of jobs ends that begin in their order, so many at a time."""
    ends: list[float] = []
    for one in seconds:
        begin = heapq.heappop(ends) if len(ends) == slots else 0.0
        heapq.heappush(ends, begin + one)
    return max(ends)


def _unmeasured(group: Group, results: Path) -> str:
    """Says that nothing was measured, how to, and what counting gives for GPUs."""
    if group.configs[0].data.source not in TRAINING_IMAGES:
        return "no measurement of runs on these images"
    if not group.profile.gpus:
        return "no measurement for this device (codepath bench network, called on it, makes one)"
    text = "no measurement for this device (codepath bench step, called on it, makes one)"
    hours = assumed_gpu_hours(group.configs, results)
    return f"{text}; assumed, {hours}" if hours else text
