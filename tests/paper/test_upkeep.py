"""What is up to date is left as it is, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codepath.cli import app
from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.paper import build, upkeep
from codepath.paper.build import build_figures
from codepath.paper.gallery import Gallery
from codepath.paper.report.page import write_report
from codepath.paper.upkeep import CACHE
from tests.made_up import keep_runs


def state(out: Path) -> dict[str, tuple[int, bytes]]:
    """All that a person sees of a folder."""
    files = [path for path in out.rglob("*") if path.is_file() and CACHE not in path.parts]
    return {str(p.relative_to(out)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def contents(out: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in state(out).items()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where files are made: the rows lie beside."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def drawn(made_up_cifar10: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All pictures of CIFAR-10's made-up rows, by one process."""
    out = tmp_path_factory.mktemp("drawn")
    build_figures(made_up_cifar10, out, processes=1)
    return contents(out)


def test_any_number_of_processes_gives_the_same_bytes(
    made_up_cifar10: Path, drawn: dict[str, bytes], out: Path
) -> None:
    built = build_figures(made_up_cifar10, out, processes=3)
    assert built.drawn == len(built.paths) // 2
    assert contents(out) == drawn


def test_pictures_that_are_up_to_date_are_left_out(
    results: Path, drawn: dict[str, bytes], out: Path
) -> None:
    build_figures(results, out, processes=1)
    before = state(out)
    assert build_figures(results, out).drawn == 0
    assert state(out) == before
    (out / "figures" / "codes.pdf").unlink()
    (out / "figures" / "decoding.png").write_bytes(b"altered")
    redrawn: list[str] = []
    build_figures(results, out, lambda path: redrawn.append(path.name), processes=1)
    assert sorted(redrawn) == ["codes.pdf", "codes.png", "decoding.pdf", "decoding.png"]
    assert contents(out) == drawn
    assert build_figures(results, out, force=True).drawn == len(drawn) // 2
    assert contents(out) == drawn


def test_added_rows_redraw_the_pictures_that_read_them(
    results: Path, drawn: dict[str, bytes], out: Path
) -> None:
    every = {path: path.read_bytes() for path in results.glob("*.csv")}
    keep_runs(results, lambda line: "exponent=2" not in line)
    build_figures(results, out, processes=1)
    for path, content in every.items():
        path.write_bytes(content)
    redrawn: list[str] = []
    build_figures(results, out, lambda path: redrawn.append(path.name), processes=1)
    assert sorted(redrawn) == [f"exponent-cifar10-paper.{suffix}" for suffix in ("pdf", "png")]
    assert contents(out) == drawn


def test_other_code_draws_all_anew(
    results: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_figures(results, out, processes=1).drawn
    monkeypatch.setattr("codepath.paper.catalogue.code_digest", lambda: "another")
    assert build_figures(results, out, processes=1).drawn == first


@pytest.mark.parametrize("damage", ["", "{", '{"entries": [{"name": 1}]}', "[]"])
def test_a_damaged_cache_is_none(out: Path, damage: str) -> None:
    for name in ("pictures.json", "figures.json"):
        (out / CACHE).mkdir(parents=True, exist_ok=True)
        (out / CACHE / name).write_text(damage)
    assert Gallery(out).entries == {}
    assert upkeep.kept(out, "figures", "x") is None


def test_an_interrupted_call_keeps_what_it_drew(
    results: Path, drawn: dict[str, bytes], out: Path
) -> None:
    def stop(path: Path) -> None:
        if path.suffix == ".png":
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="what was drawn is kept"):
        build_figures(results, out, stop, processes=1)
    assert len(contents(out)) == 2
    assert build_figures(results, out, processes=1).drawn == len(drawn) // 2 - 1
    assert contents(out) == drawn


