"""Which runs a submission holds, with which resources, and what is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from codepath.core.errors import UserError, unknown_name
from codepath.experiments import Experiment, all_experiments, find_experiment
from codepath.experiments.scales import GPU_SCALES
from codepath.launch.cluster import Profile, load_profile, profile_name
from codepath.run.config import DataConfig, RunConfig
from codepath.run.directory import Places
from codepath.run.state import RunStatus, look_all

ALL = "all"


def find_targets(names: Sequence[str]) -> list[Experiment]:
    """The experiments that are meant by names such as "table2-cifar10", "table2", "Fig 4" or "all".

    The name of a table or figure means the experiments that are registered for it, or where there
    are none, those on whose runs it is measured. UserError for other names.
    """
    experiments = all_experiments()
    found: dict[str, Experiment] = {}
    for name in names:
        item = name.lower().replace(" ", "").replace("figure", "fig").replace(".", "")
        own = [e for e in experiments if item in e.items]
        measured = [e for e in experiments if item in e.also_measured]
        if name == ALL:
            chosen = experiments
        elif any(e.name == name for e in experiments):
            chosen = [find_experiment(name)]
        elif own or measured:
            chosen = own or measured
        else:
            items = sorted({i for e in experiments for i in (*e.items, *e.also_measured)})
            known = [ALL, *(e.name for e in experiments), *items]
            raise unknown_name("experiment, table or figure", name, known)
        found |= {experiment.name: experiment for experiment in chosen}
    return list(found.values())


@dataclass(frozen=True)
class Destination:
    """Where the runs of a submission live and where their rows go."""

    runs: Path
    results: Path | None = None
    """None: RUNS/SCALE/results."""

    def places(self, scale: str) -> Places:
        """The places of the runs of a scale."""
        return Places(self.runs, self.results or self.runs / scale / "results")

    def run_dir(self, config: RunConfig) -> Path:
        """The directory of a run."""
        return self.places(config.scale).run_dir(config)

    def pictures(self, scale: str) -> Path:
        """Where the figures, tables and verdicts of a scale go."""
        return self.runs / scale


@dataclass(frozen=True)
class Group:
    """Runs with one profile and one data set, which are submitted as one array."""

    profile: Profile
    configs: tuple[RunConfig, ...]


@dataclass(frozen=True)
class Plan:
    """A submission: data first, then training with evaluation, then collecting."""

    groups: tuple[Group, ...]
    service: Profile
    data: tuple[DataConfig, ...]
    """One configuration for each data set that the runs need."""
    left_out: tuple[tuple[RunConfig, RunStatus], ...]
    """Runs that are done or under way."""

    @property
    def configs(self) -> list[RunConfig]:
        """The runs to submit."""
        return [config for group in self.groups for config in group.configs]

    def without(self, others: Mapping[RunConfig, RunStatus]) -> Plan:
        """The plan with some of its runs left out."""
        groups = (
            replace(group, configs=tuple(c for c in group.configs if c not in others))
            for group in self.groups
        )
        return replace(
            self,
            groups=tuple(group for group in groups if group.configs),
            left_out=(*self.left_out, *others.items()),
        )

    @property
    def wanted(self) -> list[RunConfig]:
        """All runs that were asked for, also those that are left out."""
        return [*self.configs, *(config for config, _ in self.left_out)]

    @property
    def scales(self) -> list[str]:
        """The scales of the runs to submit; each scale has its own results."""
        return sorted({config.scale for config in self.configs})

    def lines(
        self, destination: Destination, cluster: str, images: Path | None = None
    ) -> Iterator[str]:
        """The plan for a person, in the order in which its jobs run; `images`: where they are."""
        for config, status in self.left_out:
            yield f"left out, {status.state} already: {run_title(config)}"
        if not self.configs:
            yield "nothing to submit"
            return
        if cluster == "slurm":
            before = f"1 job, {self.service.words()}"
        else:
            before = "one after the other, in one process"
        for data in self.data:
            place = f" in {images}" if images else ""
            yield f"data: {data.source}{place} ({before})"
        for group in self.groups:
            count, profile = len(group.configs), group.profile
            if cluster == "slurm":
                jobs = f"array of {count} jobs" if count > 1 else "1 job"
                cap = f", {profile.parallel} at a time" if count > profile.parallel else ""
                yield f"training and evaluation: {jobs}{cap}, profile {profile.name}:"
                batch = group.configs[0].train.batch_size
                yield f"  each {profile.words()}; batch {batch:,} over all processes"
            else:
                yield f"training and evaluation: {count} run{'s' if count > 1 else ''}"
            yield from _without_gpu(group)
            for config in group.configs:
                yield f"  {run_title(config)}  {destination.run_dir(config)}"
        for scale in self.scales:
            yield (
                f"collecting: rows to {destination.places(scale).results}, figures, tables and "
                f"verdicts to {destination.pictures(scale)}"
            )


def _without_gpu(group: Group) -> Iterator[str]:
    """A warning where runs that are meant for a GPU get none."""
    scales = sorted({config.scale for config in group.configs} & set(GPU_SCALES))
    if scales and not group.profile.gpus:
        yield (
            f"  warning: profile {group.profile.name} has no GPU, for which runs at "
            f"{' and '.join(scales)} scale are meant: name another one with --profile, or take a "
            "smaller --scale"
        )


def run_title(config: RunConfig) -> str:
    """Experiment, scale and run."""
    return f"{config.experiment} {config.scale} {config.name}"


def make_plan(
    configs: Sequence[RunConfig],
    destination: Destination,
    profile: str | None = None,
    parallel: int | None = None,
) -> Plan:
    """Leave out runs that are done or under way; group the others by profile and data set.

    Args:
        configs: the runs; a run that several experiments share counts once.
        destination: where the runs live.
        profile: the profile for all runs; None: the one that [use] names for each.
        parallel: how many jobs of an array may run at once; None: the profile's number.
    """
    if parallel is not None and parallel < 1:
        raise UserError(f"--parallel is {parallel}, at least 1 needed")
    wanted: dict[Path, RunConfig] = {}
    for config in configs:
        known = wanted.setdefault(destination.run_dir(config), config)
        if known.run_id != config.run_id:
            raise UserError(
                f"two different runs want {destination.run_dir(config)}: submit them one by one"
            )
    states = dict(zip(wanted, look_all(wanted), strict=True))
    left_out = [
        (config, states[path]) for path, config in wanted.items() if states[path].holds(config)
    ]
    done = {config.run_id for config, _ in left_out}
    members_of: dict[tuple[str, str], list[RunConfig]] = {}
    for config in wanted.values():
        if config.run_id not in done:
            key = (profile or profile_name(config), config.data.source)
            members_of.setdefault(key, []).append(config)
    groups = []
    for (name, _), members in members_of.items():
        chosen = load_profile(name)
        if parallel is not None:
            chosen = replace(chosen, parallel=parallel)
        groups.append(Group(chosen, tuple(members)))
    todo = [config for group in groups for config in group.configs]
    data = {
        (c.data.source, c.data.crop, c.data.subset, c.data.size): c.data for c in reversed(todo)
    }
    return Plan(
        tuple(groups),
        _service([group.profile for group in groups]),
        tuple(data[key] for key in sorted(data)),
        tuple(left_out),
    )


def _service(profiles: Sequence[Profile]) -> Profile:
    """The profile of the jobs before and after the runs.

    Where it names no account it has that of the runs' first profile: a cluster that demands one
    demands it of every job.
    """
    service = load_profile(profile_name(None))
    account = next((profile.account for profile in profiles), "")
    return replace(service, account=service.account or account)
