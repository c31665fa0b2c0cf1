"""Made-up results that the tests of figures, tables, claims and the report share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.made_up import keep_runs, write_results


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of every experiment at paper scale, three seeds. Not to be written to."""
    folder = tmp_path_factory.mktemp("everything") / "results"
    write_results(folder)
    return folder


@pytest.fixture(scope="session")
def made_up_cifar10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar10") / "results"
    write_results(folder, dataset="cifar10")
    keep_runs(folder, lambda line: ",cifar100," not in line)
    return folder


@pytest.fixture(scope="session")
def made_up_short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of CIFAR-10's experiments at short scale, three seeds. Not to be written to."""
    folder = tmp_path_factory.mktemp("short") / "results"
    write_results(folder, ("short",), dataset="cifar10")
    keep_runs(folder, lambda line: ",cifar100," not in line)
    return folder


@pytest.fixture
def results(made_up_cifar10: Path, tmp_path: Path) -> Path:
    """Rows of CIFAR-10's experiments at paper scale, three seeds, to do with as one likes."""
    return Path(shutil.copytree(made_up_cifar10, tmp_path / "results"))
