"""Names from outside in rows: report, figures, tables and claims show them as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from codepath.paper.claims.verdict import write_claims
from codepath.paper.report.page import write_report
from codepath.paper.tables.table_files import write_tables
from tests.parts.test_names_from_outside import EVIL, FOLDER, Elements, rendered

DEVICE = "<b onclick=alert(1)>x</b> | `y` $z$"


@pytest.fixture
def evil_results(results: Path) -> Path:
    """Made-up rows whose classes, source and device have names from outside."""
    names = {f"c{k}": name for k, name in enumerate(EVIL)}
    for path in results.glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if path.stem == "runs":
            frame = frame.assign(source=FOLDER, device=DEVICE)
        elif "class" in frame:
            frame["class"] = frame["class"].replace(names)
        frame.to_csv(path, index=False, lineterminator="\n")
    return results


@pytest.mark.slow
def test_names_in_rows_are_shown_as_text(evil_results: Path, tmp_path: Path, browser: Any) -> None:
    path, _ = write_report(evil_results, tmp_path)
    text = path.read_text()
    page = Elements(text)
    assert FOLDER in page.text
    assert DEVICE in page.text
    assert [tag for tag, _ in page.found].count("script") == 1  # the page's own
    assert not {"img", "b"} & page.names
    assert not any(key.startswith("on") for _, given in page.found for key in given)
    tips = "\n".join(str(given.get("data-tip")) for _, given in page.found)
    assert all(name in tips for name in EVIL if name != "..")
    tab = browser.new_context(offline=True).new_page()
    problems: list[str] = []
    tab.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(request.url))
    tab.goto(path.as_uri())
    for spot in tab.locator("#figure-fig2b-cifar10-paper .spot").all()[:5]:
        spot.dispatch_event("pointerover")
    assert problems == []
    tab.context.close()
    for name in [*write_tables(evil_results, tmp_path)[0], write_claims(evil_results, tmp_path)[0]]:
        if name.suffix == ".md":
            assert rendered(name.read_text()).harmless(), name
            assert "img" not in rendered(name.read_text()).names
