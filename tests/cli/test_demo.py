"""How `codepath demo` ends, on made-up rows: what came out, where it is, and what to do next."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codepath.cli import app, experiment_commands
from tests.made_up import keep_runs, write_results

ARGUMENTS = ["demo", "--seeds", "2", "--runs"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """What the demo trains; instead, it gets made-up rows of two seeds."""
    calls: list[tuple[str, str, int]] = []

    def run(name: str, scale: str, seeds: int, runs: Path) -> None:
        calls.append((name, scale, seeds))
        results = runs / "demo" / "results"
        if not results.exists():
            write_results(results, ("demo",), seeds=2, dataset="digits")
            keep_runs(results, lambda line: ",table2-digits,demo," in line)

    monkeypatch.setattr(experiment_commands, "run", run)
    return calls


def test_it_ends_with_what_came_out_and_what_to_do(tmp_path: Path, asked: list) -> None:
    done = CliRunner().invoke(app, [*ARGUMENTS, str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert asked == [("table2-digits", "demo", 2)]
    made, following, left_out = done.output.strip().split("\n\n")[-3:]
    top1, *places = made.splitlines()
    assert top1 == (
        "top-1 on 10,000 test images of digits: coded 98.05 ± 0.07 %, plain 96.85 ± 0.07 % "
        "(2 seeds)"
    )
    files = [re.search(rf"{tmp_path}\S+", line) for line in places]
    assert all(file is not None and Path(file[0]).stat().st_size > 1000 for file in files)
    assert [Path(file[0]).name for file in files if file] == [
        "report.html",
        "overview-digits-demo.png",
        "claims.md",
    ]
    assert "codepath explore " in following
    assert "missing" not in done.output
    (line,) = left_out.splitlines()
    assert line.startswith("Not drawn, since they compare trainings that a demo leaves out: ")
    assert {"concat", "exponent", "fig5", "fig6", "objective"} <= set(re.findall(r"\w+", line))
    again = CliRunner().invoke(app, [*ARGUMENTS, str(tmp_path)])
    assert again.output == done.output
