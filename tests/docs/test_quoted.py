"""Quoted numbers, and the README that is made of them."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from codepath.core.errors import UserError
from codepath.paper.quoted import answer, fill, names, quoted, rendered_readme, used_names
from tests.docs.fences import DOCS, PAGES, ROOT

RESULTS = ROOT / "results"


def test_every_name_on_a_page_has_its_rows() -> None:
    for page in PAGES:
        for name in used_names(page.read_text()):
            found = answer(name, RESULTS)
            assert found.text, (page, name)
            assert found.place, (page, name)


def test_no_page_quotes_in_another_form() -> None:
    for page in PAGES:
        text = page.read_text()
        assert len(re.findall(r"\{\{ ?quoted", text)) == len(
            re.findall(r"\{\{ quoted\(\"[\w.%-]+\"\) \}\}", text)
        ), page


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
    text = 'It is {{ quoted("top1.paper.mean") }}, $x_{{1}}$ and {{ other }}.'
    before = fill(text, tmp_path)
    assert before.endswith("$x_{{1}}$ and {{ other }}.")
    rows = pd.read_csv(tmp_path / "accuracy.csv")
    rows["value"] = rows["value"] / 2
    rows.to_csv(tmp_path / "accuracy.csv", index=False)
    assert fill(text, tmp_path) != before


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


def test_the_readme_is_up_to_date_and_short() -> None:
    text = rendered_readme(DOCS / "readme.md.j2", RESULTS)
    assert (ROOT / "README.md").read_text() == text, "make readme"
    assert text.count("\n") <= 150
    assert len(text.encode()) <= 9000
    for link in re.findall(r"\]\(([^)#:\s]+)[)#]", text):
        assert (ROOT / link).exists(), link
