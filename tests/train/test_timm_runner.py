"""Scripts that train as timm's train.py does, run with the coding loss."""

from __future__ import annotations

import copy
import json
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.loss import (
    BinaryCrossEntropy,
    JsdCrossEntropy,
    LabelSmoothingCrossEntropy,
    SoftTargetCrossEntropy,
)
from torch import Tensor, nn
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.models import CodedResNeXt
from codepath.run.objectives import ObjectiveConfig
from codepath.train.losses import TrainingObjective, mean_cost, power_costs
from codepath.train.timm_runner import coding_loss_added, run_script

SCRIPT = """
import argparse, timm, torch
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--mu", type=float)
parser.add_argument("--smoothing", type=float, default=0.0)
parser.add_argument("--out")
parser.add_argument("--torchscript", action="store_true")
args = parser.parse_args()
torch.manual_seed(0)
model = timm.create_model(args.model, num_classes=10, in_chans=1)
for block in model.layer3:
    torch.nn.init.ones_(block.bn3.weight)
if args.torchscript:
    model = torch.jit.script(model)
optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, momentum=0.9)
loss_fn = torch.nn.CrossEntropyLoss()
if args.smoothing:
    loss_fn = LabelSmoothingCrossEntropy(args.smoothing)
model.train()
for step in range(3):
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8)
    loss = loss_fn(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.no_grad():
    torch.nn.CrossEntropyLoss()(model(images), labels)
torch.save({"state_dict": model.state_dict(), "loss": loss.item(), "mu": args.mu}, args.out)
"""


