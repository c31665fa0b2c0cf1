"""What a power cut may leave of a folder whose file operations were recorded (`recorder`).

After `kill -9` the kernel still has all that was written. After a power cut it has what reached the
disk. A test records what an operation of ours does to one folder, and gets the states in which a
power cut during that operation may leave the folder. This is how ALICE and CrashMonkey test.

What a cut may lose is what POSIX allows, which is more than ext4 loses in its default mode:

- Of what was written to a file since its last fsync there may be all, nothing, the beginning, the
  right length of zeros, or zeros in place of the beginning. A file that was opened to be written
  anew may be empty, one that was written over in place old in one half and new in the other.
- A name that was made, moved or removed since the last fsync of its directory may or may not be so
  after the cut. These changes are lost independently of one another and of what files hold. Hence a
  file that was not flushed before it was renamed may be empty under its new name.
- A move is a single change: it loses neither file, and leaves no file under both names.
- An fsync of a file does not flush its name. A directory has a name in its parent, too: without it
  all that is in the directory is gone.

The cut is tried after every recorded operation. Where the losses of one cut have many combinations,
they are drawn with a seed, and all and nothing are always among them.

Left out are disks that report an fsync which they did not do, bytes that rot, permissions and times
of files, and links.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unittest import mock

Place = tuple[int, str]
"""A directory's number, and a name in it."""
Tree = Mapping[str, bytes | None]
"""Path within the folder -> a file's content; None for a directory."""
ROOT = 0
"""The number of the recorded folder itself."""
_MOST_SUBSETS = 5
"""Of so many pending changes of names every subset is tried, of more a choice."""


@dataclass(frozen=True)
class Named:
    """A file or directory got a name, lost one, or both (a move)."""

    entry: int
    gone: Place | None
    come: Place | None

    @property
    def directories(self) -> set[int]:
        """An fsync of either makes the change last."""
        return {place[0] for place in (self.gone, self.come) if place is not None}

    def apply(self, names: dict[Place, int]) -> None:
        if self.gone is not None and names.get(self.gone) == self.entry:
            del names[self.gone]
        if self.come is not None:
            names[self.come] = self.entry


@dataclass(frozen=True)
class Written:
    """A file holds `content` from now on."""

    entry: int
    content: bytes


@dataclass(frozen=True)
class Flushed:
    """An fsync of a file or a directory."""

    entry: int


@dataclass(frozen=True)
class Mark:
    """The test noted that something has happened; a cut after it has to respect this."""

    what: Hashable


Operation = Named | Written | Flushed | Mark


@dataclass(frozen=True)
class State:
    """A folder after a power cut."""

    tree: Tree
    marks: tuple[Hashable, ...]
    """What had happened before the cut, oldest first."""
    cut: str
    """After which operation the power was cut, for messages."""

    def write(self, folder: Path) -> Path:
        """Make `folder` this state, whatever is in it."""
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.rglob("*"), reverse=True):
            name = str(path.relative_to(folder))
            if not path.is_dir():
                path.unlink()
            elif self.tree.get(name, b"") is not None:
                path.rmdir()
        for name, content in sorted(self.tree.items()):
            if content is None:
                (folder / name).mkdir(exist_ok=True)
            else:
                (folder / name).write_bytes(content)
        return folder


