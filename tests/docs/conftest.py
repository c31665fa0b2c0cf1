"""The site, built once for all tests of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, as `make docs` builds it; processes of one test run share it."""
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    pytest.importorskip("myst_parser", reason="the extra docs is not installed")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(f"{shared}.lock"):
        if not (shared / "built").exists():
            command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E"]
            built = subprocess.run(
                [*command, "-b", "html", "-d", f"{shared}-doctrees", str(DOCS), str(shared)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if built.returncode:
                pytest.fail(f"make docs fails:\n{built.stderr}")
            (shared / "built").touch()
    return shared
