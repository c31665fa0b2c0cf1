"""Numbers that compare two of a network's answers, or two networks; differences are in points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from codepath.paper.claims.judge import Comparison, compare
from codepath.paper.quoted.answer import Answer, Query, needed, place
from codepath.paper.quoted.trained import BUDGETS, Network, budget_rows, networks
from codepath.paper.setting_rows import top1_of
from codepath.paper.tables.layout import markdown

Choose = Callable[[pd.DataFrame], pd.DataFrame]


def _top1(results: Path, network: Network) -> pd.DataFrame:
    return needed(top1_of(network.rows(results, "accuracy")), f"accuracy of {network.named()}")


def _between(larger: Network, smaller: Network) -> Query:
    """By how much one network's top-1 is above the other's, with the standard error."""

    def query(results: Path) -> Answer:
        first, second = _top1(results, larger), _top1(results, smaller)
        found = compare(first, second)
        both = pd.concat([first, second])
        return Answer(
            f"{100 * found.mean:.2f} points (SE {100 * found.error:.2f})",
            place(both, "results/accuracy.csv"),
        )

    return query


def _loss(network: Network, decoder: str, budget: float, over_seeds: bool) -> Query:
    """What early exits lose of the network's top-1: the mean, or the range over seeds."""

    def query(results: Path) -> Answer:
        what = f"exits of {network.named()}"
        exits = needed(budget_rows(network.rows(results, "exits"), decoder, (budget,)), what)
        whole = _top1(results, network)
        of_seed = [rows.groupby("seed")["value"].mean().astype(float) for rows in (whole, exits)]
        lost = 100 * (of_seed[0] - of_seed[1]).dropna()
        text = f"{lost.min():.2f} to {lost.max():.2f}" if over_seeds else f"{lost.mean():.2f}"
        return Answer(f"{text} points", place(exits, "results/exits.csv, accuracy.csv"))

    return query


def _of_decoder(decoder: str, block: int | str) -> Choose:
    """Top-1 of a decoder at a block, or at the first or last one."""

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[(rows["decoder"] == decoder) & (rows["metric"] == "top1")]
        ends = {"first": rows["block"].min(), "last": rows["block"].max()}
        return rows[rows["block"] == ends.get(str(block), block)]

    return choose


def _at_budget(decoder: str, budget: float) -> Choose:
    return lambda rows: budget_rows(rows, decoder, (budget,))


def _gain(network: Network, kind: str, linear: Choose, eq7: Choose, error: bool) -> Query:
    """By how much linear decoders are above Eq. 7, with the standard error where asked."""

    def query(results: Path) -> Answer:
        rows = network.rows(results, kind)
        first, second = (
            needed(choose(rows), f"{kind} of {network.named()}") for choose in (linear, eq7)
        )
        found = compare(first, second)
        end = f" (SE {100 * found.error:.2f})" if error else ""
        return Answer(f"{100 * found.mean:.2f} points{end}", place(first, f"results/{kind}.csv"))

    return query


def _linear_table(network: Network, blocks: range, budgets: tuple[float, ...]) -> Query:
    """Eq. 7 and linear decoders side by side: blocks, then exits at budgets."""
    columns = [(f"block {block}", "decoders", _of_decoder("linear", block),
                _of_decoder("eq7", block)) for block in blocks]  # fmt: skip
    columns += [(f"exits at {budget:.0%}", "exits", _at_budget("linear", budget),
                 _at_budget("eq7", budget)) for budget in budgets]  # fmt: skip

    def query(results: Path) -> Answer:
        body = [["Eq. 7"], ["linear"], ["difference (SE)"]]
        used = []
        for _, kind, linear, eq7 in columns:
            rows = network.rows(results, kind)
            first, second = (
                needed(choose(rows), f"{kind} of {network.named()}") for choose in (eq7, linear)
            )
            found: Comparison = compare(second, first)
            cells = [*(f"{100 * rows['value'].mean():.2f} %" for rows in (first, second)),
                     f"{100 * found.mean:+.2f} ({100 * found.error:.2f})"]  # fmt: skip
            for line, cell in zip(body, cells, strict=True):
                line.append(cell)
            used.append(second)
        text = markdown(["", *(name for name, *_ in columns)], body).rstrip("\n")
        return Answer(text, place(pd.concat(used), "results/decoders.csv, exits.csv"))

    return query


def _gains(network: Network, name: str) -> dict[str, Query]:
    """Linear decoders against Eq. 7, at blocks and for exits at budgets (per cent)."""
    found = {}
    for end in ("first", "last", *range(3, 10)):
        linear, eq7 = (_of_decoder(decoder, end) for decoder in ("linear", "eq7"))
        for error in (False, True):
            key = f"{name}.{end}{'.error' if error else ''}"
            found[key] = _gain(network, "decoders", linear, eq7, error)
    for budget in BUDGETS:
        linear, eq7 = (_at_budget(decoder, budget) for decoder in ("linear", "eq7"))
        for error in (False, True):
            key = f"{name}.exits.{100 * budget:.0f}{'.error' if error else ''}"
            found[key] = _gain(network, "exits", linear, eq7, error)
    return found


def numbers() -> dict[str, Query]:
    """Name -> query."""
    of = networks()
    found = {
        "top1.difference.cpu": _between(of["cpu.plain"], of["cpu"]),
        "top1.difference.cpu.extraction": _between(of["cpu.plain"], of["cpu.extraction"]),
        "top1.difference.paper": _between(of["paper"], of["paper.plain"]),
        "top1.difference.digits": _between(of["digits.plain"], of["digits"]),
        "table.linear": _linear_table(of["cpu"], range(3, 7), (0.5, 0.6, 0.7)),
    }
    for name in ("paper", "cpu", "cpu.extraction", "paper.extraction"):
        for decoder in ("eq7", "linear", "combined"):
            for budget in BUDGETS:
                key = f"loss.{name}.{decoder}.{100 * budget:.0f}"
                found[key] = _loss(of[name], decoder, budget, over_seeds=False)
                found[f"{key}.range"] = _loss(of[name], decoder, budget, over_seeds=True)
    for name in ("paper", "cpu"):
        found |= _gains(of[name], f"gain.linear.{name}")
    return found
