"""The package as a wheel: everything works in an empty folder, away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from codepath import store
from codepath.core.provenance import REPO_ROOT

CODED = "runs/demo/table2-digits/coded-s0"
SECRET = "hunter2-do-not-record"
SECRETS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "GITHUB_TOKEN", "WANDB_API_KEY", "MY_PASSWORD")
"""Variables of a user's environment that no file may hold."""
IN_A_WHEEL = ("codepath", "benchmarks", "paper/reference", "slurm", "pyproject.toml", "setup.py",
              "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel installed, built from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in IN_A_WHEEL:
        place = REPO_ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy2(place, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("codepath-*.whl")
    packages = folder / "packages"
    install = [*pip, "install", *offline, "--target", str(packages), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=300)
    return packages


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder in a repository that has nothing to do with the package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (folder / "empty").mkdir()
    return folder / "empty"


def call(installed: Path, here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    environment |= dict.fromkeys(SECRETS, SECRET) | {"HOME": str(here.parent)}
    return subprocess.run(
        [sys.executable, "-m", "codepath.cli", *words],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_from_the_demo_to_the_report(installed: Path, here: Path) -> None:
    """Each command finds what the one before it wrote."""
    for words in (
        ("run", "table2-digits", "--scale", "demo"),
        ("figures",),
        ("tables",),
        ("compare",),
        ("verdict",),
        ("report",),
        ("codes", "show", "10-10-5"),
        ("extract", CODED, "--class", "3", "--turns", "0", "--out", "classifiers"),
        ("exits", CODED),
        ("explain", CODED, "test:3"),
        ("pretrained",),
        ("explain", str(installed / "codepath" / "explore" / "samples" / "ship-2.jpg")),
        ("bench",),
        ("bench", "architectures"),
        ("show", "table2-digits"),
        ("submit", "table2-digits", "--dry-run"),
        ("doctor",),
    ):
        done = call(installed, here, *words)
        assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        if words[0] in ("figures", "verdict", "report"):
            assert done.stdout.startswith("rows of runs/demo/results\n")
    rows = store.read_rows(here / "runs/demo/results", "accuracy")
    assert set(rows["commit"]) == {"version-0.1.0"}
    assert not rows["dirty"].any()
    assert (here / "paper/report.html").stat().st_size > 100_000
    assert list((here / "paper/figures").glob("*.png"))
    assert (here / "results/benchmarks/architectures.csv").is_file()
    assert {path.name for path in here.iterdir()} == {"classifiers", "paper", "results", "runs"}


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of all files below a folder; of archives each member, unpacked."""
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((f"{name}/{one}", archive.read(one)) for one in archive.namelist())
        elif path.is_file():
            yield name, path.read_bytes()


def test_nothing_of_the_environment_is_recorded(installed: Path, here: Path) -> None:
    """After the test above: no secret, no folder of the user, no other key than these."""
    found = list(contents(here))
    assert {"model.pt2", "model.onnx", "report.html"} <= {
        part for name, _ in found for part in name.split("/")
    }
    for mark in (SECRET, str(here.parent), str(installed), os.environ["PATH"]):
        assert [name for name, data in found if mark.encode() in data] == []
    (start,) = json.loads((here / CODED / "env.json").read_text())
    assert start.keys() == {
        "started", "step", "commit", "dirty", "device", "cores", "processes", "threads",
        "device_batch", "precision", "compiled", "aligned", "versions",
    }  # fmt: skip
    noted = [json.loads(line) for line in (here / CODED / "events.jsonl").read_text().splitlines()]
    assert [one.keys() for one in noted] == [
        {"event", "at", "host", "pid", "start", "job", "cluster"}
    ]
    runs = (here / "runs/demo/results/runs.csv").read_text().splitlines()[0]
    assert runs == ",".join(store.schema.RUN_COLUMNS)


def test_help_of_a_benchmark_is_its_own(installed: Path, here: Path) -> None:
    done = call(installed, here, "bench", "codes", "--help")
    assert done.returncode == 0
    assert "--seed SEED" in done.stdout
    assert "usage: codes.py" in done.stdout


def test_what_only_a_checkout_has(installed: Path, here: Path) -> None:
    done = call(installed, here, "lease", "--out", "lease")
    assert done.returncode == 1
    assert "only a checkout has" in done.stderr


def test_rows_of_several_scales_are_not_guessed(installed: Path, tmp_path: Path) -> None:
    for scale in ("demo", "cpu"):
        folder = tmp_path / "runs" / scale / "results"
        folder.mkdir(parents=True)
        (folder / "runs.csv").write_text("run\n")
    done = call(installed, tmp_path, "tables")
    assert done.returncode == 1
    assert "choose one with --results: runs/cpu/results, runs/demo/results" in done.stderr
