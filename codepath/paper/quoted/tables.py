"""Tables whose cells are quoted numbers: a line for each network or training, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from codepath.paper.quoted.answer import Answer, Query
from codepath.paper.tables.layout import markdown


class Table(NamedTuple):
    """Lines that show the same numbers of different networks or trainings."""

    columns: Mapping[str, str]
    """Title -> the number's name, with {} in place of the line's network or training."""
    lines: Mapping[str, str]
    """A line's title -> its network or training."""
    first: str
    """The title of the first column."""
    plain: Mapping[str, str] = {}
    """The same as `lines` for plain networks, which have only the first `plain_cells` numbers."""
    plain_cells: int = 1

    def cells(self) -> list[tuple[str, list[str]]]:
        """A line's title, and the names of its numbers."""
        names = list(self.columns.values())
        every = [(title, [name.format(of) for name in names]) for title, of in self.lines.items()]
        some = names[: self.plain_cells]
        return every + [
            (title, [name.format(of) for name in some]) for title, of in self.plain.items()
        ]

    def query(self, known: Mapping[str, Query]) -> Query:
        """The query, with those of all other numbers."""

        def query(results: Path) -> Answer:
            body, places = [], []
            for title, names in self.cells():
                answers = [known[name](results) for name in names]
                places += [answer.place for answer in answers]
                blank = [""] * (len(self.columns) - len(answers))
                body.append([title, *(answer.text for answer in answers), *blank])
            text = markdown([self.first, *self.columns], body).rstrip("\n")
            tables = dict.fromkeys(place.partition(";")[0] for place in places)
            return Answer(text, "; ".join(tables))

        return query


_DECODERS = "decoders of blocks 3 to 6"
_F1 = "mean F1 of the binary classifiers"
_BASE = "mu = 6, p_drop = 0.1, exponent 4, paths summed, Table 3's codewords"
_SETTINGS = {
    "p_drop = 0": "cpu.p_drop_0",
    "p_drop = 0.2": "cpu.p_drop_0_2",
    "mu = 0": "cpu.mu_0",
    "mu = 2": "cpu.mu_2",
    "mu = 12": "cpu.mu_12",
    "exponent 2": "cpu.exponent_2",
    "exponent 1": "cpu.exponent_1",
    "paths concatenated": "cpu.concatenated",
    "codewords of the family `best`": "cpu.best_codewords",
    "ratios 7, 5, 3: one more coded stage (decoders of blocks 1 to 6)": "cpu.third_stage",
    "ratios 10, (5, 3), 2: fewer paths towards the end": "cpu.fewer_paths",
}
_TWO_SEEDS = ("mu = 0", "mu = 2", "mu = 12", "paths concatenated", "codewords of the family `best`")
_TRAININGS = {
    "the paper's": "paper",
    "questions to an eighth, with Eq. 5": "questions",
    "the same, scores of weight 0.1, scale 4": "scores_0.1_4",
    "weight 0.3, scale 4": "scores_0.3_4",
    "**weight 0.3, scale 8**": "chosen",
    "weight 1, scale 4": "scores_1_4",
    "as the bold one, questions to a sixteenth": "fewer_questions",
    "the same, questions of weight 1": "fewer_heavier_questions",
}

TABLES = {
    "table.settings": Table(
        {"seeds": "seeds.{}", "top-1": "top1.{}", _DECODERS: "decoders.{}", _F1: "f1.{}"},
        {_BASE: "cpu"} | _SETTINGS,
        "setting",
        {"plain network": "cpu.plain"},
        plain_cells=2,
    ),
    "table.settings.seed0": Table(
        {"top-1": "top1.{}.seed0", _DECODERS: "decoders.{}.seed0", _F1: "f1.{}.seed0",
         "without 5 active paths": "removal.{}.seed0.active",
         "without 5 inactive paths": "removal.{}.seed0.inactive"},
        {_BASE: "cpu"} | _SETTINGS,
        "setting",
        {"plain network": "cpu.plain"},
    ),
    "table.settings.seed1": Table(
        {"top-1, seed 0": "top1.{}.seed0", "top-1, seed 1": "top1.{}.seed1",
         "mean": "top1.{}.seeds01.mean", "decoders of blocks 3 to 6, seed 1": "decoders.{}.seed1",
         "F1, seed 1": "f1.{}.seed1"},
        {_BASE: "cpu"} | {title: _SETTINGS[title] for title in _TWO_SEEDS},
        "setting",
    ),
    "table.search": Table(
        {"top-1": "search.{}.top1", "decoders of blocks 3 and 6": "search.{}.decoders.ends",
         "mean F1": "search.{}.f1"},
        _TRAININGS,
        "training",
        {"plain": "plain"},
    ),
}  # fmt: skip


def numbers(known: Mapping[str, Query]) -> dict[str, Query]:
    """Name -> query; `known` are those of all other numbers."""
    return {name: table.query(known) for name, table in TABLES.items()}
