"""The command line as a person uses it, each call in a process of its own."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from codepath import store
from codepath.core.provenance import REPO_ROOT
from codepath.experiments import find_experiment
from codepath.run.metrics_file import metrics_lines
from tests.data.photographs import SMALL_IMAGENET, make_folders
from tests.made_up import write_results

CODEPATH = [sys.executable, "-m", "codepath.cli"]
SHORT = ["run", "table2-digits", "--set", "train.epochs=4"]
NAME = "table2-digits+train.epochs=4"


def call(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CODEPATH, *args], capture_output=True, text=True, cwd=cwd, timeout=300, check=False
    )


def assert_one_clear_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Exit code 1, one line on standard error, no traceback."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both runs of a short experiment, done."""
    folder = tmp_path_factory.mktemp("finished")
    done = call(*SHORT, "--runs", str(folder / "runs"))
    assert done.returncode == 0, done.stderr
    assert "epoch 4/4" in done.stdout
    return folder


def test_help_and_list() -> None:
    assert "EXPERIMENT" in call("run", "--help").stdout
    assert "table2-digits" in call("list").stdout
    shown = call("show", "table2-digits").stdout
    assert shown.startswith("table2-digits (Table 2): ")
    assert "What comes out:" in shown
    assert "coded_resnext20_10x4d" not in shown
    assert "table2-digits-demo-coded-s0-" in shown
    assert "name=coded_resnext20_10x4d" in call("show", "table2-digits", "--config").stdout


