"""The queries behind quoted numbers, held to the rows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from codepath.core.errors import UserError
from codepath.paper.quoted import names, quoted, search
from codepath.paper.quoted.alike import Beginning, Source, alike, chosen
from codepath.paper.quoted.networks import networks
from codepath.paper.quoted.tables import TABLES
from tests.docs.fences import ROOT

RESULTS = ROOT / "results"
OBJECTIVES = RESULTS / "benchmarks/objectives.csv"


def top1_by_seed(experiment: str, model: str) -> pd.Series:
    rows = pd.read_csv(RESULTS / "accuracy.csv").merge(pd.read_csv(RESULTS / "runs.csv"), on="run")
    mine = rows[(rows["experiment"] == experiment) & (rows["scale"] == "cpu")
                & (rows["model"] == model)].sort_values("created")  # fmt: skip
    return mine.drop_duplicates("seed", keep="last").set_index("seed")["value"]


def test_one_definition_gives_a_number_for_every_choice() -> None:
    rows = pd.DataFrame(
        {"what": ["a", "a", "b", None], "device": ["EPYC 1", "Xeon", "EPYC 2", "Xeon"],
         "size": [1, 2, 3, 4]}
    )  # fmt: skip
    source = Source("rows.csv", lambda _: rows, lambda _, found: f"{len(found)} rows")
    found = alike("{what}.{device}", source, lambda some: str(some["size"].sum()),
                  {"size": (1, 2, 3)}, what=["a", "b"],
                  device={"amd": Beginning("EPYC"), "intel": {"device": "Xeon"}})  # fmt: skip
    assert list(found) == ["a.amd", "a.intel", "b.amd", "b.intel"]
    assert found["a.amd"](ROOT) == ("1", "1 rows")
    assert found["a.intel"](ROOT).text == "2"
    with pytest.raises(UserError, match=r"no rows of rows\.csv with size \(1, 2, 3\), what b, dev"):
        found["b.intel"](ROOT)
    assert chosen(rows, {"what": "c"}).empty
    assert len(chosen(rows, {"what": Beginning("")})) == 3  # a missing value is no text


def test_no_part_of_a_networks_name_is_a_number_alone() -> None:
    # else decoders.NETWORK.4, which is of a block, could be a number of another network
    for name in networks():
        assert not [part for part in name.split(".") if part.isdigit()], name


def test_two_networks_are_compared_at_the_seeds_of_both() -> None:
    plain = top1_by_seed("table2-cifar10", "baseline")
    other = top1_by_seed("table2-cifar10+train.mu=0", "coded")
    assert len(plain) > len(other)
    points = 100 * (plain - other).dropna().mean()
    said = quoted("difference.top1.cpu.plain-cpu.mu_0", RESULTS)
    assert said.startswith(f"{points:.2f} points (SE ")
    assert quoted("difference.top1.cpu.plain-cpu.mu_0.mean", RESULTS) == f"{points:.2f} points"
    with pytest.raises(UserError, match="baseline, at paper scale"):
        quoted("difference.top1.paper-paper.plain", RESULTS)


def test_the_plain_networks_exits_are_means_over_the_seeds_of_its_probes() -> None:
    rows = pd.read_csv(RESULTS / "benchmarks/early_exit-cpu.csv")
    rows = rows[(rows["method"] == "probes") & (rows["budget"] == 0.7)].sort_values("created")
    of = rows.drop_duplicates("seed", keep="last")["top1"]
    assert len(of) > 1
    assert quoted("exits.cpu.plain.probes.70", RESULTS) == f"{100 * of.mean():.2f} %"


def test_removing_paths_changes_top1_by_what_the_two_numbers_differ() -> None:
    def number(name: str) -> float:
        return float(quoted(name, RESULTS).split()[0])

    whole = number("top1.paper.mean")
    lost, gained = number("removal_loss.paper"), number("removal_gain.paper")
    assert lost == pytest.approx(whole - number("removal.paper.active"), abs=0.011)
    assert gained == pytest.approx(number("removal.paper.inactive") - whole, abs=0.011)


@pytest.mark.parametrize("name", TABLES)
def test_a_tables_cells_are_quoted_numbers(name: str) -> None:
    lines = quoted(name, RESULTS).splitlines()[2:]
    cells = TABLES[name].cells()
    assert len(lines) == len(cells) > 5
    for line, (title, numbers) in zip(lines, cells, strict=True):
        assert set(numbers) <= set(names())
        texts = [quoted(number, RESULTS) for number in numbers]
        assert line.startswith(" | ".join([f"| {title}", *texts]))


def with_rows(folder: Path, **settings: object) -> Path:
    """A copy of the results in which the chosen objective was trained once more."""
    (folder / "benchmarks").mkdir(parents=True)
    rows = pd.read_csv(OBJECTIVES)
    mine = chosen(rows, {**search.TRAININGS["chosen"], "metric": ("top1", "decoder")})
    again = mine.assign(value=0.5, created="2027-01-01T00:00:00+00:00", **settings)
    pd.concat([rows, again]).to_csv(folder / "benchmarks/objectives.csv", index=False)
    return folder


def test_a_training_that_is_added_to_the_search_needs_a_name_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = with_rows(tmp_path / "other", asked=0.25)
    assert quoted("table.search", results) == quoted("table.search", RESULTS)
    own = search.TRAININGS["chosen"]
    monkeypatch.setitem(search.TRAININGS, "more_questions", {**own, "asked": 0.25})
    numbers = search.numbers()
    assert numbers["search.more_questions.top1"](results).text == "50.0 %"
    assert numbers["search.more_questions.decoders.ends"](results).text == "50.0 and 50.0 %"


def test_the_search_takes_means_over_seeds_and_of_each_seed_the_latest(tmp_path: Path) -> None:
    first = float(quoted("search.chosen.top1", RESULTS).split()[0])
    results = with_rows(tmp_path / "seed", seed=1)
    assert quoted("search.chosen.seeds", results) == "2"
    said = float(quoted("search.chosen.top1", results).split()[0])
    assert said == pytest.approx((first + 50) / 2, abs=0.1)
    assert quoted("search.chosen.top1", with_rows(tmp_path / "same")) == "50.0 %"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"own_share": 0.9}, r"differ in own_share \(0\.5, 0\.9\)"),
        ({"p_drop": 0.1}, "in p_drop"),
    ],
)
def test_the_search_never_mixes_two_trainings(
    settings: dict[str, object], said: str, tmp_path: Path
) -> None:
    results = with_rows(tmp_path / "mixed", **settings)
    with pytest.raises(UserError, match=f"'search.chosen.top1'.*{said}.*TRAININGS"):
        quoted("search.chosen.top1", results)


def test_the_papers_numbers_are_called_published() -> None:
    assert quoted("published.top1.cifar10", RESULTS) == "94.41 %"
    assert quoted("published.margin.cifar10", RESULTS) == "0.75 points"
    assert quoted("published.top1.imagenet", RESULTS) == "78.12 %"  # mu = 1, not 4
    assert quoted("published.kept", RESULTS) == "38, 27 and 35 %"
    own = pd.read_csv(ROOT / "paper/reference/fig2b_binary_cifar10.csv").query("negatives == 'in'")
    assert quoted("published.precision", RESULTS) == f"{own['precision'].mean():.1f} %"
    for name in names():
        if name.startswith("published."):
            assert names()[name](RESULTS).place.startswith("paper/reference/"), name


def test_how_far_off_is_what_claims_say(tmp_path: Path) -> None:
    claims = (ROOT / "paper/claims.md").read_text().replace(" the paper", "")
    claims = claims.replace("the largest, ", "")
    found = [name for name in names() if name.startswith("off.")]
    assert len(found) > 15
    for name in found:
        assert f"| {quoted(name, RESULTS)} |" in claims, name
    shutil.copytree(RESULTS / "benchmarks", tmp_path / "benchmarks")
    with pytest.raises(UserError, match="0 judged claims of Fig 4 begin with"):
        quoted("off.fig4.cifar10", tmp_path)


UNIT = r"(?:\s?%|\s(?:points?|[GM]i?B|times|seconds|minutes|hours)\b)"
TYPED = re.compile(rf"\d[\d,]*(?:\.\d+)?{UNIT}|\d+\.\d+")
NOT_MEASURED = {
    "README.md": ("70 % of the multiply-adds", "Python 3.11", "7 GB of disk"),
    "docs/binary-classifiers.md": (
        *("95 % intervals", "at most 40 % of", "at 40 % of the", "at 30 % and", "at 20 %."),
        "1.1 GB of memory and 0.5 GB of disk. These figures are estimates",
    ),
    "docs/cluster.md": (
        *("Slurm 22.05", "at most 3 minutes", "at most 5 minutes", "more than 20 minutes"),
        *("25 seconds before the end", "pieces of 15 MiB, 60 MiB at most"),
    ),
    "docs/coding-schemes.md": ("deviation of 0.35", "deviation of 0.8", "20 paths at 0.35"),
    "docs/decisions/locked-versions.md": ("CPython 3.11.5 or a later 3.11",),
    "docs/decisions/tested-versions.md": ("torch 2.14.1", "torchvision 0.29.1", "torch 2.11.0"),
    "docs/early-exits.md": (
        *("60 % of the multiply-adds on average", "60, 70 or 80 % of the multiply-adds"),
        *("At 70 % they lose", "| 50 % | 60 % | 70 % | 80 % |", "75 % of the multiply-adds"),
        "at 70 and 80 % of the multiply-adds",
    ),
    "docs/evidence.md": ("60, 70 and 80 % of the multiply-adds",),
    "docs/promises.md": ("Slurm 22.05", "Python 3.11"),
    "docs/quick-start.md": ("Python 3.11", "7 GB of disk"),
    "docs/training.md": ("torch 2.11,",),
    "paper/NOTES.md": (
        *("With 0.1 in place of 0", "p_drop = 0.2 costs accuracy against 0.1", "p_drop = 0.1"),
        *("with 0.2 it is", "60 and 70 % of the multiply-adds", "At 80 % of the"),
        *("A budget of 70 % of the", "With 80 % it"),
    ),
}
"""Page -> its numbers with a point or a unit that are settings, versions or estimates."""


def test_no_measured_number_is_typed_by_hand() -> None:
    pages = [ROOT / "README.md", ROOT / "paper/NOTES.md", *(ROOT / "docs").rglob("*.md")]
    for path in pages:
        page = str(path.relative_to(ROOT))
        if page.startswith(("docs/reference/", "docs/build/")):
            continue
        text = path.read_text()
        text = re.sub(r"<!-- [\w.-]+ -->.*?<!-- / -->", "", text, flags=re.DOTALL)
        text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
        text = re.sub(r"`[^`\n]*`|\]\([^)\n]*\)|\$[^$]*\$", "", text)
        text = " ".join(text.split())
        for phrase in NOT_MEASURED.get(page, ()):
            assert phrase in text, f"{page} has no '{phrase}' any more: take it off the list"
            text = text.replace(phrase, "")
        assert TYPED.findall(text) == [], f"{page}: a number of ours needs a query and marks"
