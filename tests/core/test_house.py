"""What holds for every module of the package, and no linter checks."""

from __future__ import annotations

import ast
from pathlib import Path

from codepath.core.provenance import PACKAGE_ROOT

LATE = {
    # Numba's loops are compiled when they are loaded: a second or two.
    ("codes/__init__.py", "codepath.codes.design"),
    ("codes/__init__.py", "codepath.codes.greedy"),
    ("codes/kept.py", "codepath.codes.design"),
    # Listing, showing and checking schemes starts without the linear programme's solver.
    ("codes/bounds.py", "scipy.optimize"),
    # Libraries that may not be installed.
    ("data/loader_factory.py", "codepath.data.ffcv_loader"),
    ("models/classifier_file.py", "onnxruntime"),
    ("train/candidates.py", "codepath.models"),  # Triton
    # `codepath submit` and `codepath status` start without submitit, pandas and torch.
    ("launch/submit.py", "submitit"),
    ("launch/task.py", "submitit.helpers"),
    ("launch/task.py", "rich.console"),
    ("launch/task.py", "codepath.pipeline.run"),
    ("launch/task.py", "codepath.pipeline.prepare"),
    ("launch/task.py", "codepath.train"),
    ("launch/task.py", "codepath"),
    ("launch/task.py", "codepath.run.state"),
    # `codepath report` of figures that are up to date starts without matplotlib.
    ("paper/report/page.py", "codepath.paper.build"),
    # One style sheet is all that is taken of it.
    ("paper/style.py", "seaborn"),
}
"""(file, module): imports within functions, each for the reason above it; cli/ has its own: all
of its commands import what they need, so that `codepath --help` imports nothing."""


def _late_imports(path: Path) -> set[str]:
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    found.add(node.module or "")
    return found


def test_imports_within_functions_have_a_reason() -> None:
    found = {
        (str(path.relative_to(PACKAGE_ROOT)), module)
        for path in PACKAGE_ROOT.rglob("*.py")
        if path.relative_to(PACKAGE_ROOT).parts[0] != "cli"
        for module in _late_imports(path)
    }
    assert found == LATE


def test_the_page_on_the_house_names_files_that_exist() -> None:
    page = (PACKAGE_ROOT.parent / "CONTRIBUTING.md").read_text()
    places = page.split("### Where things are")[1].split("### Words")[0]
    named = [part for part in places.split("`") if part.startswith("codepath/")]
    assert len(named) == 11
    assert [path for path in named if not (PACKAGE_ROOT.parent / path).is_file()] == []


MOST_LINES = 400
"""Of a file without a reason for more in its docstring."""
MOST_FUNCTION_LINES = 60
"""Of a function's body, its docstring not counted."""
MODULES = [*PACKAGE_ROOT.rglob("*.py"), *(PACKAGE_ROOT.parent / "benchmarks").glob("*.py")]


def test_files_and_functions_are_short() -> None:
    long = {}
    for path in MODULES:
        tree = ast.parse(path.read_text())
        name = str(path.relative_to(PACKAGE_ROOT.parent))
        if len(path.read_text().splitlines()) > MOST_LINES:
            long[name] = "file"
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = function.body[1:] if ast.get_docstring(function) else function.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if lines > MOST_FUNCTION_LINES:
                long[f"{name} {function.name}"] = lines
    assert long == {}
