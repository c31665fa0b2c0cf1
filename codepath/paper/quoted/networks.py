"""The trained networks that have numbers, by their names, and the rows of each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.experiments.coverage import benchmark_rows, rows_of_kind
from codepath.paper.exit_rows import BENCHMARK, probe_rows

PLAIN = "baseline"


class Network(NamedTuple):
    """What tells the rows of a trained network from all others."""

    experiment: str
    scale: str
    model: str = "coded"
    seeds: tuple[int, ...] = ()
    """Only these; empty: every seed that was measured."""
    folder: str = "."
    """The folder of its rows, within results/."""

    def rows(self, results: Path, kind: str) -> pd.DataFrame:
        """Its rows of one kind; of each seed those of the run that was measured last.

        The plain network's exits are those of its linear probes, which a benchmark measures.
        """
        if kind == "exits" and self.model == PLAIN:
            return self._of_seeds(self._probes(results / self.folder))
        every = rows_of_kind(results / self.folder, kind)
        known = _chosen.get((self, kind))
        if known is None or known[0] is not every:
            known = _chosen[self, kind] = (every, self._choose(every))
        return known[1]

    def _choose(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = self._of_seeds(
            rows[
                (rows["experiment"] == self.experiment)
                & (rows["scale"] == self.scale)
                & (rows["model"] == self.model)
            ]
        )
        if rows.empty:
            return rows
        return rows[rows["run_id"] == rows["seed"].map(rows.groupby("seed")["run_id"].last())]

    def _of_seeds(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["seed"].isin(self.seeds)] if self.seeds else rows

    def _probes(self, results: Path) -> pd.DataFrame:
        rows = benchmark_rows(results, BENCHMARK)
        if rows.empty:
            return rows
        coded = rows["run"].str.startswith(f"{self.experiment}-{self.scale}-coded-s")
        return probe_rows(results, set(rows[coded]["run"]))

    def named(self) -> str:
        """The network in words, for an error."""
        return f"{self.experiment}, {self.model}, at {self.scale} scale"

    def table(self, kind: str) -> str:
        """Where its rows of one kind stand."""
        if kind == "exits" and self.model == PLAIN:
            return f"results/benchmarks/{BENCHMARK}"
        return f"{'results' if self.folder == '.' else f'results/{self.folder}'}/{kind}.csv"


_chosen: dict[tuple[Network, str], tuple[pd.DataFrame, pd.DataFrame]] = {}
"""(network, kind) -> all rows that were read, and the network's among them."""

_EXTRACTION = {"extraction": "train.objective=extraction_and_cross_entropy+model.p_drop=0"}
_SECOND = {"second_extraction": f"{_EXTRACTION['extraction']}+train.score_scale=4"}
_SHARED = {
    "p_drop_0": "model.p_drop=0",
    "p_drop_0_2": "model.p_drop=0.2",
    "mu_0": "train.mu=0",
    "mu_2": "train.mu=2",
    "concatenated": "model.aggregate=concat",
}
"""A name -> the settings in which a network differs from Table 2's coded network."""
_SETTINGS = {
    "paper": _EXTRACTION,
    "cpu": _EXTRACTION
    | _SECOND
    | _SHARED
    | {
        "mu_12": "train.mu=12",
        "exponent_1": "train.exponent=1",
        "exponent_2": "train.exponent=2",
        "best_codewords": "model.scheme_family=best",
        "third_stage": "model.active=7,5,3",
        "fewer_paths": "model.active=10,(5,3),2",
    },
    "digits": _SHARED | {"mu_18": "train.mu=18"},
}


def networks() -> dict[str, Network]:
    """The networks that have numbers, by their names.

    No part of a name is a number alone, so that `decoders.NETWORK.4` names one thing.
    """
    found: dict[str, Network] = {}
    for name, network in (
        ("paper", Network("table2-cifar10", "paper")),
        ("cpu", Network("table2-cifar10", "cpu")),
        ("digits", Network("table2-digits", "demo", folder="demo")),
    ):
        found |= {name: network, f"{name}.plain": network._replace(model=PLAIN)}
        for setting, override in _SETTINGS[name].items():
            other = network._replace(experiment=f"{network.experiment}+{override}")
            found[f"{name}.{setting}"] = other
    for name, network in list(found.items()):
        if network.scale == "cpu":
            for which, seeds in (("seed0", (0,)), ("seed1", (1,)), ("seeds01", (0, 1))):
                found[f"{name}.{which}"] = network._replace(seeds=seeds)
    return found