def test_a_run_writes_rows_and_repeating_it_changes_nothing(finished: Path) -> None:
    results = finished / "runs" / "demo" / "results"
    accuracy = store.read_rows(results, "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    assert (accuracy["n"] == 500).all()
    assert accuracy["commit"].notna().all()
    decoders = store.read_rows(results, "decoders")
    assert sorted(decoders["decoder"]) == ["eq7"] * 4 + ["linear"] * 4
    assert len(store.read_rows(results, "removal")) == 12
    before = (results / "accuracy.csv").read_bytes()
    again = call(*SHORT, "--runs", str(finished / "runs"))
    assert again.returncode == 0
    assert again.stdout.count("done already") == 2
    assert (results / "accuracy.csv").read_bytes() == before


def test_evaluating_again_gives_the_same_numbers(finished: Path, tmp_path: Path) -> None:
    run = finished / "runs" / "demo" / NAME / "coded-s0"
    old = store.read_rows(run / "rows", "binary")
    assert call("evaluate", str(run)).returncode == 0
    new = store.read_rows(run / "rows", "binary")
    assert old["value"].tolist() == new["value"].tolist()
    collected = call("collect", str(run), "--results", str(tmp_path))
    assert collected.returncode == 0
    assert "0 new rows" in call("collect", str(run), "--results", str(tmp_path)).stdout
    assert len(store.read_rows(tmp_path, "binary")) == len(new)


def test_one_kind_of_rows_is_made_again_and_others_are_left(finished: Path) -> None:
    rows = finished / "runs" / "demo" / NAME / "coded-s0" / "rows"
    before = {path.name: path.read_bytes() for path in rows.glob("*.csv")}
    assert call("evaluate", str(rows.parent), "--kind", "decoders").returncode == 0
    after = {path.name: path.read_bytes() for path in rows.glob("*.csv")}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"decoders.csv", "runs.csv"}
    assert set(after) == set(before)
    wrong = call("evaluate", str(rows.parent), "--kind", "energy")
    assert wrong.returncode == 1
    assert "unknown kind of rows 'energy'" in wrong.stderr


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT, signal.SIGUSR2])
def test_a_killed_run_goes_on_to_the_same_weights(
    sent: signal.Signals, finished: Path, tmp_path: Path
) -> None:
    arguments = [*SHORT, "--runs", str(tmp_path / "runs")]
    run = tmp_path / "runs" / "demo" / NAME / "coded-s0"
    process = subprocess.Popen(
        [*CODEPATH, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(run.glob("ckpt/step-*.pt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    if sent != signal.SIGKILL:
        assert process.returncode == (130 if sent == signal.SIGINT else 75)
        assert "repeat the command to go on" in stderr
        assert "Traceback" not in stderr
    assert not (run / "model.safetensors").exists()
    again = call(*arguments)
    assert again.returncode == 0, again.stderr
    assert "resuming " in again.stdout
    theirs = finished / "runs" / "demo" / NAME / "coded-s0"
    mine, whole = (
        safetensors.torch.load_file(path / "model.safetensors") for path in (run, theirs)
    )
    assert all(torch.equal(mine[name], whole[name]) for name in whole)
    epochs = [line for line in metrics_lines(run / "metrics.jsonl") if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [1, 2, 3, 4]


def test_only_some_runs(finished: Path) -> None:
    done = call(*SHORT, "--runs", str(finished / "runs"), "--only", "baseline")
    assert done.returncode == 0, done.stderr
    assert "baseline-s0: done already" in done.stdout
    assert "coded-s0" not in done.stdout
    assert_one_clear_line(
        call(*SHORT, "--runs", str(finished / "runs"), "--only", "plain"),
        "no run has 'plain' in its name",
        f"{NAME} coded-s0, {NAME} baseline-s0",
    )


def test_a_run_is_watched(finished: Path) -> None:
    run = finished / "runs" / "demo" / NAME / "coded-s0"
    shown = call("watch", str(run)).stdout
    for part in ("trained and evaluated", "4 of 4, step 80 of 80", "img/s", "coding loss"):
        assert part in shown
    assert len(shown.splitlines()) == 12
    assert_one_clear_line(call("watch", str(finished)), "is no run directory")


def test_a_trained_network_is_a_folder_for_timm(finished: Path) -> None:
    import timm

    from codepath.train import load_trained

    run = finished / "runs" / "demo" / NAME / "coded-s0"
    model = timm.create_model(f"local-dir:{run / 'model'}", pretrained=True).eval()
    _, trained = load_trained(run, torch.device("cpu"))
    kept, state = model.state_dict(), trained.state_dict()
    assert kept.keys() == state.keys()
    assert all(torch.equal(kept[name], value) for name, value in state.items())
    images = torch.randn(3, 1, 8, 8)  # in another memory format convolutions round otherwise
    torch.testing.assert_close(model(images), trained(images), rtol=1e-4, atol=1e-4)
    assert tuple(model.pretrained_cfg["input_size"]) == (1, 8, 8)
    card = (run / "model" / "README.md").read_text()
    top1 = store.read_rows(run / "rows", "accuracy")["value"].iloc[0]
    assert f"{100 * top1:.2f} %" in card
    for part in ("scikit-learn digits", "A proxy", "license: mit", "mu 6", "pad 1 and crop"):
        assert part in card


def test_unknown_names(tmp_path: Path) -> None:
    assert_one_clear_line(call("run", "table2-digts"), "unknown experiment", "table2-digits")
    assert_one_clear_line(
        call(
            "run",
            "table2-digits",
            "--set",
            "model.name=coded_resnext20_10x5d",
            "--runs",
            str(tmp_path),
        ),
        "unknown model",
        "coded_resnext20_10x4d",
    )
    assert_one_clear_line(call("codes", "show", "10-10-6"), "unknown coding scheme", "10-10-5")
    assert_one_clear_line(call("bench", "blok"), "unknown benchmark", "block")


def test_a_precision_that_is_not_allowed(tmp_path: Path) -> None:
    runs = ("--runs", str(tmp_path / "runs"))
    for command in (["run"], ["submit", "--cluster", "debug"]):
        call_ = [*command, "table2-digits", *runs, "--precision"]
        assert_one_clear_line(call(*call_, "half"), "is 'half', must be auto, float32 or bfloat16")
        assert_one_clear_line(call(*call_, "bfloat16"), "--set train.precision=bfloat16")
    assert not (tmp_path / "runs").exists()


def test_a_scheme_for_another_number_of_classes(tmp_path: Path) -> None:
    done = call(
        "run", "table2-digits", "--set", "model.schemes=100-20-8,100-20-4", "--runs", str(tmp_path)
    )
    assert_one_clear_line(done, "codewords for 100 classes, the network has 10")


def test_a_broken_checkpoint(tmp_path: Path) -> None:
    arguments = ["run", "table2-digits", "--set", "train.epochs=1", "--runs", str(tmp_path)]
    folder = tmp_path / "demo" / "table2-digits+train.epochs=1" / "coded-s0" / "ckpt"
    folder.mkdir(parents=True)
    (folder / "step-00000020.pt").write_bytes(b"broken")
    assert_one_clear_line(call(*arguments), "every checkpoint in", "is damaged; remove")
    assert not (folder.parent / "model.safetensors").exists()


def test_a_folder_that_cannot_be_written() -> None:
    """Not even root may create folders below /proc."""
    done = call("run", "table2-digits", "--runs", "/proc/self/runs")
    assert_one_clear_line(done, "cannot create", "choose a folder that you may write to")


def test_imagenet_says_what_to_put_where(tmp_path: Path) -> None:
    done = call("run", "table2-imagenet", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"))
    assert_one_clear_line(done, "ILSVRC2012_img_train.tar", str(tmp_path), "--data")


def test_data_is_described_and_drawn(tmp_path: Path) -> None:
    described = call("data", "info", "digits").stdout.splitlines()
    assert described[:2] == [
        "digits: scikit-learn digits",
        "train 1,297 images of 10 classes, 124 to 133 a class; 8 x 8 pixels, 1 channel",
    ]
    assert len(described) == 4 + 10
    picture = tmp_path / "sheet.png"
    drawn = call("data", "show", "table2-digits", "--scale", "demo", "--picture", str(picture))
    assert drawn.returncode == 0, drawn.stderr
    assert picture.stat().st_size > 10_000
    command = ("data", "show", "table2-digits", "--picture", str(tmp_path / "sheet.bmp"))
    assert_one_clear_line(call(*command), "a picture is one of .png, .pdf, .svg")
    assert_one_clear_line(call(*command, "--epoch", "0"), "counted from 1")


def test_imagenet_runs_end_to_end_on_a_made_up_subset(tmp_path: Path) -> None:
    """Ten classes and a small network; the source says in words that it is a subset."""
    data = make_folders(tmp_path / "data", tuple(f"n{k:08d}" for k in range(10)))
    command = ["run", "table2-imagenet", "--data", str(data), "--runs", str(tmp_path / "runs")]
    command += ["--scale", "paper", *(word for s in SMALL_IMAGENET for word in ("--set", s))]
    assert_one_clear_line(call(*command), "train holds 50 images of 10 classes", "data.subset=true")
    done = call(*command, "--set", "data.subset=true")
    assert done.returncode == 0, done.stderr
    accuracy = store.read_rows(tmp_path / "runs" / "paper" / "results", "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    assert (accuracy["n"] == 20).all()
    assert accuracy["source"].iloc[0] == (
        "ImageNet subset from folders: 50 training and 20 validation images of 10 classes"
    )


def test_data_without_the_expected_classes(tmp_path: Path) -> None:
    (tmp_path / "train" / "unicorn").mkdir(parents=True)
    done = call(
        "run",
        "table2-cifar10",
        "--scale",
        "cpu",
        "--data",
        str(tmp_path),
        "--runs",
        str(tmp_path / "runs"),
    )
    assert_one_clear_line(done, "expected train/CLASS/ for 10 classes, found 0")


def test_every_item_of_the_paper_is_listed_and_shown() -> None:
    with (REPO_ROOT / "tests" / "experiments" / "paper_items.csv").open() as file:
        items = [(row["item"], row["experiments"].split()) for row in csv.DictReader(file)]
    listed = {line.split("  ")[0]: line for line in call("list").stdout.splitlines()}
    for item, names in items:
        for name in names:
            assert item in listed[name]
    shown = call("show", "fig6-cifar10").stdout
    for part in (
        "Run it:",
        "What comes out:",
        "How long:",
        "In the paper:",
        "evaluation: accuracy, binary",
        "GPU hours",
    ):
        assert part in shown
    assert_one_clear_line(call("run", "table4"), "trains nothing", "codepath bench network")


PAPER_COMMANDS = ("figures", "tables", "compare", "verdict", "report")
WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
from codepath.cli import main
main()
"""


def test_the_paper_is_made_without_torch_and_names_what_is_missing(tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_results(results, ("cpu",), seeds=1)
    for kind in ("histograms", "removal"):
        (results / f"{kind}.csv").unlink()
    for command in PAPER_COMMANDS:
        place = ["--results", str(results), "--out", str(tmp_path / "paper")]
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, command, *place],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if command == "figures":
            assert "missing: fig2a of fig2a-cifar10: no removal rows at cpu scale" in done.stdout
            assert "codepath run fig2a-cifar10 --scale cpu" in done.stdout
    for name in ("report.html", "claims.md", "DEVIATIONS.md", "tables/baselines.md"):
        assert (tmp_path / "paper" / name).stat().st_size > 1000
    done = call("tables", *place, "--strict")
    assert_one_clear_line(done, "experiments miss rows")
    assert "table2 of table2-imagenet" in done.stdout
    assert call("tables", *place, "--strict", "--scale", "cpu").returncode == 0


def test_figures_need_rows(tmp_path: Path) -> None:
    for command in ("figures", "tables", "compare", "report"):
        done = call(command, "--results", str(tmp_path), "--out", str(tmp_path))
        assert_one_clear_line(done, "run an experiment first")


def test_design_a_scheme(tmp_path: Path) -> None:
    path = tmp_path / "scheme.csv"
    size = ["--classes", "20", "--paths", "10", "--active", "4"]
    assert call("codes", "design", *size, "--out", str(path)).returncode == 0
    shown = call("codes", "show", str(path)).stdout
    assert "K = 20 classes, N = 10 paths, Nact = 4" in shown
    assert "excluded by" in shown
    assert "column sums 8 8 8 8 8 8 8 8 8 8" in shown
    checked = call("codes", "check", str(path))
    assert checked.returncode == 0
    assert "valid, 20 x 10, 4 ones a row" in checked.stdout
    too_much = call("codes", "check", str(path), "--distance", "8")
    assert_one_clear_line(too_much, "no scheme of this size exceeds 4")
    path.write_text(path.read_text().replace("0", "2", 3))
    assert_one_clear_line(call("codes", "check", str(path)), "line 2")
    size[1] = "900"
    assert_one_clear_line(call("codes", "design", *size), "210 different codewords")
    nowhere = str(tmp_path / "absent" / "scheme.csv")
    size[1] = "20"
    assert_one_clear_line(call("codes", "design", *size, "--out", nowhere), "not a folder")


def test_design_prints_a_table_that_can_be_read_back(tmp_path: Path) -> None:
    printed = call("codes", "design", "--classes", "8", "--paths", "8", "--active", "4")
    assert "optimal" in printed.stderr
    path = tmp_path / "scheme.csv"
    path.write_text(printed.stdout)
    assert call("codes", "check", str(path)).returncode == 0


def test_picture_of_a_scheme(tmp_path: Path) -> None:
    path = tmp_path / "scheme.png"
    done = call("codes", "show", "best/100-20-8", "--picture", str(path))
    assert done.returncode == 0
    assert path.read_bytes().startswith(b"\x89PNG")
    bad = call("codes", "show", "best/100-20-8", "--picture", str(tmp_path / "scheme.doc"))
    assert_one_clear_line(bad, "a picture is one of")
    listed = call("codes", "list").stdout
    assert "best/1000-32-16    d = 12" in listed
    assert "paper/1000-32-16   d = 10" in listed


def test_doctor_reports() -> None:
    done = call("doctor")
    assert done.returncode == 0
    for part in ("torch", "processor:", "gpu:", "precision: ", "ffcv:"):
        assert part in done.stdout


@pytest.mark.parametrize(("scale", "trained"), [("short", 1), ("paper", 5)])
def test_make_replicates_what_a_scale_has(scale: str, trained: int) -> None:
    make = ["make", "-n", "-C", str(REPO_ROOT), "replicate-cifar10", f"SCALE={scale}"]
    planned = subprocess.run(make, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in planned.splitlines() if line.startswith("for experiment in ")]
    names = line.partition(";")[0].split()[3:]
    assert len(names) == trained
    assert all(scale in find_experiment(name).scales for name in names)


def test_makefile_lists_its_targets() -> None:
    out = subprocess.run(
        ["make", "-C", str(REPO_ROOT)], capture_output=True, text=True, check=True
    ).stdout
    for target in ("setup", "demo", "test", "test-slow", "lint", "figures", "bench", "clean"):
        assert f"make {target} " in out


def test_digits_take_no_data_folder(tmp_path: Path) -> None:
    done = call("run", "table2-digits", "--data", str(tmp_path))
    assert_one_clear_line(done, "take no --data", "--set data.source=images")


def test_own_images_from_run_to_classifier(tmp_path: Path) -> None:
    """Photographs of many sizes in CLASS/*; other images never pass for the run's."""
    rng = np.random.default_rng(0)
    own = tmp_path / "own"

    def draw(folder: Path, number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        bright = 60 + 120 * (folder.name == "ship")
        size = rng.integers(8, 20, 2)
        pixels = rng.integers(bright - 50, bright + 50, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")

    for name in ("cat", "ship"):
        for number in range(10):
            draw(own / name, number)
    settings = ("data.source=images", "train.epochs=1", "train.batch_size=4", "train.bn_batch=0")
    command = ["run", "table2-cifar10", "--scale", "cpu", "--data", str(own), "--only", "coded"]
    command += ["--runs", str(tmp_path / "runs")]
    command += [word for setting in settings for word in ("--set", setting)]
    assert_one_clear_line(call(*command), "pixels, the first image", "add --set data.size=32")
    command += ["--set", "data.size=8"]
    assert_one_clear_line(call(*command), "has 2 classes", "add --set model.num_classes=2")
    command += ["--set", "model.num_classes=2"]
    done = call(*command)
    assert done.returncode == 0, done.stderr
    (run_dir,) = (tmp_path / "runs" / "cpu").glob("table2*/coded-s0")
    assert done.stdout.splitlines()[-1].endswith(f"of 4 test images; {run_dir}")
    assert "done already" in call(*command).stdout
    explained = call("explain", str(run_dir), str(own / "ship" / "0.png"))
    assert "(the central square resized to 8 x 8): " in explained.stdout, explained.stderr
    out = tmp_path / "classifiers"
    words = ("--class", "ship", "--formats", "none", "--turns", "0", "--out", str(out))
    cut = call("extract", str(run_dir), *words, "--compress", "0.5")  # it knows where they are
    assert cut.returncode == 0, cut.stderr
    assert (out / "ship" / "model.safetensors").exists()
    assert_one_clear_line(
        call("extract", str(run_dir), *words[:-1], str(tmp_path / "none"), "--class", "boat"),
        "unknown class 'boat': known: cat, ship",
    )
    draw(own / "cat", 99)
    assert_one_clear_line(call(*command), "other training images", "remove the run")
    again = ("extract", str(run_dir), *words, "--data")
    assert_one_clear_line(call(*again, str(own)), "was trained with other images")
    draw(own / "dog", 0)
    draw(own / "dog", 1)
    assert_one_clear_line(
        call(*again, str(own)), "other classes", "(cat, dog, ship) in place of (cat, ship)"
    )
