"""What the fuzz tests share: how many inputs a test has, and what a parser may make of one.

A parser of outside input may give the right result, or refuse with a UserError of one line. It may
not raise anything else, hang, or take memory that the size of its input does not explain.
"""

from __future__ import annotations

import contextlib
import gc
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import DrawFn, SearchStrategy, composite

from codepath.core.errors import UserError

FAST, SLOW = 200, 10_000
"""Inputs of a property in `make test` and in `make test-slow`."""
LIMIT_S = 5.0
"""Seconds of the processor after which a parser hangs. Waiting for other processes is no hang."""
ALLOWANCE = 64 * 2**20
"""Bytes that a parser may take whatever its input; twice the input's size come on top."""
_ROUND = 1_000
"""Inputs that are made with one seed."""
MOST_LETTERS = 2_000
"""Length of a line that a person still reads."""
REFUSED: Any = object()
"""Stands for a result where a parser refused its input."""
_Result = TypeVar("_Result")

counted = pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(FAST, id="fast"),
        pytest.param(SLOW, id="slow", marks=[pytest.mark.slow, pytest.mark.timeout(7200)]),
    ],
)
"""Runs a property with FAST inputs, always the same, and with SLOW ones, other ones each time."""


def fuzz(check: Callable[..., None], inputs: int, *strategies: SearchStrategy[Any]) -> None:
    """Call `check` with values of the strategies, `inputs` times.

    A slow test has its inputs in rounds, since Hypothesis keeps all that it made in one. The seed
    of each round is printed, so that a failure can be repeated.
    """
    quiet = settings(
        max_examples=min(inputs, _ROUND),
        deadline=None,
        database=None,
        derandomize=inputs == FAST,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    test = quiet(given(*map(_told_briefly, strategies))(check))
    if inputs == FAST:
        test()
        return
    for _ in range(inputs // _ROUND):
        gc.collect()  # of the round before: few objects, which are large
        number = random.SystemRandom().randrange(2**32)
        print(f"hypothesis seed {number}")
        seed(number)(test)()


class _Bytes(bytes):
    """Bytes whose number alone is printed."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def _told_briefly(strategy: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """The same values; messages of failures name neither megabytes nor what they are made of."""

    @composite
    def value_of(draw: DrawFn) -> Any:
        value = draw(strategy)
        return _Bytes(value) if isinstance(value, bytes) and len(value) > MOST_LETTERS else value

    return value_of()


def outcome(parse: Callable[[], _Result], size: int, allowance: int = ALLOWANCE) -> _Result:
    """What a parser makes of an input of `size` bytes: its result, or REFUSED."""
    try:
        with watched(2 * size + allowance):
            return parse()
    except UserError as error:
        assert_one_line(str(error))
        refused: _Result = REFUSED
        return refused


def assert_one_line(text: str) -> None:
    """A message that a terminal shows as one line, whatever names it quotes."""
    assert text.strip()
    assert text.isprintable(), ascii(text)
    assert len(text) <= MOST_LETTERS, f"{len(text)} letters: {text[:200]}"


class _HangError(BaseException):
    """No parser catches this by accident."""


@contextlib.contextmanager
def watched(most: int) -> Iterator[None]:
    """Fail where the body takes more than LIMIT_S of the processor, or `most` bytes of memory.

    A single request for much more memory than that fails at once, by a limit of the address space.
    """

    def give_up(*_: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGPROF, give_up)
    address_space = resource.getrlimit(resource.RLIMIT_AS)
    used, reserved = _forget_peak()
    resource.setrlimit(resource.RLIMIT_AS, (reserved + 2 * most + 2**30, address_space[1]))
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    started = time.process_time()
    try:
        yield
    except _HangError:
        raise AssertionError(f"not done after {LIMIT_S} s") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        resource.setrlimit(resource.RLIMIT_AS, address_space)
    assert time.process_time() - started < LIMIT_S
    taken = _memory("VmHWM") - used
    assert taken <= most, f"{taken:,} bytes of memory, {most:,} are the most"


def _forget_peak() -> tuple[int, int]:
    """Bytes in use and reserved by this process, whose peak of use is counted from now on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS"), _memory("VmSize")


def _memory(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return 1024 * int(line.split()[1])
    return 0
