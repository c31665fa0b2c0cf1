"""The pages `reference/api/*`: one a package, every module in it by its docstrings.

They are made of the source as it stands, which is parsed and never imported: so the build needs
neither torch nor a library that may not be installed, and takes a second instead of a minute.
"""

from __future__ import annotations

import ast
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from page_text import write_if_new
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2] / "codepath"
_LINE = 88
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes):$")
_ITEM = re.compile(r"^(\*{0,2}\w[\w, *]*): (.*)$")
_CODE = re.compile(r"(`[^`]*`)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def escaped(line: str) -> str:
    """A line of a docstring in which Markdown finds nothing but code in backticks."""
    parts = _CODE.split(line)
    return "".join(
        part if part.startswith("`") else re.sub(r"([\\*_<$\[{|])", r"\\\1", part) for part in parts
    )


def _paragraphs(text: str) -> list[list[str]]:
    """The blocks of a docstring between empty lines; those in fences stay whole."""
    blocks: list[list[str]] = [[]]
    fenced = False
    for line in text.split("\n"):
        fenced ^= line.startswith("```")
        if line.strip() or fenced:
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _section(block: list[str]) -> list[str]:
    """Args and the like, as a list."""
    lines = [f"**{block[0].removesuffix(':')}**", ""]
    for line in textwrap.dedent("\n".join(block[1:])).split("\n"):
        item = _ITEM.match(line)
        if item:
            lines.append(f"- `{item[1]}`: {escaped(item[2])}")
        elif line.startswith(" "):
            lines.append(f"  {escaped(line.strip())}")
        else:
            lines.append(escaped(line))
    return [*lines, ""]


def _mixed(block: list[str]) -> Iterator[str]:
    """A paragraph in which lines that stand further in, such as formulas, keep their form."""
    inside = False
    for line in block:
        if line.startswith("    ") != inside:
            yield "```" if inside else "\n```text"
            inside = not inside
        yield line if inside else escaped(line)
    if inside:
        yield "```"
    yield ""


def prose(docstring: str) -> list[str]:
    """A docstring as Markdown."""
    lines: list[str] = []
    for block in _paragraphs(docstring):
        if block[0].startswith("```"):
            lines += [*block, ""]
        elif _SECTION.match(block[0]):
            lines += _section(block)
        elif block[0].lstrip().startswith(("- ", "* ")) or block[0].startswith("|"):
            lines += ["```text", *block, "```", ""] if block[0].startswith("|") else [
                *(re.sub(r"^(\s*)\\\*", r"\1*", escaped(line)) for line in block), ""
            ]  # fmt: skip
        else:
            lines += _mixed(block)
    return lines


def _signature(node: Function, owner: str = "") -> str:
    """The line `def NAME(...) -> ...`, broken where it is long; a method's with its class."""
    start = f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {owner}{node.name}"
    end = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"{start}({ast.unparse(node.args)}){end}"
    if len(whole) <= _LINE:
        return whole
    names = _split(ast.unparse(node.args))
    return "\n".join([f"{start}(", *(f"    {name}," for name in names), f"){end}"])


def _split(arguments: str) -> list[str]:
    """Arguments at the commas that stand in no bracket and no string."""
    found, depth, quote, begin = [], 0, "", 0
    for place, letter in enumerate(arguments):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == "," and not depth:
            found.append(arguments[begin:place].strip())
            begin = place + 1
    return [*found, arguments[begin:].strip()]


def _block(name: str, code: str, docstring: str | None) -> list[str]:
    """One thing that can be named: its code in a box, and its docstring."""
    return [f"{{#{name.replace('.', '-')}}}", "```python", code, "```", "", *prose(docstring or "")]


def _values(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str, str]]:
    """Public assignments that a docstring follows: the statement, its name, the docstring."""
    for statement, after in itertools.pairwise(body):
        target = statement.targets[0] if isinstance(statement, ast.Assign) else (
            statement.target if isinstance(statement, ast.AnnAssign) else None)  # fmt: skip
        text = after.value if isinstance(after, ast.Expr) else None
        if (isinstance(target, ast.Name) and not target.id.startswith("_")
                and isinstance(text, ast.Constant) and isinstance(text.value, str)):  # fmt: skip
            yield statement, target.id, " ".join(text.value.split())


