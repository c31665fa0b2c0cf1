"""Which device is tested, and a file that keeps what was tested when the time is up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from codepath.core.files import json_lines


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tested-device", default="cuda", choices=("cuda", "cpu"),
        help="cpu: go through the tests of tests/gpu where there is no GPU",
    )  # fmt: skip
    parser.addoption(
        "--progress", type=Path, default=None,
        help="file that names the tests and, as each ends, its outcome; what passed is left out",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--progress", None)
    if path is not None:
        config.pluginmanager.register(Progress(path))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("compiles") is not None)


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The tested device; without a GPU the test is skipped."""
    name = request.config.getoption("--tested-device", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    return torch.device(name)


class Progress:
    """A line of JSON with all tests, then one for each that ended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _append(self, **line: object) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _passed(self) -> set[str]:
        lines = json_lines(self._path)
        return {line["test"] for line in lines if line.get("outcome") == "passed"}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        passed = self._passed()
        self._append(tests=[item.nodeid for item in items])
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
        items[:] = [item for item in items if item.nodeid not in passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A test's outcome is its call's, or that of the set-up which failed or skipped it.
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self._append(test=report.nodeid, outcome=report.outcome)
