"""The commands and the Python code on pages: found, taken apart, and parsed by the real program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted(DOCS.glob("decisions/*.md")),
    ROOT / "paper/NOTES.md",
    ROOT / "CONTRIBUTING.md",
    *(ROOT / folder / "README.md" for folder in ("results", "slurm")),
]
_FENCE = re.compile(r"^( *)```(\w*)(?: +\{([^}]*)\})?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ASSIGNED = re.compile(r"^([A-Za-z_]\w*)=(.*)$", re.DOTALL)
_ENDS = {";", "&&", "||", "|", "&"}
_KEYWORDS = {"do", "then", "else", "done", "fi", "!"}


class Fence(NamedTuple):
    """Some lines of code on a page."""

    page: Path
    line: int
    language: str
    dry: bool
    """Whether it is only parsed."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """One simple command: its words, variables filled in, and where it stands."""

    words: list[str]
    place: str


def fences(page: Path, *languages: str) -> list[Fence]:
    """The fences of a page in some languages."""
    text = page.read_text() if page.exists() else ""
    return [
        Fence(page, text[: found.start()].count("\n") + 1, found[2], ".dry" in (found[3] or ""),
              "\n".join(line.removeprefix(found[1]) for line in found[4].split("\n")))
        for found in _FENCE.finditer(text)
        if found[2] in languages
    ]  # fmt: skip


def commands(fence: Fence) -> Iterator[Command]:
    """The simple commands of a fence; a loop's body once, with its first value."""
    known: dict[str, str] = {}
    text = fence.text.replace("\\\n", " ")
    for number, line in enumerate(text.split("\n"), fence.line + 1):
        for words in _simple(line):
            while words and words[0] in _KEYWORDS:
                words = words[1:]
            if words[:1] == ["for"]:
                known[words[1]] = _filled(words[3], known)
                continue
            while words and (assigned := _ASSIGNED.match(words[0])):
                known[assigned[1]] = _filled(assigned[2], known)
                words = words[1:]
            if words:
                yield Command([_filled(word, known) for word in words],
                              f"{fence.page.relative_to(ROOT)}:{number}")  # fmt: skip


def _simple(line: str) -> Iterator[list[str]]:
    """The words of each simple command in a line of shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words: list[str] = []
    for word in lexer:
        if word in _ENDS:
            yield words
            words = []
        else:
            words.append(word)
    yield words


def _filled(word: str, known: dict[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda name: known.get(name[1], name[0]), word)


def program_arguments(words: list[str]) -> list[str] | None:
    """The arguments of `codepath` in a command, however it is started; None where it is not."""
    if Path(words[0]).name == "codepath":
        return words[1:]
    if words[0] == "srun":
        return program_arguments([word for word in words[1:] if not word.startswith("-")])
    if "codepath.cli" in words and words[0] in ("torchrun", "python", "python3"):
        return words[words.index("codepath.cli") + 1 :]
    return None


def parsed(arguments: list[str]) -> dict[str, Any]:
    """What the real program makes of its arguments, without calling the command.

    Raises its usage errors, such as that of an option that does not exist.
    """
    import typer.main

    from codepath.cli import app

    group: Any = typer.main.get_command(app)
    if set(arguments) & {"--help"}:
        arguments = [word for word in arguments if word != "--help"]
        assert not arguments or arguments[0] in group.commands, arguments
        return {}
    context = group.make_context("codepath", list(arguments))
    name = ""
    while hasattr(group, "commands"):
        name, group, rest = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = group.make_context(name, rest, parent=context)
    return context.params | {"command": context.command_path.removeprefix("codepath ")}