def _class(name: str, node: ast.ClassDef) -> list[str]:
    """A class, its documented values and its public methods."""
    bases = ", ".join(map(ast.unparse, node.bases))
    head = f"class {node.name}({bases})" if bases else f"class {node.name}"
    lines = _block(name, head, ast.get_docstring(node))
    values = [f"- `{ast.unparse(statement)}`: {escaped(text)}"
              for statement, _, text in _values(node.body)]  # fmt: skip
    lines += [*values, ""] if values else []
    for method in node.body:
        if isinstance(method, Function) and (
            not method.name.startswith("_") or method.name in ("__init__", "__call__")
        ):
            docstring = ast.get_docstring(method)
            if docstring:
                code = _signature(method, f"{node.name}.")
                lines += _block(f"{name}.{method.name}", code, docstring)
    return lines


def _module(name: str, path: Path) -> list[str]:
    """The section of one module."""
    tree = ast.parse(path.read_text())
    lines = [f"({name})=", f"## {name}", "", *prose(ast.get_docstring(tree) or "")]
    for statement, value, text in _values(tree.body):
        code = ast.unparse(statement)
        shown = code if len(code) <= _LINE else f"{code.split(' = ')[0]} = ..."
        lines += _block(f"{name}.{value}", shown, text)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            lines += _class(f"{name}.{node.name}", node)
        elif isinstance(node, Function) and not node.name.startswith("_"):
            lines += _block(f"{name}.{node.name}", _signature(node), ast.get_docstring(node))
    return lines


def _package(package: Path) -> str:
    """The page of one package."""
    tree = ast.parse((package / "__init__.py").read_text())
    lines = [f"# codepath.{package.name}", "", *prose(ast.get_docstring(tree) or "")]
    for path in sorted(package.rglob("*.py")):
        if not path.name.startswith("__") and "pretrained" not in path.parts:
            name = ".".join(["codepath", *path.relative_to(ROOT).with_suffix("").parts])
            lines += _module(name, path)
    return "\n".join(_once(lines)) + "\n"


def _once(lines: list[str]) -> Iterator[str]:
    """The lines without a name for links that differs from an earlier one in capitals alone."""
    seen: set[str] = set()
    for line in lines:
        if not line.startswith("{#") or line.lower() not in seen:
            yield line
        seen.add(line.lower())


def pages() -> dict[str, str]:
    """File name -> text, of every package and of the index."""
    packages = sorted(path.parent for path in ROOT.glob("*/__init__.py"))
    found = {f"{path.name}.md": _package(path) for path in packages}
    index = [
        "# API",
        "",
        "What can be imported, from its docstrings. Most users need `codepath.models` alone: it "
        "registers the networks with timm, and has early exits and extraction. Other modules may "
        "change between versions; each change is in the changelog.",
        "",
        "| package | what it is |",
        "| --- | --- |",
    ]
    for path in packages:
        about = ast.get_docstring(ast.parse((path / "__init__.py").read_text())) or ""
        first = escaped(" ".join(about.split("\n\n")[0].split()))
        index.append(f"| [codepath.{path.name}]({path.name}.md) | {first} |")
    names = [name.removesuffix(".md") for name in found]
    return found | {"index.md": "\n".join([*index, "", "```{toctree}", ":hidden:", "", *names,
                                           "```", ""])}  # fmt: skip


def _write(app: Sphinx) -> None:
    """Write all pages; remove those of packages that are gone."""
    folder = Path(app.srcdir, "reference/api")
    made = pages()
    for name, text in made.items():
        write_if_new(folder / name, text)
    for old in folder.glob("*.md"):
        if old.name not in made:
            old.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before the build reads them."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
