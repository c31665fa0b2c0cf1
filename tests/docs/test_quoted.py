"""Quoted numbers between their marks, on README and pages."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from codepath.cli import app
from codepath.core.errors import UserError
from codepath.paper.quoted import answer, names, quoted, refreshed
from tests.docs.fences import PAGES, ROOT

RESULTS = ROOT / "results"


def test_every_number_on_a_page_is_that_of_the_rows() -> None:
    for page in PAGES:
        assert refreshed(page.read_text(), RESULTS)[1] == [], (page, "make numbers")


def test_marks_stand_where_markdown_lets_them_be() -> None:
    for page in PAGES:
        text = page.read_text()
        assert "{{ quoted" not in text, page
        # a mark that begins a line would end its paragraph
        for name in re.findall(r"^ *(?:[-*] +)?<!-- ([\w.-]+) -->.", text, re.MULTILINE):
            raise AssertionError(f"{page}: <!-- {name} --> begins a line")
        for fence in re.findall(r"^ *```.*?^ *```$", text, re.MULTILINE | re.DOTALL):
            assert "<!-- / -->" not in fence, (page, fence)
    assert all(re.fullmatch(r"[\w.-]+", name) for name in names())


def test_numbers_are_those_of_the_rows() -> None:
    rows = pd.read_csv(RESULTS / "accuracy.csv").merge(pd.read_csv(RESULTS / "runs.csv"), on="run")
    own = rows[(rows["experiment"] == "table2-cifar10") & (rows["scale"] == "cpu")
               & (rows["model"] == "coded")].sort_values("created")  # fmt: skip
    latest = own.drop_duplicates("seed", keep="last")["value"]
    assert quoted("top1.cpu.mean", RESULTS) == f"{100 * latest.mean():.2f} %"
    assert quoted("top1.cpu", RESULTS) == f"{100 * latest.mean():.2f} ± {100 * latest.std():.2f} %"


def test_a_row_that_changes_changes_the_text(tmp_path: Path) -> None:
    for name in ("runs.csv", "accuracy.csv"):
        shutil.copy(RESULTS / name, tmp_path)
    text = "It is <!-- top1.paper.mean -->1 %<!-- / -->, <!-- a remark --> and $x_{{1}}$."
    before, old = refreshed(text, tmp_path)
    assert old == ["top1.paper.mean"]
    assert before == text.replace("1 %", quoted("top1.paper.mean", RESULTS), 1)
    assert refreshed(before, tmp_path) == (before, [])
    rows = pd.read_csv(tmp_path / "accuracy.csv")
    rows["value"] = rows["value"] / 2
    rows.to_csv(tmp_path / "accuracy.csv", index=False)
    assert refreshed(before, tmp_path)[1] == ["top1.paper.mean"]


def test_a_table_stands_alone() -> None:
    text, _ = refreshed("<!-- table.kept --><!-- / -->", RESULTS)
    assert text.startswith("<!-- table.kept -->\n\n| network")
    assert text.endswith(" |\n\n<!-- / -->")
    assert refreshed(text, RESULTS) == (text, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n<!-- top1.cpu -->1 % and <!-- top1.paper -->2 %<!-- / -->", "line 2: .*not closed"),
        ("<!-- top1.cpu -->1 %", "top1.cpu --> is not closed"),
        ("1 %<!-- / -->", "closes no number"),
        ("<!-- top1.cup -->1 %<!-- / -->", r"did you mean top1\.cpu"),
    ],
)
def test_marks_that_are_wrong_are_said(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        refreshed(text, RESULTS)


def test_the_command_refreshes_pages_in_place(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    page.write_text("It has <!-- top1.paper.mean -->1 %<!-- / -->.\n")
    other.write_text("No numbers.\n")
    words = ["numbers", str(page), str(other), "--results", str(RESULTS)]
    checked = CliRunner().invoke(app, [*words, "--check"])
    assert checked.exit_code == 1
    assert "page.md: top1.paper.mean" in checked.output
    assert "1 %" in page.read_text()
    assert CliRunner().invoke(app, words).exit_code == 0
    assert quoted("top1.paper.mean", RESULTS) in page.read_text()
    assert CliRunner().invoke(app, [*words, "--check"]).exit_code == 0
    page.write_text("<!-- top1.paper.mean -->1 %")
    broken = CliRunner().invoke(app, words)
    assert isinstance(broken.exception, UserError)
    assert "page.md: line 1" in str(broken.exception)


def test_missing_rows_and_unknown_names_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'top1.cpu': no rows of accuracy of table2-cifar10"):
        quoted("top1.cpu", tmp_path)
    with pytest.raises(UserError, match=r"'kept.C10': no rows of benchmarks/architectures.csv"):
        quoted("kept.C10", tmp_path)
    with pytest.raises(UserError, match=r"did you mean top1\.cpu"):
        quoted("top1.cup", RESULTS)


def test_queries_answer_or_say_what_is_missing() -> None:
    texts = []
    for name in list(names())[::9]:
        with contextlib.suppress(UserError):  # whose text the test above looks at
            texts.append(answer(name, RESULTS).text)
    assert len(texts) > 100
    assert all(texts)


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = re.sub(r"<!--.*?-->", "", (ROOT / "README.md").read_text())  # as a reader sees it
    assert text.count("\n") <= 150
    assert len(text.encode()) <= 9000
    for link in re.findall(r"\]\(([^)#:\s]+)[)#]", text):
        assert (ROOT / link).exists(), link
