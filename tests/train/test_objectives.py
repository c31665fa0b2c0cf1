"""Every objective against its equation, gradients included, and in every way of training."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.data import ArrayDataSet
from codepath.models import CodedResNeXt, extract_binary_classifier
from codepath.run.config import RunConfig, content_hash, run_config_from_dict, to_dict
from codepath.run.objectives import OBJECTIVES, ObjectiveConfig
from codepath.train import FitOptions, fit
from codepath.train.losses import TrainingObjective
from codepath.train.questions import Questions, draw_questions, question_masks
from codepath.train.targets import Targets, guess_classes
from codepath.train.timm_runner import coding_loss_added
from tests.train.runs import CPU, QUIET, SignalAfter, assert_same_run, reported

IMAGES = torch.randn(8, 1, 8, 8, generator=torch.manual_seed(1), dtype=torch.float64)
LABELS = torch.tensor([0, 9, 3, 3, 7, 1, 2, 8])
MIXED = 0.7 * F.one_hot(LABELS, 10) + 0.3 * F.one_hot(LABELS.flip(0), 10)
QUESTIONS = Questions(
    torch.tensor([True, True, False, False, True, False, False, False]),
    torch.tensor([0, 4, 3, 6, 8, 0, 0, 8]),
)


def make() -> CodedResNeXt:
    """In evaluation mode, so that an image's outputs do not depend on the others."""
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext20_10x4d", in_chans=1).eval().double()
    for block in model.blocks:
        nn.init.ones_(block.bn3.weight)
    nn.init.normal_(model.fc.weight, std=0.1)
    return model


def recipe_of(name: str) -> ObjectiveConfig:
    return ObjectiveConfig(
        objective=name, mu=2.0, score_weight=0.3, score_scale=3.0, asked=0.4, question_weight=0.7
    )


def literally(
    model: CodedResNeXt, recipe: ObjectiveConfig, targets: Tensor, questions: Questions | None
) -> Tensor:
    """The module's equations, image by image, class by class, path by path."""
    terms = OBJECTIVES[recipe.objective]
    whole, own, answers = [], [], []
    for b in range(len(IMAGES)):
        if questions is not None and questions.asked[b]:
            c = int(questions.classes[b])
            alone = {n: block.codewords[c] for n, block in model.coded_blocks.items()}
            p = model.forward_coded(IMAGES[b : b + 1], path_masks=alone).logits[0, c].sigmoid()
            t = targets[b, c]
            answers.append(-(t * p.log() + (1 - t) * (1 - p).log()))
            continue
        output = model.forward_coded(IMAGES[b : b + 1])
        softmax = output.logits[0].softmax(0)
        whole.append(-sum(targets[b, k] * softmax[k].log() for k in range(10)))
        for number, block in model.coded_blocks.items():
            r, energies, words = block.ratio, output.energies[number][0], block.codewords
            if terms.power:
                for k, n in itertools.product(range(10), range(10)):
                    cost = abs(r * energies[n] - int(words[k, n])) ** recipe.exponent / 10
                    own.append(recipe.mu * targets[b, k] * cost)
            if terms.scores or terms.distilled:
                scores = [
                    recipe.score_scale * r * sum(energies[n] for n in range(10) if words[k, n])
                    for k in range(10)
                ]
                normaliser = torch.logsumexp(torch.stack(scores), 0)
                wanted = softmax.detach() if terms.distilled else targets[b]
                for k in range(10):
                    own.append(recipe.score_weight * wanted[k] * (normaliser - scores[k]))
    share = 0.0 if questions is None else recipe.asked
    total = (sum(whole) + sum(own)) / len(IMAGES) / (1 - share)
    if answers:
        total = total + recipe.question_weight * sum(answers) / len(IMAGES) / share
    return total


