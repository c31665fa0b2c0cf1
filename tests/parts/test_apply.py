"""The commands on a trained run, from the command line's function to files, rows and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from codepath import cli, store
from codepath.core.errors import UserError
from codepath.data import Normalize, load_data_set
from codepath.evaluate import Predictions
from codepath.experiments.registry import baseline_of
from codepath.models import EarlyExit, load_binary_classifier, load_early_exit
from codepath.models.classifier_file import export_program
from codepath.models.early_exit import save_exit_settings
from codepath.paper.binary_rows import own_negatives
from codepath.parts import classifier_files as classifiers
from codepath.parts import exit_settings as apply_exits
from codepath.parts.classifier_files import ExtractOptions, extract_run
from codepath.parts.exit_settings import ExitOptions, FittedExits, fit_exits
from codepath.parts.explanation import explain_image, run_paths
from codepath.pipeline.measure import evaluate_run
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from codepath.store import Measurement
from codepath.train import fit, load_trained

CPU = torch.device("cpu")
QUIET = Console(quiet=True)


def trained(config: RunConfig, run_dir: Path) -> Path:
    fit(config, load_data_set("digits"), run_dir, CPU, QUIET)
    evaluate_run(run_dir)
    return run_dir


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return RunConfig(
        experiment="table2-digits",
        scale="demo",
        model_role="coded",
        seed=0,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, in_chans=1),
        data=DataConfig(source="digits"),
        train=TrainConfig(epochs=3, batch_size=64, lr=0.1, lr_end=1e-4, mu=6.0),
        evaluation=EvalConfig(),
    )


@pytest.fixture(scope="module")
def run_dir(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(config, tmp_path_factory.mktemp("runs") / "coded")


@pytest.fixture(scope="module")
def plain_dir(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(
        baseline_of(config, "resnext20_10x4d"), tmp_path_factory.mktemp("runs") / "plain"
    )


def test_evaluation_writes_the_rows_of_the_uses(run_dir: Path, plain_dir: Path) -> None:
    kinds = {path.stem for path in (run_dir / "rows").glob("*.csv")}
    assert {"exits", "paths", "extraction", "binary"} <= kinds
    rows = pd.read_csv(run_dir / "rows" / "binary.csv")
    assert "photograph patches (a substitute)" in set(rows["negatives"])
    kinds = {path.stem for path in (plain_dir / "rows").glob("*.csv")}
    assert kinds == {"runs", "accuracy", "cost"}


@pytest.mark.slow
def test_extract_writes_classifiers_that_predict(run_dir: Path, tmp_path: Path) -> None:
    options = ExtractOptions(classes="7", latency_turns=2)
    (card,) = extract_run(run_dir, tmp_path, options, None, QUIET)
    assert card.class_name == "7"
    assert card.costs["export_differences"]["onnx"] < 1e-4
    assert card.costs["latency"]["batch 1"]["ratio"] > 0
    classifier = load_binary_classifier(tmp_path / "7")
    test = load_data_set("digits").test
    decided = np.array([classifier.predict(image).decision for image in test.images[:200]])
    positive = test.labels[:200] == 7
    rows = own_negatives(store.read_rows(run_dir / "rows", "binary"))
    mine = rows[(rows["class"] == "7") & (rows["metric"] == "f1")]["value"].iloc[0]
    assert card.metrics["f1"] == pytest.approx(mine, abs=1e-6)
    hits = (decided & positive).sum()
    assert 2 * hits / (decided.sum() + positive.sum()) == pytest.approx(mine, abs=0.25)


def test_extract_compressed_with_its_curve(run_dir: Path, tmp_path: Path) -> None:
    options = ExtractOptions("2", compress=0.4, curve=True, formats=(), latency_turns=0)
    (card,) = extract_run(run_dir, tmp_path, options, None, QUIET)
    assert card.costs["compressed_share"] <= 0.4
    assert (tmp_path / "2" / "model.safetensors").exists()
    curve = pd.read_csv(run_dir / "rows" / "compression.csv")
    assert set(curve["metric"]) == {"f1", "share"}
    asked = curve[curve["metric"] == "share"].set_index("asked")["value"]
    assert (asked[asked.index < 1] <= asked.index[asked.index < 1]).all()
    evaluate_run(run_dir)
    assert (run_dir / "rows" / "compression.csv").exists()


def test_a_curve_goes_on_behind_the_last_finished_class(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(_fused: object, _statistics: object, k: int, name: str, *_: object):
        if k == 2 and len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(k)
        yield Measurement(
            kind="compression", metric="f1", value=0.1 * k, n=5, asked=1.0, class_name=name
        )

    monkeypatch.setattr(classifiers, "measure_compression", measure)
    monkeypatch.setattr(classifiers, "git_state", lambda: ("abc", False))
    options = ExtractOptions("all", curve=True, formats=(), latency_turns=0)
    rows = run_dir / "rows" / "compression.csv"
    rows.unlink(missing_ok=True)
    with pytest.raises(KeyboardInterrupt):
        extract_run(run_dir, tmp_path, options, None, QUIET)
    assert measured == [0, 1]
    assert not rows.exists()
    measured.append(-1)
    extract_run(run_dir, tmp_path, options, None, QUIET)
    assert measured == [0, 1, -1, *range(2, 10)]
    curve = pd.read_csv(rows)
    assert curve["value"].tolist() == pytest.approx([0.1 * k for k in range(10)])
    (tmp_path / "3" / "curve.json").write_text("{")
    monkeypatch.setattr(classifiers, "git_state", lambda: ("abc", True))
    extract_run(run_dir, tmp_path, options, None, QUIET)
    assert measured[-10:] == list(range(10))  # a changed source measures all again


def test_exits_of_a_run_are_the_models(run_dir: Path) -> None:
    done = CliRunner().invoke(cli.app, ["exits", str(run_dir), "--loss", "0.02", "--times", "64"])
    assert done.exit_code == 0, done.output
    assert "two-fold" in done.output
    assert "batch 64" in done.output
    _, model = load_trained(run_dir, CPU)
    exits = load_early_exit(model, run_dir / "exits.json")
    fitted = fit_exits(run_dir, ExitOptions(loss=0.02))
    assert exits.thresholds == fitted.exits.thresholds
    about = json.loads((run_dir / "exits.json").read_text())["about"]
    assert about["cross-fitted top1"] == fitted.outcome.top1
    top1 = pd.read_csv(run_dir / "rows" / "accuracy.csv")["value"].iloc[0]
    assert fitted.top1 == pytest.approx(top1)


def test_exits_with_linear_decoders_count_and_keep_their_weights(run_dir: Path) -> None:
    printed = {}
    for decoder in ("eq7", "linear"):
        done = CliRunner().invoke(
            cli.app, ["exits", str(run_dir), "--decoder", decoder], env={"COLUMNS": "160"}
        )
        assert done.exit_code == 0, done.output
        lines = [line.split("│") for line in done.output.splitlines() if "block" in line]
        printed[decoder] = {line[1].strip(): int(line[3].replace(",", "")) for line in lines}
    weights = {block: count - printed["eq7"][block] for block, count in printed["linear"].items()}
    assert len(weights) == 4
    assert set(weights.values()) == {10 * (10 + 1)}  # K (N + 1)
    _, model = load_trained(run_dir, CPU)
    loaded = load_early_exit(model, run_dir / "exits.json")
    fitted = fit_exits(run_dir, ExitOptions(decoder="linear"))
    assert loaded.thresholds == fitted.exits.thresholds
    images = torch.randn(3, 1, 8, 8)
    for block in loaded.blocks:
        torch.testing.assert_close(loaded.at(block)(images), fitted.exits.at(block)(images))


@pytest.mark.slow
def test_exporting_exits_leaves_the_network_alone(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[FittedExits] = []
    exported: list[torch.nn.Module] = []

    def fit_and_keep(*args: object) -> FittedExits:
        fitted.append(fit_exits(*args))
        model = fitted[0].exits.model
        before.update({name: (p, p.device, p.dtype) for name, p in model.named_parameters()})
        return fitted[0]

    def keep(graph: torch.nn.Module, *args: object) -> float:
        exported.append(graph)
        return export_program(graph, *args)

    before: dict[str, tuple[torch.nn.Parameter, torch.device, torch.dtype]] = {}
    monkeypatch.setattr(apply_exits, "fit_exits", fit_and_keep)
    monkeypatch.setattr(apply_exits, "export_program", keep)
    done = CliRunner().invoke(
        cli.app, ["exits", str(run_dir), "--export", str(tmp_path), "--times", "2"]
    )
    assert done.exit_code == 0, done.output
    exits = fitted[0].exits
    assert {path.name for path in tmp_path.iterdir()} == {
        f"exit{block}.{suffix}" for block in exits.blocks for suffix in ("onnx", "pt2")
    }
    after = dict(exits.model.named_parameters())
    assert after.keys() == before.keys()
    for name, (parameter, device, dtype) in before.items():
        assert after[name] is parameter
        assert (after[name].device, after[name].dtype) == (device, dtype)
    own = {p.data_ptr() for p in exits.model.parameters()}
    assert len(exported) == len(exits.blocks)
    for graph in exported:  # on a GPU, moving a graph must not move the network
        assert not own & {p.data_ptr() for p in graph.parameters()}
    x = torch.rand(3, 1, 8, 8)
    for block in exits.blocks:
        program = torch.export.load(str(tmp_path / f"exit{block}.pt2")).module()
        session = onnxruntime.InferenceSession(str(tmp_path / f"exit{block}.onnx"))
        expected = exits.at(block)(x)
        torch.testing.assert_close(program(x), expected, rtol=1e-4, atol=1e-4)
        (scores,) = session.run(None, {"images": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(scores), expected, rtol=1e-4, atol=1e-4)
        metadata = {
            p.key: p.value for p in onnx.load(tmp_path / f"exit{block}.onnx").metadata_props
        }
        assert float(metadata["threshold"]) == exits.thresholds[block]


@pytest.mark.parametrize("blocks", [(3, 4, 5, 6), (3, 5, 6), (4, 6)])
def test_explain_agrees_with_the_exits(
    run_dir: Path, tmp_path: Path, blocks: tuple[int, ...]
) -> None:
    """Agreement is counted over the exits, whatever the blocks between them say."""
    for path in run_dir.iterdir():
        if path.name != "exits.json":
            (tmp_path / path.name).symlink_to(path)
    _, model = load_trained(run_dir, CPU)
    test = load_data_set("digits").test
    images = Normalize(*normalisation())(torch.from_numpy(test.images).permute(0, 3, 1, 2))
    left = set()
    for wanted in (2.0, 3.0):
        exits = EarlyExit(model, blocks, "agreement", wanted)
        save_exit_settings(exits, tmp_path / "exits.json", {})
        expected = exits(images)
        for index in range(0, 60, 3):
            found = explain_image(tmp_path, f"test:{index}", 3, None)
            assert (found.exit_block or 0) == expected.exits[index]
            leaves = [view.block for view in found.blocks if view.leaves]
            assert (leaves[0] if leaves else None) == found.exit_block
            left.add(found.exit_block)
    assert len(left) > 1


def normalisation() -> tuple[tuple[float, ...], tuple[float, ...]]:
    images = load_data_set("digits")
    return images.mean, images.std


def test_explain_says_what_the_network_does(run_dir: Path, tmp_path: Path) -> None:
    found = explain_image(run_dir, "test:3", 3, None)
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    images = load_data_set("digits")
    assert found.truth == images.class_names[images.test.labels[3]]
    assert found.prediction == str(predictions.logits[3].argmax())
    for view in found.blocks:
        ratio = 0.5 if view.block < 5 else 0.3
        expected = ratio * predictions.energies[view.block][3]
        np.testing.assert_allclose(view.scaled_energies, expected, rtol=1e-3, atol=1e-4)
        nearest = min(view.distances, key=view.distances.__getitem__)
        assert nearest == view.decision
        for name, word in view.codewords.items():
            bits = np.array(list(map(int, word)))
            distance = np.linalg.norm(expected - bits)
            assert view.distances[name] == pytest.approx(distance, rel=1e-3)
    Image.fromarray(images.test.images[3][..., 0]).save(tmp_path / "digit.png")
    again = explain_image(run_dir, str(tmp_path / "digit.png"), 3, None)
    assert again.truth is None
    assert [v.scaled_energies for v in again.blocks] == [v.scaled_energies for v in found.blocks]
    Image.new("RGB", (30, 20), "white").save(tmp_path / "wide.png")
    fitted = explain_image(run_dir, str(tmp_path / "wide.png"), 3, None)
    assert fitted.notes == ("the central square resized to 8 x 8",)
    assert np.array(fitted.pixels).shape == (8, 8, 1)


def test_pictures_and_json_from_the_command_line(run_dir: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    picture = tmp_path / "explained.png"
    done = runner.invoke(cli.app, ["explain", str(run_dir), "test:5", "--out", str(picture)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split(" says ")[0] for line in lines[1:5]] == [f"block {b}" for b in (3, 4, 5, 6)]
    done = runner.invoke(cli.app, ["explain", str(run_dir), "test:5", "--json"])
    content = json.loads(done.stdout)
    first = content["blocks"][0]
    shown = " ".join(f"{energy:.1f}" for energy in first["scaled_energies"])
    assert lines[1] == f"block 3 says {first['decision']}; its paths carry {shown}"
    assert len(content["blocks"]) == 4
    assert "pixels" not in content
    assert Image.open(picture).size[0] > 1000
    done = runner.invoke(cli.app, ["paths", str(run_dir), "--out", str(tmp_path / "paths.pdf")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "paths.pdf").stat().st_size > 5000
    blocks, facts = run_paths(run_dir)
    assert f"block 6: bit-error rate {100 * blocks[6].bit_error_rate:.2f} %" in done.stdout
    assert facts.image_shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "RUN", "--out", "OUT", "--class", "dog"], "unknown class 'dog'"),
        (["extract", "RUN", "--out", "OUT", "--compress", "1.5"], "--compress is 1.5"),
        (["extract", "RUN", "--out", "OUT", "--formats", "tflite"], "unknown format 'tflite'"),
        (["extract", "PLAIN", "--out", "OUT"], "holds a plain network"),
        (["exits", "PLAIN"], "holds a plain network"),
        (["paths", "PLAIN"], "holds a plain network"),
        (["exits", "RUN", "--criterion", "margins"], "did you mean margin"),
        (["exits", "RUN", "--budget", "2"], "a budget of 2.0"),
        (["explain", "RUN", "test:500"], "test images are test:0 to test:499"),
        (["explain", "RUN", "absent.png"], "cannot read absent.png"),
        (["explain", "RUN", "TEXT"], "is no image that can be read"),
        (["explain", "RUN", "a.png", "b.png"], "one RUN and one IMAGE are needed"),
        (["paths", "RUN", "--out", "x.bmp"], "a picture is one of"),
    ],
)
def test_mistakes_end_in_one_line(
    run_dir: Path, plain_dir: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "text.png").write_text("text")
    places = {"RUN": run_dir, "PLAIN": plain_dir, "OUT": tmp_path / "out",
              "TEXT": tmp_path / "text.png"}  # fmt: skip
    done = CliRunner().invoke(cli.app, [str(places.get(a, a)) for a in arguments])
    assert done.exit_code != 0
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)
    assert "\n" not in str(done.exception)
    out = tmp_path / "out"
    assert not out.exists() or not any(out.iterdir())


def test_an_unevaluated_run_says_so(run_dir: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run_dir / name).read_bytes())
    with pytest.raises(UserError, match="codepath evaluate"):
        fit_exits(tmp_path, ExitOptions())
