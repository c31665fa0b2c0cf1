from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codepath.cli import doctor
from codepath.core.provenance import REPO_ROOT


def test_cores_against_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr(doctor, "available_cores", lambda: 64)
    assert "64 cores, all usable" in doctor.cores_state()
    monkeypatch.setattr(doctor, "available_cores", lambda: 2)
    assert "2 of 64 cores usable" in doctor.cores_state()


def test_where_kernels_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    below_a_file = tmp_path / "file" / "below"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new"))
    assert f"kept in {tmp_path / 'new'}" in doctor.cache_state()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(below_a_file))
    assert "cannot be written" in doctor.cache_state()
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert "beside the source" in doctor.cache_state()
    monkeypatch.setattr(doctor, "PACKAGE_ROOT", below_a_file)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert f"kept in {tmp_path / 'numba'}" in doctor.cache_state()
    monkeypatch.setenv("XDG_CACHE_HOME", str(below_a_file))
    assert "set NUMBA_CACHE_DIR" in doctor.cache_state()


def test_numba_keeps_kernels_where_it_is_said(tmp_path: Path) -> None:
    code = (
        "import numba, codepath.data.kernels as k; from codepath.cli import doctor; "
        "print(k.crop_flip._cache.cache_path); print(doctor.cache_state())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(REPO_ROOT)},
    )
    path, said = done.stdout.splitlines()
    assert path.startswith(str(tmp_path))
    assert str(tmp_path) in said


def test_room_for_runs_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = doctor.disk_state()
    assert line.startswith("disk: runs/ ")
    assert "data/ " in line
    assert "not writable" not in line
    (tmp_path / "data").write_text("")
    assert "choose another folder with --data" in doctor.disk_state()
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1e9)
    assert "little" in doctor.disk_state()


def test_ffcv_in_all_its_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "headers missing (pkg-config)" in doctor.ffcv_state()
    tool = tmp_path / "pkg-config"
    tool.write_text('#!/bin/sh\ntest "$2" = opencv4 && echo 4.6.0\n')
    tool.chmod(0o755)
    assert doctor.header_versions() == {"opencv4": "4.6.0", "libturbojpeg": ""}
    assert "headers missing (libturbojpeg)" in doctor.ffcv_state()
    tool.write_text("#!/bin/sh\necho 4.6.0\n")
    monkeypatch.setattr(doctor, "FFCV_REASON", tmp_path / "reason.txt")
    assert "not installed (never tried)" in doctor.ffcv_state()
    (tmp_path / "reason.txt").write_text("its build failed\n")
    assert "not installed (its build failed)" in doctor.ffcv_state()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setattr(doctor, "_run_python", lambda _: ("", "ImportError: libopencv_core.so"))
    assert "its import fails (ImportError: libopencv_core.so)" in doctor.ffcv_state()
    monkeypatch.setattr(doctor, "_run_python", lambda _: ("", None))
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.0.2")
    assert doctor.ffcv_state() == "ffcv: ready, 1.0.2 (opencv4 4.6.0, libturbojpeg 4.6.0)"


def test_gpu_in_all_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(output: str, error: str | None, driver: bool) -> list[str]:
        monkeypatch.setattr(doctor, "_run_python", lambda _: (output, error))
        monkeypatch.setattr(doctor, "has_gpu", lambda: driver)
        return doctor.torch_state()

    gpu, precision = say("bfloat16 (GPU)\nNVIDIA H200 (CUDA 13.0)", None, True)
    assert (gpu, precision) == ("gpu: NVIDIA H200 (CUDA 13.0)", "precision: bfloat16 (GPU)")
    assert "none that torch can use" in say("float32", None, False)[0]
    assert "nvidia-smi is here" in say("float32", None, True)[0]
    (broken,) = say("", "RuntimeError: torchvision::nms", False)
    assert "must be a matching pair" in broken