class Recording:
    """The operations on a folder, and what power cuts between them may leave."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.before = 0
        """How many operations stand for what was there before, which no cut can lose."""
        self.directories: set[int] = {ROOT}

    def states(self, each: int, seed: int) -> list[State]:
        """The different states after power cuts.

        Args:
            each: the most states of one moment; of more they are drawn.
            seed: for the draw.
        """
        found: dict[Hashable, State] = {}
        disk, rng = _Disk(), random.Random(seed)
        marks: list[Hashable] = []
        words: dict[int, str] = {ROOT: "the folder"}
        for number, operation in enumerate(self.operations, 1):
            if isinstance(operation, Mark):
                marks.append(operation.what)
            else:
                disk.do(operation)
            cut = f"operation {number - self.before} of {len(self.operations) - self.before}"
            cut = f"{cut}: {_said(operation, words)}"
            if number <= self.before:
                disk.flush_all()
            if number < self.before:
                continue
            for tree in disk.trees(self.directories, each, rng):
                # Of equal states the last one stays, since it has most marks to respect.
                found[frozenset(tree.items())] = State(tree, tuple(marks), cut)
        return list(found.values())

    def last(self) -> Tree:
        """The folder at the end, without a cut."""
        disk = _Disk()
        for operation in self.operations:
            if not isinstance(operation, Mark):
                disk.do(operation)
        disk.flush_all()
        (tree,) = disk.trees(self.directories, 1, random.Random(0))
        return tree


def _said(operation: Operation, words: dict[int, str]) -> str:
    """An operation for a person to read; `words` are the last names of entries."""
    match operation:
        case Named(entry, gone, come):
            before, words[entry] = words.get(entry), come[1] if come else words[entry]
            if gone and come:
                return f"{before} moved to {words[entry]}"
            return f"{words[entry]} {'made' if come else 'removed'}"
        case Written(entry, content):
            return f"{words[entry]} now of {len(content):,} bytes"
        case Flushed(entry):
            return f"fsync of {words[entry]}"
    return f"mark {operation.what}"


class _Disk:
    """What has reached the disk for certain, and what is pending."""

    def __init__(self) -> None:
        self.names: dict[Place, int] = {}
        self.contents: dict[int, bytes] = {}
        self.pending: list[Named] = []
        self.fresh: dict[int, list[bytes]] = {}
        """What a file has held since its last flush, oldest first."""

    def do(self, operation: Named | Written | Flushed) -> None:
        match operation:
            case Named():
                self.pending.append(operation)
            case Written(entry, content):
                versions = self._versions(entry)
                if (
                    len(versions) > 1
                    and content.startswith(versions[-1])
                    and versions[-1].startswith(versions[-2])
                ):
                    self.fresh[entry][-1] = content  # appended again
                else:
                    self.fresh.setdefault(entry, []).append(content)
            case Flushed(entry):
                self.contents[entry] = self._versions(entry)[-1]
                self.fresh.pop(entry, None)
                self._apply(lambda change: entry in change.directories)

    def _versions(self, entry: int) -> list[bytes]:
        """What a file holds for certain, then what it has held since."""
        return [self.contents.get(entry, b""), *self.fresh.get(entry, ())]

    def flush_all(self) -> None:
        self.contents |= {entry: versions[-1] for entry, versions in self.fresh.items()}
        self.fresh = {}
        self._apply(lambda _: True)

    def _apply(self, reached: Callable[[Named], bool]) -> None:
        for change in filter(reached, self.pending):
            change.apply(self.names)
        self.pending = [change for change in self.pending if not reached(change)]

    def trees(self, directories: set[int], each: int, rng: random.Random) -> Iterator[Tree]:
        """What a cut may leave now, `each` trees at most."""
        skeletons = [
            _paths(names, directories) for names in _variants(self.names, self.pending, rng)
        ]
        options = [
            {
                path: remains(*self._versions(entry))
                for path, entry in skeleton.items()
                if entry not in directories
            }
            for skeleton in skeletons
        ]
        counts = [_product(map(len, option.values())) for option in options]
        if sum(counts) <= each:
            for skeleton, option in zip(skeletons, options, strict=True):
                for contents in itertools.product(*option.values()):
                    yield _tree(skeleton, dict(zip(option, contents, strict=True)))
            return
        for place in (0, -1):  # nothing of the contents has reached the disk, or all of it
            for skeleton, option in list(zip(skeletons, options, strict=True))[: each // 4]:
                yield _tree(skeleton, {path: some[place] for path, some in option.items()})
        for _ in range(each // 2):
            (k,) = rng.choices(range(len(skeletons)), counts)
            drawn = {path: rng.choice(some) for path, some in options[k].items()}
            yield _tree(skeletons[k], drawn)


def _variants(
    names: dict[Place, int], pending: list[Named], rng: random.Random
) -> list[dict[Place, int]]:
    """The names after some of the pending changes: all of them first, then none, then others."""
    n = len(pending)
    every = tuple(range(n))
    if n <= _MOST_SUBSETS:
        chosen = [c for k in range(n + 1) for c in itertools.combinations(every, k)]
        chosen = [every, *chosen]
    else:
        chosen = [every, (), *(every[:k] for k in every), *((k,) for k in every)]
        chosen += [(*every[:k], *every[k + 1 :]) for k in every]
        for directory in {number for change in pending for number in change.directories}:
            inside = [k for k in every if directory in pending[k].directories]
            chosen += [tuple(inside), tuple(k for k in every if k not in inside)]
        chosen += [tuple(k for k in every if rng.random() < 0.5) for _ in every]
    found: dict[Hashable, dict[Place, int]] = {}
    for some in chosen:
        after = dict(names)
        for k in some:
            pending[k].apply(after)
        found.setdefault(frozenset(after.items()), after)
    return list(found.values())


@functools.lru_cache(maxsize=1000)
def remains(*versions: bytes) -> tuple[bytes, ...]:
    """What may be left of a file, from the first to the last of its versions.

    Args:
        versions: what it holds for certain, then what it has held since, oldest first.
    """
    found = [versions[0]]
    for old, new in itertools.pairwise(versions):
        if new.startswith(old):
            added = new[len(old) :]
            half = len(added) // 2
            parts = [added[:1], added[:half], added[:-1], bytes(len(added))]
            found += [old + part for part in (*parts, bytes(half) + added[half:], added)]
        elif not new:
            found.append(new)
        else:
            half = len(new) // 2
            longer = bytes(max(len(new) - len(old), 0))
            found += [new[:half] + old[half:], old[:half] + new[half:], old + longer, new]
    return *dict.fromkeys(part for part in found if part != versions[-1]), versions[-1]


def _paths(names: dict[Place, int], directories: set[int]) -> dict[str, int]:
    """Path -> entry, of what can be reached from the folder."""
    inside: dict[int, list[tuple[str, int]]] = {}
    for (directory, name), entry in names.items():
        inside.setdefault(directory, []).append((name, entry))
    found: dict[str, int] = {}
    waiting = [("", ROOT)]
    while waiting:
        path, directory = waiting.pop()
        for name, entry in inside.get(directory, ()):
            found[path + name] = entry
            if entry in directories:
                waiting.append((f"{path}{name}/", entry))
    return found


def _tree(skeleton: dict[str, int], contents: dict[str, bytes]) -> Tree:
    return {path: contents.get(path) for path in skeleton}


def _product(numbers: Iterator[int]) -> int:
    return functools.reduce(lambda a, b: a * b, numbers, 1)


@contextlib.contextmanager
def explained(state: State, seed: int) -> Iterator[None]:
    """A failure says after which cut it came, with which seed, and what was left.

    Nothing is really flushed within, since no other cut follows.
    """
    try:
        with mock.patch.object(os, "fsync"):
            yield
    except BaseException as error:
        error.add_note(f"after a power cut behind {state.cut}; seed {seed}; left were:")
        for name, content in sorted(state.tree.items()):
            error.add_note(f"  {name}" + ("/" if content is None else f", {len(content):,} B"))
        raise


class Extent(NamedTuple):
    """How many states a test looks at."""

    each: int
    """The most states of one moment; of more they are drawn."""
    most: int
    """The most states together; of more they are drawn."""
    seed: int
    """For both draws."""


def check_states(
    recording: Recording,
    folder: Path,
    check: Callable[[Path, tuple[Hashable, ...]], None],
    extent: Extent,
) -> int:
    """Have `check` look at a folder after each power cut; return how many states it saw.

    Args:
        recording: of an operation.
        folder: made into one state after the other.
        check: called with the folder and what had happened before the cut.
        extent: how many states.
    """
    states = recording.states(extent.each, extent.seed)
    if len(states) > extent.most:
        states = random.Random(extent.seed).sample(states, extent.most)
    for state in states:
        with explained(state, extent.seed):
            check(state.write(folder), state.marks)
    return len(states)
