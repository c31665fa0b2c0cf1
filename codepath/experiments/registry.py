"""The registry of experiments. Adding one is one decorated function in one file."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from codepath.core.errors import UserError, unknown_name
from codepath.experiments.scales import SHORT
from codepath.run.config import RunConfig
from codepath.run.directory import Places

RunsOf = Callable[[str, int], Sequence[RunConfig]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A named item of the paper: its runs, what is measured on them, and what should come out."""

    name: str
    paper_item: str
    """The item's name in lists: a table or figure, a sentence of the text, or ours."""
    items: tuple[str, ...]
    """The paper's tables and figures that the experiment is made for: table2, fig2a, ..."""
    also_measured: tuple[str, ...]
    """Other tables and figures that are measured on its runs."""
    scales: tuple[str, ...]
    """The scales that it has, from the smallest to the paper's."""
    runs_of: RunsOf
    title: str
    about: str
    """Where the item stands in the paper, or why the experiment is here."""
    usage: str
    """The command that a person types first."""
    cost: str
    """How many runs of how many epochs, or how much time."""
    expected: str
    """The numbers that should come out."""
    smoke: tuple[str, ...]
    """The scales that run on made-up images; commands take them only where they are named."""
    kinds: tuple[str, ...]
    """Kinds of rows that its evaluation writes and its pictures need."""
    pictures: tuple[str, ...]
    """Its figures and tables below paper/, without suffix, data set and scale."""
    references: tuple[str, ...]
    """Tables of paper/reference/ with the paper's numbers."""
    tolerance: float | None
    """Points within which a paper-scale mean counts as the paper's number."""
    benchmarks: tuple[str, ...]
    """Scripts of benchmarks/ that measure the item, where the experiment trains nothing."""

    @property
    def description(self) -> str:
        """Title, command, expected numbers, place in the paper and cost, for a terminal."""
        parts = (
            f"{self.name} ({self.paper_item}): {self.title}",
            f"Run it: {self.usage}",
            f"What comes out: {self.expected}",
            f"In the paper: {self.about}",
            f"How long: {self.cost}",
        )
        return "\n".join(
            textwrap.fill(
                part, 96, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
            for part in parts
        )

    @property
    def real_scales(self) -> tuple[str, ...]:
        """The scales that are not smoke."""
        return tuple(scale for scale in self.scales if scale not in self.smoke)

    @property
    def usual_scales(self) -> tuple[str, ...]:
        """The real scales that are taken without being named: all but the short one."""
        return tuple(scale for scale in self.real_scales if scale != SHORT)

    def runs(self, scale: str, seed: int) -> list[RunConfig]:
        """The runs of one seed at a scale; UserError for a scale that the experiment lacks.

        A run that several experiments share bears the name of the first, so it is made only once.
        """
        if scale not in self.scales:
            raise UserError(
                f"{self.name} has no scale '{scale}': choose {' or '.join(self.scales)}"
            )
        return list(self.runs_of(scale, seed))

    def command(self, scale: str, results: Path | None = None) -> str:
        """The command that puts its rows at a scale into `results` (default: the scale's own)."""
        if self.benchmarks:
            elsewhere = results is not None and results.resolve() != Path("results").resolve()
            out = f" --out {_shown(results)}/benchmarks" if results and elsewhere else ""
            return "; ".join(f"codepath bench {name}{out}" for name in self.benchmarks)
        place = _place(scale, results)
        lines = [f"codepath run {self.name} --scale {scale} --results {place}"]
        wanted = [ON_REQUEST[kind] for kind in self.kinds if kind in ON_REQUEST]
        if wanted:
            for run in self.runs(scale, 0):
                run_dir = _run_dir(run)
                lines += [command.format(run=run_dir) for command in wanted]
                lines.append(f"codepath collect {run_dir} --results {place}")
        return "; ".join(lines)


ON_REQUEST = {
    "compression": "codepath extract {run} --curve --formats none --turns 0 --out {run}/classifiers"
}
"""Commands that measure the kinds of rows that `codepath run` leaves out (`store.ON_REQUEST`)."""


def _shown(results: Path) -> str:
    """A folder as it is typed where the command is called."""
    full, here = results.resolve(), Path.cwd()
    return str(full.relative_to(here) if full.is_relative_to(here) else results)


def _place(scale: str, results: Path | None) -> str:
    if results is not None:
        return _shown(results)
    return "runs/demo/results" if scale == "demo" else "results"


def _run_dir(run: RunConfig) -> Path:
    return Places(Path("runs"), Path("results")).run_dir(run)


def measuring_again(runs: Sequence[RunConfig], results: Path) -> str:
    """The command that measures all seeds of trained runs again, for kinds of rows they lack."""
    every = " ".join(str(_run_dir(run)).removesuffix(f"{run.seed}") + "*" for run in runs)
    return (
        f"for RUN in {every}; do codepath evaluate $RUN; done; "
        f"codepath collect {every} --results {_shown(results)}"
    )


_EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str,
    paper_item: str,
    scales: tuple[str, ...],
    *,
    about: str,
    usage: str,
    cost: str,
    expected: str,
    items: tuple[str, ...] = (),
    also_measured: tuple[str, ...] = (),
    smoke: tuple[str, ...] = (),
    kinds: tuple[str, ...] = (),
    pictures: tuple[str, ...] = (),
    references: tuple[str, ...] = (),
    tolerance: float | None = None,
    benchmarks: tuple[str, ...] = (),
) -> Callable[[RunsOf], RunsOf]:
    """Register a function (scale, seed) -> runs under `name`; its docstring is the title.

    The other arguments are the fields of `Experiment`.
    """

    def register(runs: RunsOf) -> RunsOf:
        if name in _EXPERIMENTS:
            raise ValueError(f"experiment {name} is registered twice")
        title = " ".join((inspect.getdoc(runs) or "").split())
        if not title:
            raise ValueError(f"experiment {name} needs a docstring")
        _EXPERIMENTS[name] = Experiment(
            name=name,
            paper_item=paper_item,
            scales=scales,
            runs_of=runs,
            title=title,
            about=about,
            usage=usage,
            cost=cost,
            expected=expected,
            items=items,
            also_measured=also_measured,
            smoke=smoke,
            kinds=kinds,
            pictures=pictures,
            references=references,
            tolerance=tolerance,
            benchmarks=benchmarks,
        )
        return runs

    return register