def gradients(model: nn.Module, total: Tensor) -> list[Tensor]:
    return [
        torch.zeros_like(p) if g is None else g
        for p, g in zip(
            model.parameters(),
            torch.autograd.grad(total, list(model.parameters()), allow_unused=True),
            strict=True,
        )
    ]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_its_equation(name: str) -> None:
    model, recipe = make(), recipe_of(name)
    questions = QUESTIONS if OBJECTIVES[name].asks else None
    expected = literally(model, recipe, F.one_hot(LABELS, 10), questions)
    parts = TrainingObjective(model, recipe)(IMAGES, LABELS, questions=questions)
    tolerance: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}  # logits' losses are single precision
    torch.testing.assert_close(parts.total, expected, check_dtype=False, **tolerance)
    for ours, theirs in zip(gradients(model, parts.total), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_timms_loop_has_the_same_objective(
    name: str, soft: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, recipe = make(), recipe_of(name)
    for module in model.modules():  # training mode, with the statistics of evaluation
        module.training = not isinstance(module, nn.BatchNorm2d)
    asks = OBJECTIVES[name].asks
    targets = MIXED.double() if soft else F.one_hot(LABELS, 10)
    expected = literally(model, recipe, targets, QUESTIONS if asks else None)
    draws = iter([QUESTIONS.asked * 0.0 + ~QUESTIONS.asked * 0.99, torch.zeros(8)])
    if asks:  # all that are asked, by 0 < share; own classes, by 0 < own_share
        monkeypatch.setattr(
            "codepath.train.timm_runner.guess_classes", lambda *_: QUESTIONS.classes
        )
        monkeypatch.setattr("torch.rand", lambda _rows: next(draws))
    with coding_loss_added(recipe):
        loss = nn.CrossEntropyLoss()(model(IMAGES), MIXED.double() if soft else LABELS)
    tolerance: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(loss, expected, check_dtype=False, **tolerance)
    for ours, theirs in zip(gradients(model, loss), gradients(model, expected), strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def test_a_question_is_answered_by_the_classifier_that_is_cut_out() -> None:
    model = make()
    with torch.no_grad():
        logits = model.forward_coded(IMAGES, path_masks=question_masks(model, QUESTIONS)).logits
        whole = model(IMAGES)
        for b, (asked, c) in enumerate(zip(*(part.tolist() for part in QUESTIONS), strict=True)):
            image = IMAGES[b : b + 1]
            if asked:
                alone = extract_binary_classifier(model, c)(image)
                torch.testing.assert_close(logits[b, c], alone.reshape(()))
            else:
                torch.testing.assert_close(logits[b], whole[b])


def test_questions_are_functions_of_the_sample() -> None:
    indices, labels = np.arange(20_000), torch.arange(20_000) % 10
    draw = functools.partial(draw_questions, classes=10, share=0.25, own_share=0.5)
    questions = draw(3, 1, indices, labels)
    assert questions.asked.float().mean().item() == pytest.approx(0.25, abs=0.01)
    ahead = (questions.classes - labels) % 10
    asked = ahead[questions.asked]
    shares = torch.bincount(asked, minlength=10) / len(asked)
    assert shares.tolist() == pytest.approx([0.5] + [0.5 / 9] * 9, abs=0.02)
    some = np.array([17, 19_999, 5])
    for part, whole in zip(draw(3, 1, some, labels[some]), questions, strict=True):
        assert torch.equal(part, whole[torch.from_numpy(some)])
    for other in (draw(4, 1, indices, labels), draw(3, 2, indices, labels)):
        assert not torch.equal(other.asked, questions.asked)
    never = draw_questions(3, 1, indices, labels, classes=10, share=0.25, own_share=0.0)
    assert (never.classes != labels).all()


def with_objective(config: RunConfig, name: str) -> RunConfig:
    recipe = dataclasses.replace(config.train, objective=name)
    return dataclasses.replace(config, train=recipe)


@pytest.mark.parametrize("name", ["energy_distillation", "extraction_and_cross_entropy"])
def test_training_goes_on_to_the_bit(
    name: str,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, options = with_objective(tiny_config, name), FitOptions(log_steps=2)
    fit(config, tiny_images, tmp_path / "straight", CPU, QUIET, options)
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["codepath.train.fit"], "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "number", signal.SIGTERM)
        patch.setattr(SignalAfter, "at", {4})
        with pytest.raises(InterruptedRun):
            fit(config, tiny_images, tmp_path / "broken", CPU, QUIET, options)
        torch.manual_seed(99)
    fit(config, tiny_images, tmp_path / "broken", CPU, QUIET, options)
    assert_same_run(tmp_path / "straight", tmp_path / "broken")
    lines = reported(tmp_path / "straight")
    assert all(math.isfinite(line["score_loss/block3"]) for line in lines)
    assert ("question_loss" in lines[0]) == OBJECTIVES[name].asks


def test_runs_made_before_an_objective_was_a_setting_keep_their_ids(tiny_config: RunConfig) -> None:
    values = to_dict(tiny_config)
    for key in ("objective", "score_weight", "score_scale", "asked", "question_weight"):
        del values["train"][key]
    del values["train"]["own_share"]
    assert run_config_from_dict(values) == tiny_config
    assert tiny_config.run_id.endswith("-0c26849b27")
    other = with_objective(tiny_config, "extraction")
    assert content_hash(other) != content_hash(tiny_config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "energy"}, "objective is 'energy', must be one of energy_power, "),
        ({"asked": 1.0}, "asked is 1.0, must lie between 0 and 1"),
        ({"own_share": 1.5}, "own_share is 1.5"),
        ({"score_scale": 0.0}, "score_scale is 0.0"),
        ({"question_weight": -1.0}, "question_weight is -1.0"),
        ({"score_weight": math.nan}, "score_weight is nan"),
        ({"objective": "extraction", "gradient_masking": True}, "gradient_masking goes with"),
    ],
)
def test_impossible_objectives_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ObjectiveConfig(**change)


def test_targets_are_those_of_the_last_batch() -> None:
    """timm's prefetching loader takes a batch ahead, so torch's own is then one too far."""
    from timm.data.loader import PrefetchLoader

    data = TensorDataset(torch.zeros(12, 3, 4, 4, dtype=torch.uint8), torch.arange(12))
    targets = Targets()
    with targets.remembered():
        for loader in (
            DataLoader(data, batch_size=4),
            PrefetchLoader(DataLoader(data, batch_size=4), device=torch.device("cpu")),
        ):
            for _images, labels in loader:
                assert targets.last is not None
                assert torch.equal(targets.last, labels)
    list(DataLoader(data, batch_size=3))
    assert targets.last.tolist() == [8, 9, 10, 11]


def test_classes_are_guessed_by_the_targets() -> None:
    assert torch.equal(guess_classes(LABELS, 8, 10), LABELS)
    soft = torch.zeros(4000, 10)
    soft[:, 3], soft[:, 6] = 0.7, 0.3
    guessed = torch.bincount(guess_classes(soft, 4000, 10), minlength=10) / 4000
    assert guessed[[3, 6]].tolist() == pytest.approx([0.7, 0.3], abs=0.03)
    for unknown in (None, LABELS):
        guessed = torch.bincount(guess_classes(unknown, 4000, 10), minlength=10) / 4000
        assert guessed.tolist() == pytest.approx([0.1] * 10, abs=0.02)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")
@pytest.mark.filterwarnings("ignore:The TorchScript type system")
def test_a_scripted_network_takes_no_questions() -> None:
    with coding_loss_added(recipe_of("extraction")):
        model = torch.jit.script(copy.deepcopy(make()).float().train())
        with pytest.raises(UserError, match="leave --torchscript out"):
            model(IMAGES.float())
