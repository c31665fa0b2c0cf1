"""The benchmark of training steps runs through, and its rows say what was measured."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import _profile, convolutions, step
from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.run.config import RunConfig
from codepath.store import read_benchmark

CPU = torch.device("cpu")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tiny_config: RunConfig) -> list[RunConfig]:
    """A coded run and its baseline, in the place of Table 2's."""
    model = dataclasses.replace(tiny_config.model, name="resnext20_10x6d", p_drop=0.0, schemes=())
    plain = dataclasses.replace(tiny_config, model_role="baseline", model=model)

    class Tiny:
        def runs(self, *_: object) -> list[RunConfig]:
            return [tiny_config, plain]

    monkeypatch.setattr(step, "find_experiment", lambda _: Tiny())
    batch = step.random_batch(tiny_config, 8, 8)
    monkeypatch.setattr(step, "random_batch", lambda *_: batch)
    monkeypatch.setattr(step, "choose_device", lambda: CPU)
    return [tiny_config, plain]


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> None:
    common = ["step", "--images", "8", "--turns", "1", "--steps", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*common, *options])
    step.main()


def test_coded_and_plain_take_turns(tiny: list[RunConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio is the median over turns of plain's time by the coded one's."""

    def timed(work: dict[str, Callable[[], None]], *_: object) -> dict[str, list[float]]:
        assert list(work) == ["coded", "baseline"]
        return {"coded": [0.4, 0.5, 0.8], "baseline": [0.2, 0.4, 0.4]}

    monkeypatch.setattr(step, "interleaved", timed)
    batch = step.random_batch(tiny[0], 8, 8)
    coded, plain = step.measure(tiny, batch, step.Way("launched", {}), 3, 2, CPU)
    assert coded["coded_ratio"] == 0.5
    assert plain["coded_ratio"] == ""
    assert coded["value"] == 0.25
    assert coded["images_per_second"] == 8 / 0.25


@pytest.mark.usefixtures("tiny")
def test_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(monkeypatch, tmp_path, "--networks", "C10", "--ways", "launched", "recorded", "aligned",
        "--candidates", "folded", "dense+sums")  # fmt: skip
    rows = read_benchmark(tmp_path / "step-cpu.csv")
    ways = ["launched", "aligned", "aligned+folded", "aligned+dense+sums"]
    assert list(rows["way"]) == [way for way in ways for _ in range(2)]  # no graphs on the CPU
    assert list(rows["model"]) == ["coded", "baseline"] * 4
    assert set(rows["batch"]) == {8}
    assert list(rows["speed_up"][:2]) == [1, 1]
    assert list(rows["coded_ratio"].isna()) == [False, True] * 4


def second_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    measure, calls = step.measure, []

    def failing(*arguments: object) -> list[dict[str, object]]:
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return measure(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(step, "measure", failing)


@pytest.mark.usefixtures("tiny")
def test_what_was_timed_is_kept_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    second_raises(monkeypatch, InterruptedRun("x", 15))
    with pytest.raises(InterruptedRun, match="interrupted in C10 aligned: the ways before it"):
        run(monkeypatch, tmp_path, "--networks", "C10", "C100", "--ways", "launched", "aligned")
    assert list(read_benchmark(tmp_path / "step-cpu.csv")["way"]) == ["launched"] * 2


@pytest.mark.usefixtures("tiny")
def test_a_way_that_fails_is_named_and_the_others_are_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second_raises(monkeypatch, torch.OutOfMemoryError("no memory is left"))
    with pytest.raises(SystemExit, match="without rows: C10 aligned"):
        run(monkeypatch, tmp_path, "--networks", "C10", "--ways", "launched", "aligned",
            "--candidates", "folded")  # fmt: skip
    assert "C10 aligned fails: no memory is left" in capsys.readouterr().out
    ways = ["launched", "aligned+folded"]
    assert list(read_benchmark(tmp_path / "step-cpu.csv")["way"].unique()) == ways


@pytest.mark.usefixtures("tiny")
def test_a_wrong_candidate_is_refused_before_anything_is_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="unknown candidate 'fold'"):
        run(monkeypatch, tmp_path, "--candidates", "fold")
    with pytest.raises(UserError, match="the candidate folded\\+kernels needs a GPU"):
        run(monkeypatch, tmp_path, "--ways", "launched", "--candidates", "folded+kernels")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("tiny")
def test_the_profile_shares_out_all_of_the_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(monkeypatch, tmp_path, "--networks", "C10", "--ways", "launched", "--profile")
    rows = read_benchmark(tmp_path / "profile-cpu.csv")
    for _, mine in rows.groupby("model"):
        assert mine["share"].sum() == pytest.approx(1)
        assert {"convolution", "batch norm"} <= set(mine["what"])
        named = mine[mine["kernel"] != "rest"]
        assert (named["share"] >= _profile.LEAST_SHARE).all()
        assert named["seconds"].is_monotonic_decreasing
        assert (named["calls"] > 0).all()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32", "convolution"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW", "batch norm"),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_TNT", "matrix product"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm>", "matrix product"),
        ("triton_red_fused_native_batch_norm_12", "compiled reduction"),
        ("triton_poi_fused_relu_3", "compiled pointwise"),
        ("moments_kernel", "ours"),
        ("void at::native::multi_tensor_apply_kernel<FusedSgdMathFunctor>", "optimizer"),
        ("Memcpy DtoD (Device -> Device)", "copy"),
        ("void at::native::vectorized_elementwise_kernel<4>", "pointwise"),
    ],
)
def test_kernels_are_told_apart_by_their_names(name: str, kind: str) -> None:
    assert _profile.kind(name) == kind


def test_on_a_gpu_its_kernels_count_and_no_annotation() -> None:
    def event(key: str, kind: DeviceType, annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(
            key=key, device_type=kind, is_user_annotation=annotation, count=6,
            self_device_time_total=3e6, self_cpu_time_total=9e6,
        )  # fmt: skip

    events = [
        event("aten::conv2d", DeviceType.CPU),
        event("moments_kernel", DeviceType.CUDA),
        event("## compiled region", DeviceType.CUDA, annotation=True),
    ]
    (row,) = _profile._rows(_profile._times(events, torch.device("cuda")))
    assert row == {
        "kernel": "moments_kernel", "what": "ours", "calls": 2, "seconds": 1.0, "share": 1.0,
    }  # fmt: skip


def test_convolutions_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "choose_device", lambda: CPU)
    monkeypatch.setattr(sys, "argv", ["convolutions"])
    with pytest.raises(SystemExit, match="run this on one"):
        convolutions.main()