def all_experiments() -> list[Experiment]:
    """Every experiment, by name."""
    return [_EXPERIMENTS[name] for name in sorted(_EXPERIMENTS)]


def find_experiment(name: str) -> Experiment:
    """The experiment of that name; UserError with the nearest names otherwise."""
    if name not in _EXPERIMENTS:
        raise unknown_name("experiment", name, _EXPERIMENTS)
    return _EXPERIMENTS[name]


def baseline_of(coded: RunConfig, model_name: str) -> RunConfig:
    """The plain network's run that a coded run is compared with: same data, seed and recipe."""
    return dataclasses.replace(
        coded,
        model_role="baseline",
        model=dataclasses.replace(coded.model, name=model_name, p_drop=0.0, schemes=()),
        train=dataclasses.replace(coded.train, mu=0.0),
        evaluation=dataclasses.replace(coded.evaluation, removal_block=0),
    )


def override(config: RunConfig, settings: Sequence[str]) -> RunConfig:
    """`config` with settings such as "train.epochs=2"; unknown keys and bad values raise.

    The result has another content hash and another experiment name. The name holds the settings,
    so that the result's rows are never taken for the experiment's own.
    """
    changes: dict[str, dict[str, Any]] = {}
    for setting in settings:
        path, separator, text = setting.partition("=")
        if not separator:
            raise UserError(f"cannot read the setting '{setting}': write section.key=value")
        section, _, key = path.partition(".")
        holder = getattr(config, section, None)
        if not dataclasses.is_dataclass(holder):
            sections = [f.name for f in dataclasses.fields(config) if _is_section(config, f.name)]
            raise unknown_name("section of the configuration", section, sections)
        value = parse_setting(type(holder), key, text, setting, section)
        changes.setdefault(section, {})[key] = value
    # A section's values are set together, since one may be valid only with another.
    for section, values in changes.items():
        changed = dataclasses.replace(getattr(config, section), **values)
        config = dataclasses.replace(config, **{section: changed})
    if settings:
        suffix = "+".join(settings).replace("/", "_")
        config = dataclasses.replace(config, experiment=f"{config.experiment}+{suffix}")
    return config


def parse_setting(holder: type, key: str, text: str, setting: str, section: str) -> Any:
    """The value of a dataclass's field from its text; `setting` and `section` are for errors."""
    known = [f.name for f in dataclasses.fields(holder)]
    if key not in known:
        raise unknown_name(f"key of {section}", key, known)
    return _parse(text, get_type_hints(holder)[key], setting)


def _is_section(config: RunConfig, name: str) -> bool:
    return dataclasses.is_dataclass(getattr(config, name))


def _parse(text: str, kind: Any, setting: str) -> Any:
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        if inner not in (str, int, float):  # nested, such as 10,(5,3),3
            try:
                return tuple(ast.literal_eval(f"({text},)"))
            except (SyntaxError, ValueError):
                raise UserError(f"cannot read '{setting}': write it as 10,(5,3),3") from None
        return tuple(_parse(item, inner, setting) for item in text.split(",") if item)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UserError(f"'{setting}': write true or false")
        return text.lower() == "true"
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"'{setting}': '{text}' is not of type {kind.__name__}") from None