def by_objective(name: str, mu: float, smoothing: float) -> tuple[dict[str, Tensor], float]:
    """What the script should arrive at, by `TrainingObjective`."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10, in_chans=1)
    for block in model.layer3:
        nn.init.ones_(block.bn3.weight)
    optimizer = timm.optim.create_optimizer_v2(model, opt="sgd", lr=0.01, momentum=0.9)
    objective = TrainingObjective(model, ObjectiveConfig(mu=mu, label_smoothing=smoothing)).train()
    for _ in range(3):
        images, labels = torch.randn(8, 1, 8, 8), torch.arange(8)
        total = objective(images, labels).total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return model.state_dict(), total.item()


@pytest.mark.parametrize(
    ("name", "mu", "smoothing", "more"),
    [
        ("coded_resnext20_10x4d", 6, 0.0, []),
        ("coded_resnext20_10x4d", 2, 0.1, []),
        ("coded_resnext20_10x4d", 2, 0.1, ["--torchscript"]),
        ("resnext20_10x4d", 6, 0.1, []),
        ("resnext20_10x4d", 6, 0.1, ["--torchscript"]),
    ],
)
@pytest.mark.filterwarnings("ignore:The TorchScript type system")
def test_a_script_trains_as_the_objective_does(
    name: str, mu: float, smoothing: float, more: list[str], tmp_path: Path
) -> None:
    script, out = tmp_path / "train.py", tmp_path / "out.pth"
    script.write_text(SCRIPT)
    arguments = [
        "--model",
        name,
        "--mu",
        "77",
        "--smoothing",
        str(smoothing),
        "--out",
        str(out),
        *more,
    ]
    before = sys.argv, list(sys.path)
    options = [] if mu == 6 else ["--mu", str(mu)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "The TorchScript type system")
        result = CliRunner().invoke(
            cli.app, ["timm", *options, str(script), *arguments], catch_exceptions=False
        )
    assert result.exit_code == 0
    assert (sys.argv, sys.path) == before
    assert not CodedResNeXt.keeps_energies
    got = torch.load(out, weights_only=True)
    assert got["mu"] == 77  # the script's own option of the same name
    state, loss = by_objective(name, mu, smoothing)
    assert got["loss"] == pytest.approx(loss, rel=1e-5)
    for key, value in state.items():
        torch.testing.assert_close(got["state_dict"][key], value)


def test_weight_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, out = tmp_path / "train.py", tmp_path / "out.pth"
    script.write_text(SCRIPT)
    monkeypatch.setenv("CODEPATH_MU", "0.5")
    arguments = ["timm", str(script), "--model", "coded_resnext20_10x4d", "--out", str(out)]
    CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    expected = by_objective("coded_resnext20_10x4d", 0.5, 0.0)[1]
    assert torch.load(out, weights_only=True)["loss"] == pytest.approx(expected, rel=1e-5)


def test_script_sees_its_folder_and_arguments(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 5")
    script = tmp_path / "validate.py"
    script.write_text(
        "import beside, json, pathlib, sys\n"
        "import timm\n"
        "assert __name__ == '__main__'\n"
        "assert timm.is_model('coded_resnext29_10x11d')\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps([sys.argv, beside.VALUE]))\n"
    )
    run_script(script, [str(tmp_path / "out.json"), "--flag"])
    argv, value = json.loads((tmp_path / "out.json").read_text())
    assert argv == [str(script), str(tmp_path / "out.json"), "--flag"]
    assert value == 5
    with pytest.raises(UserError, match=r"absent\.py is not a file: .*checkout of timm"):
        run_script(tmp_path / "absent.py", [])
    with pytest.raises(UserError, match="mu is -1"):
        run_script(script, [], ObjectiveConfig(mu=-1))


def make() -> CodedResNeXt:
    torch.manual_seed(0)
    return timm.create_model("coded_resnext20_10x4d", in_chans=1).train()


IMAGES = torch.randn(9, 1, 8, 8, generator=torch.manual_seed(1))
LABELS = torch.tensor([0, 9, 3, 3, 7, 1, 2, 8, 5])
MIXED = 0.7 * F.one_hot(LABELS, 10) + 0.3 * F.one_hot(LABELS.flip(0), 10)


@pytest.mark.parametrize(
    ("criterion", "target"),
    [
        (nn.CrossEntropyLoss(), LABELS),
        (nn.CrossEntropyLoss(label_smoothing=0.1), MIXED),
        (LabelSmoothingCrossEntropy(0.1), LABELS),
        (SoftTargetCrossEntropy(), MIXED),
        (BinaryCrossEntropy(), LABELS),
        (BinaryCrossEntropy(), MIXED),
        (JsdCrossEntropy(num_splits=3), LABELS),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.filterwarnings("ignore:Using `torch.compile:UserWarning")
def test_every_loss_of_timm(criterion: nn.Module, target: Tensor, compiled: bool) -> None:
    torch._dynamo.reset()
    model = make()
    reference = copy.deepcopy(model)
    output = reference.forward_coded(IMAGES)
    soft = F.one_hot(target, 10) if target.ndim == 1 else target
    rows = 3 if isinstance(criterion, JsdCrossEntropy) else 9  # it asks for the first split alone
    coding = sum(
        mean_cost(
            power_costs(output.energies[number][:rows], block.codewords, soft[:rows], block.ratio)
        )
        for number, block in reference.coded_blocks.items()
    )
    expected = criterion(output.logits, target) + 5 * coding
    expected.backward()

    called = torch.compile(model, backend="eager") if compiled else model
    with coding_loss_added(ObjectiveConfig(mu=5)):
        loss = criterion(called(IMAGES), target)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    assert model.last_energies is None


def test_timms_task_with_moving_average_and_low_precision() -> None:
    task_module = pytest.importorskip("timm.task")
    model = make()
    twin = copy.deepcopy(model)
    with coding_loss_added():
        task = task_module.ClassificationTask(model, LabelSmoothingCrossEntropy(0.1))
        task.setup_ema()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            first = task(IMAGES, LABELS)
        first["loss"].backward()
        task.update_ema()
        copy.deepcopy(model)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = TrainingObjective(twin, ObjectiveConfig(mu=6, label_smoothing=0.1))(
                IMAGES, LABELS
            )
    assert first["loss"].item() == pytest.approx(parts.total.item(), rel=0.02)
    assert first["loss"].item() > parts.cross_entropy.item() * 1.1


def test_only_a_loss_of_the_training_logits_is_changed() -> None:
    model = make()
    criterion = nn.CrossEntropyLoss()
    with coding_loss_added():
        logits = model(IMAGES)
        other = logits.detach()
        torch.testing.assert_close(criterion(other, LABELS), F.cross_entropy(other, LABELS))
        assert criterion(logits, LABELS) > F.cross_entropy(logits, LABELS) + 0.1
        torch.testing.assert_close(criterion(logits, LABELS), F.cross_entropy(logits, LABELS))
        logits = model.eval()(IMAGES)
        torch.testing.assert_close(criterion(logits, LABELS), F.cross_entropy(logits, LABELS))
    logits = model.train()(IMAGES)
    torch.testing.assert_close(criterion(logits, LABELS), F.cross_entropy(logits, LABELS))


def test_a_loss_that_cannot_be_seen_is_warned_of() -> None:
    model = make()
    with coding_loss_added():
        F.cross_entropy(model(IMAGES), LABELS).backward()
        with pytest.warns(UserWarning, match="met no loss module"):
            model(IMAGES)


def test_targets_of_another_shape_are_refused() -> None:
    model = make()
    with coding_loss_added(), pytest.raises(UserError, match=r"\(9,\) class indices"):
        SoftTargetCrossEntropy()(model(IMAGES), torch.full((1, 10), 0.1))
