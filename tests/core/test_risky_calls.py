"""Calls that run what a file or a text holds: none but those that are named here, with a reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from codepath.core.provenance import REPO_ROOT

ALLOWED = {
    # The scripts that a user names, in this process: a benchmark of ours, one of timm's.
    ("codepath/cli/tool_commands.py", "runpy.run_path"),
    ("codepath/train/timm_runner.py", "runpy.run_path"),
    ("tests/test_tour.py", "runpy.run_path"),
    # Whether an error can be sent to the other processes; nothing comes from outside.
    ("codepath/train/distributed.py", "pickle.loads"),
    # The graph that was written a moment ago, to compare what it says.
    ("codepath/models/classifier_file.py", "torch.export.load"),
    ("tests/models/test_classifier_file.py", "torch.export.load"),
    ("tests/parts/test_apply.py", "torch.export.load"),
    ("tests/models/test_script.py", "torch.jit.load"),
    # What a test has pickled itself, within a second.
    ("tests/core/test_core.py", "pickle.loads"),
    ("tests/launch/test_launch.py", "pickle.loads"),
    ("tests/models/test_networks.py", "pickle.loads"),
    # The Python on the project's own pages.
    ("tests/docs/test_commands.py", "exec"),
}
"""(file, call), each for the reason above it.

Libraries unpickle twice: Submitit reads a job's task from RUNS/jobs, and torchvision the archive of
CIFAR, once its MD5 is right (codepath/data/sources/cifar.py). torch.distributed sends objects
between the processes of a training as pickles.
"""
MODULES = ("pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle")
CALLS = {
    "eval", "exec", "os.system", "os.popen", "runpy.run_path", "runpy.run_module", "torch.jit.load",
    "torch.export.load", "torch.package.PackageImporter", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "pandas.read_pickle", "pd.read_pickle", "subprocess.getoutput",
}  # fmt: skip
READS = ("load", "loads", "Unpickler", "open")


def risky(text: str) -> Iterator[str]:
    """The risky calls of a piece of Python, by their names as they are written."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        module, _, function = name.rpartition(".")
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if name in CALLS or (module in MODULES and function in READS):
            yield name
        if name == "torch.load" and given.get("weights_only") != "True":
            yield "torch.load"
        if given.get("allow_pickle", "False") != "False":
            yield f"{name}(allow_pickle)"
        if given.get("shell", "False") != "False":
            yield f"{name}(shell)"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (
                f"from {name}"
                for name in names
                if name in CALLS
                or name == "torch.load"
                or (node.module in MODULES and name.rpartition(".")[2] in READS)
            )


def test_risky_calls_have_a_reason() -> None:
    files = [REPO_ROOT / "setup.py"]
    for folder in ("benchmarks", "codepath", "docs/extensions", "notebooks", "tests"):
        files += (REPO_ROOT / folder).rglob("*.py")
    assert len(files) > 300
    found = {
        (str(file.relative_to(REPO_ROOT)), call)
        for file in files
        for call in risky(file.read_text())
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("torch.load(f)", ["torch.load"]),
        ("torch.load(f, weights_only=False)", ["torch.load"]),
        ("torch.load(f, weights_only=True)", []),
        ("np.load(f, allow_pickle=True)", ["np.load(allow_pickle)"]),
        ("np.load(f)", []),
        ("pickle.load(f)", ["pickle.load"]),
        ("pickle.Unpickler(f)", ["pickle.Unpickler"]),
        ("from pickle import loads", ["from pickle.loads"]),
        ("from torch import load", ["from torch.load"]),
        ("subprocess.run(x, shell=True)", ["subprocess.run(shell)"]),
        ("eval(x)", ["eval"]),
        ("model.eval()", []),
    ],
)
def test_the_rule_finds_them(text: str, found: list[str]) -> None:
    assert list(risky(text)) == found


def test_the_terminal_takes_names_as_they_are() -> None:
    """Rich reads brackets as markup: a folder called photos[old] came out as photos."""
    open_to_markup = {
        f"{file.name}: {ast.unparse(node)}"
        for file in (REPO_ROOT / "codepath").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("Console", "rich.console.Console")
        and not any(
            one.arg == "markup" and ast.unparse(one.value) == "False" for one in node.keywords
        )
    }
    assert open_to_markup == set()
