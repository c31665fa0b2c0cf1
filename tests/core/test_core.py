from __future__ import annotations

import importlib.metadata
import os
import pickle
import platform
import signal
import subprocess
import sys

import pytest

from codepath.core import errors, files, machine, provenance, signals
from codepath.core.errors import UserError


def test_unknown_name_suggests_the_nearest() -> None:
    error = errors.unknown_name("model", "resnet29_10x11d", ["resnext29_10x11d", "zebra"])
    assert "did you mean resnext29_10x11d?" in str(error)
    assert "known: a, b" in str(errors.unknown_name("model", "qqq", ["b", "a"]))


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    quoted = "a\nb\r\nc\x1b[31m\u2028d\ud800\x00"
    assert str(UserError(f"no {quoted}: mend it")) == r"no a b c\x1b[31m d\ud800\x00: mend it"
    long = str(UserError(f"no {'x' * 10**6}: mend it"))
    assert len(long) < 2000
    assert long.startswith("no xxx")
    assert long.endswith("xxx: mend it")
    copied = pickle.loads(pickle.dumps(errors.LostProcessesError("one\nline")))
    assert (type(copied), str(copied)) == (errors.LostProcessesError, "one line")


def test_the_reason_of_an_error_is_never_empty() -> None:
    assert errors.reason(ValueError("one\ntwo")) == "one"
    assert errors.reason(AssertionError()) == "AssertionError"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "has the key 'c' twice"),
        (b"1" * 5000, "4300 digits"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b'"\xff"', "can't decode"),
        (b"", "Expecting value"),
    ],
)
def test_json_that_is_none(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        files.parse_json(text)


def test_lines_of_json_are_taken_one_by_one(tmp_path) -> None:
    path = tmp_path / "lines"
    assert files.json_lines(path) == []
    path.write_bytes(
        b'{"a": "\xe2\x80\xa8"}\n{"a": \xff}\n[1]\n' + b"[" * 10**5 + b'\n{"b": 1}\r\n{"c'
    )
    assert files.json_lines(path) == [{"a": "\u2028"}, {"b": 1}]


def test_group_numbers_are_no_processes() -> None:
    assert machine.process_alive(os.getpid())
    assert not any(map(machine.process_alive, (0, -1, -os.getpgrp(), 2**80)))


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path) -> None:
    target = tmp_path / "file"
    files.write_text(target, "old")

    def write_half() -> None:
        with files.atomic_path(target) as temporary:
            temporary.write_text("half of the ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        write_half()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_make_directory_names_the_cause(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create"):
        files.make_directory(tmp_path / "file" / "below")
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        with pytest.raises(UserError, match="no write permission"):
            files.make_directory(tmp_path)


@pytest.mark.parametrize(
    "module",
    [
        "codepath.cli",
        "codepath.codes",
        "codepath.experiments",
        "codepath.paper",
        "codepath.store",
        "codepath.run.directory",
        "codepath.cli.doctor",
    ],
)
def test_light_modules_do_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules or 'ffcv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_codes_import_neither_pandas_nor_matplotlib() -> None:
    code = "import codepath.codes, sys; sys.exit(bool({'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_versions_and_commit_are_known() -> None:
    assert provenance.package_versions()["torch"]
    commit, dirty = provenance.git_state()
    assert commit
    assert isinstance(dirty, bool)


def test_a_checkout_that_is_not_installed_has_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    known = provenance.git_state()

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert provenance.git_state.__wrapped__() == known
    monkeypatch.setattr(provenance, "CHECKOUT", None)
    if not (provenance.REPO_ROOT / provenance.SNAPSHOT).exists():
        assert provenance.git_state.__wrapped__() == ("version-unknown", False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc's allocator")
def test_freed_memory_is_kept_for_the_next_allocation() -> None:
    script = """
import resource, numpy as np
from codepath.core.machine import keep_freed_memory
keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
first, second = faults(), faults()
assert first > 20 * (second + 1), (first, second)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_signals_raise_at_once_or_wait() -> None:
    before = {number: signal.getsignal(number) for number in signals.Interruption.SIGNALS}
    with signals.Interruption():
        with pytest.raises(signals.InterruptedRun, match="SIGTERM") as caught:
            os.kill(os.getpid(), signal.SIGTERM)
        assert caught.value.exit_code == signals.EXIT_REQUEUE == 75
    with signals.Interruption() as interruption:
        with interruption.deferred():
            os.kill(os.getpid(), signal.SIGUSR2)
            os.kill(os.getpid(), signal.SIGTERM)
            assert interruption.received == signal.SIGUSR2
            with pytest.raises(signals.InterruptedRun, match="SIGINT"):
                os.kill(os.getpid(), signal.SIGINT)
        assert interruption.received == signal.SIGUSR2
        with pytest.raises(signals.InterruptedRun, match="SIGUSR2"):
            interruption.heed()
    with signals.Interruption() as interruption:
        interruption.heed()
    assert before == {number: signal.getsignal(number) for number in before}
    stopped = pickle.loads(pickle.dumps(signals.InterruptedRun("stop", signal.SIGUSR2)))
    assert (str(stopped), stopped.signal_number) == ("stop", signal.SIGUSR2)
    assert signals.InterruptedRun("stop").exit_code == signals.EXIT_INTERRUPTED == 130
