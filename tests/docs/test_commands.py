"""Every command and piece of Python on README and pages: parsed, and run where that is cheap."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from codepath.core.errors import UserError
from codepath.experiments import find_experiment
from codepath.store.schema import BENCHMARKS
from tests.docs.fences import PAGES, ROOT, Command, commands, fences, parsed, program_arguments

_FREE = {
    ".", "apt-get", "cat", "cd", "chromium", "cp", "echo", "eval", "export", "git", "ls", "mkdir",
    "mv", "pip", "pre-commit", "source", "squeue", "sudo", "tar", "unset", "xdg-open",
}  # fmt: skip
"""Programs that are not this project's, of which nothing is checked."""
_WITH_FILE = {"python", "python3", "sbatch", "bash", "jupyter", "torchrun", "pytest"}
"""Programs that are given files of the project."""
ALL = [(fence, command) for page in PAGES for fence in fences(page, "sh")
       for command in commands(fence)]  # fmt: skip


def named(command: Command) -> str:
    return f"{command.place} {' '.join(command.words)}"


def check(command: Command) -> None:
    """AssertionError where the project has no such command, option, target, experiment or file."""
    words = command.words
    arguments = program_arguments(words)
    program = words[0].rpartition("/")[2]
    if arguments is not None:
        check_program(arguments)
    elif program == "make":
        made = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True,
                              check=False)  # fmt: skip
        assert not made.returncode, made.stderr
    elif wrapped := [word for word in words if word.startswith("--wrap=")]:  # sbatch
        check(Command(shlex.split(wrapped[0].removeprefix("--wrap=")), command.place))
    elif program in _WITH_FILE:
        files = [word.split("::")[0] for word in words[1:] if word.endswith((".py", ".sbatch"))
                 or word.startswith(("tests/", "notebooks/", "slurm/"))]  # fmt: skip
        assert files or "-m" in words, f"no file in {words}"
        assert all((ROOT / file).exists() for file in files), files
    elif "/" in words[0]:
        path = words[0].removeprefix("./")
        assert (ROOT / path).exists() or path.startswith(".venv/"), words
    else:
        assert program in _FREE, f"what is {program}? name it in this test, or mend the page"


def check_program(arguments: list[str]) -> None:
    """The same for arguments of `codepath`."""
    found = parsed(arguments)
    command, name = found.get("command"), str(found.get("name", ""))
    if command in ("run", "show"):
        find_experiment(name.split("+")[0])
    if command == "bench" and name:
        assert name in BENCHMARKS or (ROOT / "benchmarks" / f"{name}.py").exists(), name


@pytest.mark.parametrize("command", [command for _, command in ALL], ids=named)
def test_the_project_has_every_command(command: Command) -> None:
    check(command)


def test_commands_that_do_not_exist_are_found() -> None:
    for words in (["codepath", "run", "table2-digits", "--sedes", "3"], ["codepath", "runn"],
                  ["codepath", "run", "table9-digits"], ["make", "demos"], ["frobnicate"],
                  ["python", "notebooks/no.py"],
                  ["sbatch", "--wrap=codepath dta build"]):  # fmt: skip
        with pytest.raises((AssertionError, UserError, Exception)):
            check(Command(words, "here"))


def folder_of(page: Path, base: Path) -> Path:
    """A folder as a reader of the page has it: rows, a photograph."""
    folder = base / page.stem
    folder.mkdir()
    (folder / "results").symlink_to(ROOT / "results")
    from codepath.explore.samples import samples

    shutil.copy(samples()[0].path, folder / "photo.jpg")
    return folder


def run(command: Command, folder: Path) -> None:
    """Run one command in a folder; `codepath` within this process, which has torch loaded."""
    arguments = program_arguments(command.words)
    if arguments is None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command.words, cwd=folder, env=environment, timeout=120,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not done.returncode, f"{named(command)}\n{done.stdout}{done.stderr}"
        return
    from codepath.cli import app

    result = CliRunner().invoke(app, arguments)
    assert not result.exit_code, f"{named(command)}\n{result.output}\n{result.exception!r}"


RUN = [page for page in PAGES if any(not fence.dry for fence in fences(page, "sh", "python"))]


@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(page, tmp_path)
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    for fence in fences(page, "sh", "python"):
        if fence.language == "python":
            code = compile("\n" * fence.line + fence.text, str(fence), "exec")
            if not fence.dry:
                exec(code, names)
        elif not fence.dry:
            for command in commands(fence):
                run(command, folder)


def test_every_fence_has_a_language() -> None:
    assert not [str(fence) for page in PAGES[:-3] for fence in fences(page, "")]
    assert sys.version_info >= (3, 11)
