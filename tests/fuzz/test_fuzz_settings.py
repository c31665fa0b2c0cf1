"""Settings and records: profiles, a lease's, exits, classifiers and a data set's facts, by file.

Beside the thresholds and numbers in them nothing says what they should be: another number of the
same type reads as valid. What is held here is that all has its type and goes with the network.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from rich.console import Console

from codepath.core.errors import UserError
from codepath.evaluate.thresholds import OBJECTIVES, Objective
from codepath.launch.cluster import (
    PROFILES,
    USE,
    check_profiles,
    load_profile,
    profile_name,
)
from codepath.lease.parts import GpuTests, Place
from codepath.lease.work import Lease
from codepath.models import CodedResNeXt, EarlyExit, load_early_exit, shipped
from codepath.models.shipped import BEST, FOLDER, shipped_cfgs
from codepath.parts.judgement import FILE, kept_judgement, kept_threshold
from codepath.parts.trained_run import load_coded
from codepath.pipeline.measure import DataFacts
from codepath.run import slurm
from codepath.run.config import RunConfig
from codepath.run.slurm import job_states
from tests.fuzz.binaries import mutated
from tests.fuzz.documents import ODD, Raw, encoded, json_files, json_lines_files
from tests.fuzz.harness import REFUSED, counted, fuzz, outcome

SHIPPED = FOLDER / BEST
SHELL = """
[use]
demo = "mine"
service = "mine"

