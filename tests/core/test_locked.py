"""requirements.lock: what `make setup` installs, with the checksums that pip compares."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codepath.core.provenance import REPO_ROOT

LOCKS = ("requirements.lock", "requirements-ffcv.lock")


def versions(text: str) -> dict[str, str]:
    """Package -> version of every line that pins one, in one spelling of names."""
    pins = re.findall(r"^([A-Za-z][\w.-]*)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    locked = [versions((REPO_ROOT / name).read_text()) for name in LOCKS]
    assert locked[1].keys() == {"ffcv"}
    assert locked[0] | locked[1] == versions((REPO_ROOT / "constraints.txt").read_text())


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_checksums_and_nothing_says_where_from(name: str) -> None:
    text = (REPO_ROOT / name).read_text()
    lines = text.replace("\\\n", "").splitlines()
    pinned = r"[a-z][\w.-]*==[\w.+!]+(?: ; [^#]+)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*"
    assert [line[:80] for line in lines[1:] if not re.fullmatch(pinned, line)] == []
    assert "://" not in text


def test_setup_installs_nothing_without_a_checksum() -> None:
    """The project itself comes from the checkout, and its build fetches nothing."""
    make = ["make", "-n", "-W", "requirements.lock", "setup"]
    said = subprocess.run(make, cwd=REPO_ROOT, capture_output=True, text=True, check=True).stdout
    calls = re.findall(r"-m pip install[^;|&}]*", said)
    checked = [call for call in calls if "--require-hashes" in call]
    own = [call for call in calls if "--no-index --no-deps --no-build-isolation -e ." in call]
    unlocked = [call for call in calls if "-c constraints.txt" in call]
    assert [len(checked), len(own), len(unlocked)] == [2, 1, 2]
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("printed", "code", "said", "ends"),
    [
        ("No known vulnerabilities found", 0, "audited: nothing is known", 0),
        ("Found 1 known vulnerability in 1 package", 1, "answer each in", 2),
        ("No known vulnerabilities found\ntorch  x and could not be audited: torch", 0,
         "NOT AUDITED (1 packages without an answer)", 2),
        ("ERROR: could not connect", 1, "NOT AUDITED", 2),
    ],
)  # fmt: skip
def test_an_audit_without_an_answer_is_none(
    printed: str, code: int, said: str, ends: int, tmp_path: Path
) -> None:
    """pip-audit itself ends well where the service knows none of the packages."""
    tools = tmp_path / "tools"
    (tools / "bin").mkdir(parents=True)
    (tools / ".made").touch()
    (tools / "bin" / "pip-audit").write_text(f"#!/bin/sh\nprintf '{printed}\\n'\nexit {code}\n")
    (tools / "bin" / "pip-audit").chmod(0o755)
    for name in ("Makefile", *LOCKS):
        shutil.copy2(REPO_ROOT / name, tmp_path)
    make = ["make", "--no-print-directory", "audit", f"TOOLS={tools}"]
    done = subprocess.run(make, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stdout) == (ends, True), done.stdout