def test_an_interrupt_ends_all_processes_with_one_line(
    results: Path, drawn: dict[str, bytes], out: Path
) -> None:
    call = [sys.executable, "-m", "codepath.cli", "figures", "--results", str(results)]
    running = subprocess.Popen(
        [*call, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    running.stdout.readline()  # the first picture is drawn
    os.killpg(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert said.strip() == "interrupted: what was drawn is kept; repeat the command to go on"
    with pytest.raises(ProcessLookupError):  # no process of the session is left
        os.killpg(running.pid, 0)
    assert not list(out.rglob("*.tmp"))
    assert 0 < build_figures(results, out, processes=1).drawn < len(drawn) // 2
    assert contents(out) == drawn


def test_an_error_of_a_process_is_its_own(
    results: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no ink")

    monkeypatch.setattr(build.style, "save", fail)
    with pytest.raises(UserError, match="no ink"):
        build_figures(results, out, processes=2)


def test_the_report_is_the_same_whoever_drew_its_figures(results: Path, out: Path) -> None:
    alone, after = out / "alone", out / "after"
    page, _ = write_report(results, alone)
    build_figures(results, after, processes=1)
    before = state(after)
    same, _ = write_report(results, after)
    assert same.read_bytes() == page.read_bytes()
    assert {name: of for name, of in state(after).items() if name in before} == before
    assert not (alone / "figures").exists()


WITHOUT_PANDAS = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "matplotlib", "torch"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
from codepath.cli import main
main()
"""
COMMANDS = ("figures", "tables", "compare", "verdict", "report")


def test_commands_with_nothing_to_do_say_so(results: Path, out: Path) -> None:
    runner = CliRunner()
    for command in COMMANDS:
        place = [command, "--results", str(results), "--out", str(out)]
        first = runner.invoke(app, place)
        assert first.exit_code == 0, first.output
        before = state(out)
        again = subprocess.run(  # so soon that neither pandas nor matplotlib is needed
            [sys.executable, "-c", WITHOUT_PANDAS, *place],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        assert again.stdout.startswith(f"{command}: up to date (")
        assert state(out) == before
        always = [line for line in first.output.splitlines() if not line.startswith("wrote")]
        assert again.stdout.splitlines()[1:] == always
        forced = runner.invoke(app, [*place, "--force"])
        assert sorted(forced.output.splitlines()) == sorted(first.output.splitlines())
        assert contents(out) == {name: content for name, (_, content) in before.items()}
    assert "of 99 claims" in runner.invoke(app, ["verdict", *place[1:]]).output


def test_what_is_missing_is_named_every_time(results: Path, out: Path) -> None:
    (results / "removal.csv").unlink()
    place = ["tables", "--results", str(results), "--out", str(out), "--strict"]
    for _ in range(2):
        done = CliRunner().invoke(app, place)
        assert done.exit_code != 0
        assert "missing: table2 of table2-cifar100" in done.output
    assert "up to date" in done.output


@pytest.mark.parametrize("change", ["rows", "benchmark", "output", "option"])
def test_a_command_works_again_where_anything_changed(
    results: Path, out: Path, change: str
) -> None:
    place = ["tables", "--results", str(results), "--out", str(out)]
    assert CliRunner().invoke(app, place).exit_code == 0
    before = contents(out)
    if change == "rows":
        keep_runs(results, lambda line: "exponent=2" not in line)
    elif change == "benchmark":
        path = results / "benchmarks" / "architectures.csv"
        path.write_text(path.read_text().replace(",200262,", ",200263,"))
    elif change == "output":
        (out / "tables" / "table2.md").write_text("altered")
    else:
        place += ["--scale", "cpu"]
    done = CliRunner().invoke(app, place)
    assert "wrote" in done.output
    assert (contents(out) == before) == (change in ("output", "option"))


def test_a_stamp_names_files_below_its_folder_alone(results: Path, out: Path) -> None:
    CliRunner().invoke(app, ["tables", "--results", str(results), "--out", str(out)])
    stamp = json.loads((out / CACHE / "tables.json").read_text())
    assert all((out / name).is_file() for name in stamp["files"])