[mine]
partition = "long"
time = "1-02:00:00"
memory = 64
nodes = 2
gpus = 4
setup = ["module load cuda", "cd /x"]
environment = { NCCL_DEBUG = "INFO", LEVEL = 3 }
"""
TOML = [
    *(one.text for one in ODD if isinstance(one, Raw) and len(one.text) < 30),
    "inf", "nan", "1979-05-27", "0x7fffffffffffffffffff", "'''a\nb'''", "[" * 50_000, "9" * 5000,
    "{ a = 1 }", "{ 'a b' = 'c' }", "{ A = [1] }", "{ A = \"a\\u0000b\" }", '"1-0:0:0"', '"٣٠"',
    '"' + "9" * 5000 + '"', '"-5"', "-7", "['a', 1]",
]  # fmt: skip


@st.composite
def profile_texts(draw: st.DrawFn) -> str:
    """Profiles with a value, a key or a line changed."""
    lines = SHELL.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key, equals, _ = lines[place].partition(" = ")
        action = draw(st.sampled_from(("value", "value", "value", "key", "drop", "again", "move")))
        if action == "value" and equals:
            lines[place] = f"{key} = {draw(st.sampled_from(TOML))}"
        elif action == "key":
            lines.insert(place, draw(st.sampled_from(TOP_LEVEL)))
        elif action == "drop":
            lines[place] = ""
        elif action == "again":
            lines.append(lines[place])
        elif action == "move":
            lines.insert(0, lines.pop(place))
    return "\n".join(lines) + "\n"


TOP_LEVEL = ("a = 1", "use = 3", "[[mine]]", "[mine.setup]", '["a\\nb"]', "[use.demo]", "cpuz = 1")


@counted
def test_profiles_are_what_their_file_says(
    inputs: int, tmp_path: Path, tiny_config: RunConfig
) -> None:
    """Every profile that is taken makes lines of a batch script that are its own."""
    path = tmp_path / "profiles.toml"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        outcome(lambda: profile_name(tiny_config, path), len(data))
        if outcome(lambda: check_profiles(path), len(data)) is REFUSED:
            return
        said = tomllib.loads(data.decode("utf-8-sig"))
        for name in said.keys() - {USE}:
            profile = outcome(lambda name=name: load_profile(name, path), len(data))
            assert profile is not REFUSED
            assert profile.words().isprintable()
            parameters = profile.slurm_parameters()
            assert 10 <= parameters["time"] < 2**63
            for key in ("partition", "account", "qos", "constraint", "mem"):
                assert str(parameters.get(key, "")).isprintable()
            for key in ("nodes", "gpus", "cpus", "tasks", "parallel"):
                assert getattr(profile, key) == said[name].get(key, getattr(profile, key))

    texts = encoded(profile_texts())
    fuzz(check, inputs, st.one_of(texts, texts, mutated([SHELL.encode(), PROFILES.read_bytes()])))


@counted
def test_judgements_of_classifiers(inputs: int, tmp_path: Path) -> None:
    kept = json.loads((SHIPPED / FILE).read_text())
    assert len(kept) == 10 * len(OBJECTIVES)

    def check(data: bytes) -> None:
        (tmp_path / FILE).write_bytes(data)
        for k, objective in ((0, Objective("f1")), (1, Objective("recall", 0.9))):
            found = outcome(lambda: kept_judgement(tmp_path, k, 10, objective), len(data))  # noqa: B023
            threshold = outcome(lambda: kept_threshold(tmp_path, k, 10, objective), len(data))  # noqa: B023
            if found is REFUSED or found is None:
                assert threshold is found
                continue
            assert threshold == found.threshold
            assert math.isfinite(found.threshold)
            (entry,) = (
                e for e in json.loads(data)
                if (e["objective"], e["class"]) == (str(objective), k)
            )  # fmt: skip
            assert entry["threshold"] == found.threshold
            m = found.metrics
            assert f"{m['f1']:.3f} {m['f1_95'][0]:.3f} {m['n']:,} {m['average_precision']:.3f}"

    few = kept[:4]
    fuzz(check, inputs, json_files(few))


@pytest.fixture(scope="module")
def network() -> CodedResNeXt:
    return load_coded(SHIPPED)[1]


@counted
def test_exits_go_with_their_network(inputs: int, network: CodedResNeXt, tmp_path: Path) -> None:
    path = tmp_path / "exits.json"
    whole = json.loads((SHIPPED / "exits.json").read_text())
    blocks = list(network.coded_blocks)
    weights = {str(b): [1.0] * place for place, b in enumerate(blocks, 1)}
    matrix = [[0.5] * 10] * 10
    readouts = {str(b): {"weight": matrix, "bias": [0.0] * 10} for b in blocks}

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found: EarlyExit = outcome(lambda: load_early_exit(network, path), len(data))
        if found is REFUSED:
            return
        said = json.loads(data)
        assert set(found.blocks) <= set(blocks)
        assert found.criterion == said["criterion"]
        for block in found.blocks:
            wanted = said["thresholds"][str(block)]
            assert found.thresholds[block] == (math.inf if wanted is None else wanted)
            assert not math.isnan(found.thresholds[block])

    documents = (whole, whole | {"weights": weights}, whole | {"readouts": readouts})
    fuzz(check, inputs, json_files(*documents))


@counted
def test_facts_on_a_data_set_go_with_their_network(inputs: int, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((SHIPPED / "config.json").read_bytes())

    def check(data: bytes) -> None:
        (tmp_path / "data.json").write_bytes(data)
        facts = outcome(lambda: DataFacts.load(tmp_path), len(data))
        if facts is not REFUSED:
            said = json.loads(data)
            assert list(facts.class_names) == said["class_names"]
            assert len(facts.class_names) == 10
            assert list(facts.image_shape) == said["image_shape"]
            assert facts.image_shape[0] == len(facts.mean) == len(facts.std) == 3
            assert all(0 <= value <= 1 for value in facts.mean)
            assert all(1e-9 <= value <= 1 for value in facts.std)

    fuzz(check, inputs, json_files(json.loads((SHIPPED / "data.json").read_text())))


@counted
def test_facts_on_a_shipped_network(
    inputs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    path = tmp_path / "network.tag" / shipped.FACTS
    path.parent.mkdir()

    def check(data: bytes) -> None:
        path.write_bytes(data)
        found = outcome(lambda: shipped_cfgs({}), len(data))
        if found is not REFUSED:
            said = json.loads(data)
            assert list(found["network.tag"]["label_names"]) == said["label_names"]
            assert found["network.tag"]["description"] == said["description"]

    fuzz(check, inputs, json_files(json.loads((SHIPPED / shipped.FACTS).read_text())))


PART = {"state": "done", "said": "top-1 90 %", "seconds": 3.5, "besides": None, "at": "now",
        "device": "CPU", "commit": "abc"}  # fmt: skip
RECORD = {"parts": {"first": PART, "second": PART | {"state": "cut", "besides": 1.5}},
          "child": 0, "host": "elsewhere"}  # fmt: skip
PROGRESS = ({"tests": ["t.py::one", "t.py::two"]}, {"test": "t.py::one", "outcome": "passed"},
            {"test": "t.py::two", "outcome": "failed"})  # fmt: skip


def place_in(folder: Path) -> Place:
    return Place(folder, "CPU", "abc", minutes=5, known=folder)


@counted
def test_a_lease_goes_on_from_its_record(inputs: int, tmp_path: Path) -> None:
    def check(data: bytes) -> None:
        (tmp_path / "lease.json").write_bytes(data)
        lease = Lease(place_in(tmp_path), [], tmp_path / "back", Console(quiet=True))
        if outcome(lambda: list(lease.plan()), len(data)) is REFUSED:
            return
        said = json.loads(data)
        use: tuple[Callable[[], Any], ...] = (lambda: lease.taken, lambda: list(lease._summary()))
        taken, summary = (outcome(one, len(data)) for one in use)
        done = [name for name, part in said["parts"].items() if part["state"] == "done"]
        assert list(taken) == done
        assert all(isinstance(seconds, int | float) for seconds, _ in taken.values())
        assert len(summary) >= 3 + len(said["parts"])

    fuzz(check, inputs, json_files(RECORD))


@counted
def test_tests_of_a_gpu_are_passed_over_only_if_they_passed(inputs: int, tmp_path: Path) -> None:
    part, place = GpuTests("tests"), place_in(tmp_path)

    def check(data: bytes) -> None:
        (tmp_path / "tests-abc.jsonl").write_bytes(data)
        ready = outcome(lambda: part.ready(place), len(data))
        said = outcome(lambda: part.outcome(place), len(data))
        assert ready is not REFUSED
        assert said is not REFUSED
        if ready:
            assert b"passed" in data or b"skipped" in data
            assert "failed" not in said

    fuzz(check, inputs, json_lines_files(*PROGRESS))


@counted
def test_what_slurm_says_of_jobs(inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """squeue and sacct may be wrapped by a site, and print more than was asked for."""
    answers: dict[str, str | None] = {}
    monkeypatch.setattr(slurm, "_ask", lambda command, *_: answers[command])
    lines = ("12_0|PENDING|Dependency", "12_1|RUNNING|None", "13|CANCELLED by 0", "13|", "|", "",
             "slurm: hello", "12_0", "12_0|X|Y|Z|", "13|COMPLETED", "\x00|\x00|\x00")  # fmt: skip
    text = st.one_of(st.none(), st.lists(st.sampled_from(lines)).map("\n".join), st.text())

    def check(squeue: str | None, sacct: str | None) -> None:
        answers.update(squeue=squeue, sacct=sacct)
        found = outcome(lambda: job_states(["12_0", "13"]), 0)
        assert found is not REFUSED
        assert (found is None) == (squeue is None)
        for state in (found or {}).values():
            assert state.words

    fuzz(check, inputs, text, text)


def test_these_files_are_valid(network: CodedResNeXt, tmp_path: Path) -> None:
    """What is mutated above is valid before."""
    (tmp_path / "profiles.toml").write_text(SHELL)
    check_profiles(tmp_path / "profiles.toml")
    assert load_profile("mine", tmp_path / "profiles.toml").minutes == 26 * 60
    assert load_early_exit(network, SHIPPED / "exits.json").blocks == (3, 4, 5, 6)
    assert kept_threshold(SHIPPED, 0, 10, Objective("f1")) is not None
    assert DataFacts.load(SHIPPED).image_shape == (3, 32, 32)
    (tmp_path / "lease.json").write_text(json.dumps(RECORD))
    lease = Lease(place_in(tmp_path), [], tmp_path / "back", Console(quiet=True))
    list(lease.plan())
    assert lease.taken == {"first": (3.5, None)}
    lines = "".join(json.dumps(line) + "\n" for line in PROGRESS)
    (tmp_path / "tests-abc.jsonl").write_text(lines)
    assert GpuTests("tests").outcome(place_in(tmp_path)) == "1 passed; 1 failed: two"


@pytest.mark.parametrize(
    "content",
    ["[" * 10**5, "\xff", "[1]", '[{"objective": [], "class": 0}]', '[{"class": Infinity}]'],
)
def test_worst_judgements(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"classifiers\.json is damaged"):
        kept_threshold(tmp_path, 0, 10, Objective("f1"))


@pytest.mark.parametrize(
    "change",
    [{"threshold": math.nan}, {"class": math.inf}, {"metrics": {}}, {"metrics": {"f1": "high"}}],
)
def test_judgements_without_a_worth(change: dict[str, Any], tmp_path: Path) -> None:
    """A threshold that is not a number would make every answer "no"."""
    (entry, *_) = json.loads((SHIPPED / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps([entry | change]))
    with pytest.raises(UserError, match=r"classifiers\.json is damaged"):
        kept_threshold(tmp_path, 0, 10, Objective("f1"))
    (tmp_path / FILE).write_text(json.dumps([entry, entry | {"threshold": 9}]))
    with pytest.raises(UserError, match="a classifier is there twice"):
        kept_threshold(tmp_path, 0, 10, Objective("f1"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_names": ["a"]}, "1 classes, the network has 10"),
        ({"mean": [0.5]}, "3 channels"),
        ({"image_shape": [1, 32, 32]}, "1 channels, the network has 3"),
        ({"image_shape": [3, 2**40, 2**40]}, "out of range"),
        ({"std": [0.2, 0.2, 0]}, "out of range"),
        ({"std": [0.2, 0.2, 1e-320]}, "out of range"),
        ({"mean": [0.5, 0.5, 1e300]}, "out of range"),
        ({"source": None}, "data.source is None"),
        ({"more": 1}, "unknown key data.more"),
    ],
)
def test_facts_of_another_network(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((SHIPPED / "config.json").read_bytes())
    facts = json.loads((SHIPPED / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps(facts | change))
    with pytest.raises(UserError, match=rf"data\.json is damaged \(.*{said}"):
        DataFacts.load(tmp_path)


@pytest.mark.parametrize(
    "record",
    [
        "[]",
        "{}",
        "[" * 10**5,
        json.dumps(RECORD | {"child": "1"}),
        json.dumps(RECORD | {"parts": {"first": {"state": "done"}}}),
    ],
)
def test_a_record_of_a_lease_that_is_none(record: str, tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text(record)
    lease = Lease(place_in(tmp_path), [], tmp_path / "back", Console(quiet=True))
    with pytest.raises(UserError, match=r"lease\.json is damaged .*; remove it"):
        list(lease.plan())


def test_outcomes_that_pytest_does_not_know_are_left_out(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"tests": ["one", "two"]},
        {"test": "one", "outcome": "exploded"},
        {"outcome": "passed"},
        {"test": ["two"], "outcome": "passed"},
        {"tests": "three"},
    ]
    (tmp_path / "tests-abc.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert GpuTests("tests").outcome(place_in(tmp_path)) == "0 passed; cut before: one, two"
