"""Work done ahead of its use, in threads that cannot keep their caller waiting for ever."""

from __future__ import annotations

import atexit
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any, TypeVar

from numba.core import event

from codepath.core.durations import seconds_set
from codepath.core.errors import UserError

PATIENCE = 60.0
"""Loading counts as stuck after this many seconds in which nothing is finished."""
PATIENCE_VARIABLE = "CODEPATH_PATIENCE"
"""Environment variable: seconds instead of PATIENCE, for storage that may stop for longer."""
_TICK = 0.1

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class StuckError(UserError):
    """Nothing was finished for `patience()` seconds."""

    def __init__(self) -> None:
        super().__init__(
            f"no image was finished for {patience():g} s: an operation on images, or the storage "
            f"that they lie on, hangs; if it is only slow, set {PATIENCE_VARIABLE}=600"
        )


def patience() -> float:
    """PATIENCE, or the environment's value; UserError where that is no number above 0."""
    return seconds_set(PATIENCE_VARIABLE, PATIENCE)


class _Compiling(event.Listener):
    """Counts threads that compile kernels or wait for it: a first batch may need half a minute."""

    def __init__(self) -> None:
        self.threads = 0
        self._lock = threading.Lock()

    def on_start(self, event: Any) -> None:  # noqa: ARG002
        """numba says that a thread begins."""
        with self._lock:
            self.threads += 1

    def on_end(self, event: Any) -> None:  # noqa: ARG002
        """numba says that a thread is done."""
        with self._lock:
            self.threads -= 1


_compiling = _Compiling()
event.register("numba:compiler_lock", _compiling)


class Progress:
    """Tells slow work from stuck work, by the finished images rather than the finished batches."""

    def __init__(self) -> None:
        self._beats = 0

    def beat(self) -> None:
        """Note that an image, or another piece of work, is finished."""
        self._beats += 1

    def waits(self) -> Iterator[float]:
        """Timeouts to wait for in turn; they end once nothing was finished for `patience()`.

        The timeouts are counted, and the clock is not read, so that a process that was suspended
        is not taken for stuck.
        """
        whole = left = patience()
        seen = self._beats
        while left > 0:
            yield _TICK
            moves = self._beats != seen or _compiling.threads > 0
            left = whole if moves else left - _TICK
            seen = self._beats


class Workers:
    """Threads that work on tasks, and that are left behind where a task hangs.

    They are daemons, so a thread that hangs does not keep the process from ending. When the
    process ends, threads that still work are waited for: a thread within C++ must not be cut off.

    Args:
        threads: number of threads, at least 1.
        progress: is told of each finished task. Tasks themselves tell it of their parts.
    """

    def __init__(self, threads: int, progress: Progress) -> None:
        self._progress = progress
        self.abandoned = False
        """Whether a task hangs, so that threads are not waited for."""
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"codepath-prefetch_{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()
        _open.add(self)

    def submit(self, function: Callable[..., _Made], *arguments: Any) -> Future[_Made]:
        """Have function(*arguments) called by a thread."""
        future: Future[_Made] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def result(self, future: Future[_Made]) -> _Made:
        """What a task returned; raises the task's exception, or StuckError where it hangs."""
        for timeout in self._progress.waits():
            try:
                future.exception(timeout)
            except TimeoutError:
                continue
            return future.result()
        self.abandon()
        raise StuckError

    def abandon(self) -> None:
        """Do not wait for the threads any more."""
        self.abandoned = True

    def close(self) -> None:
        """Drop the tasks that have not begun, and wait for the others unless one hangs."""
        while not self._tasks.empty():
            self._tasks.get()
        for _ in self._threads:
            self._tasks.put(None)
        for timeout in () if self.abandoned else self._progress.waits():
            working = [thread for thread in self._threads if thread.is_alive()]
            if not working:
                break
            working[0].join(timeout)
        _open.discard(self)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, arguments = task
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)
            self._progress.beat()
            del task, future, function, arguments  # results are not kept alive while waiting


_open: weakref.WeakSet[Workers] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for workers in list(_open):
        workers.close()


def prefetched(
    make: Callable[[_Item], _Made],
    items: Iterable[_Item],
    threads: int,
    ahead: int,
    progress: Progress | None = None,
) -> Generator[_Made, None, None]:
    """make(item) of each item, in order, whatever the number of threads.

    Beside the result handed out, at most `ahead` results exist or are being made. An exception of
    `make` is raised where its result would have come. StuckError is raised where no result comes
    and nothing is finished for `patience()` seconds. Closing the iterator waits for the results
    that are being made and joins the threads, unless one hangs.

    Args:
        make: should release the GIL for most of its time.
        items: taken in the caller's thread.
        threads: number of threads, at least 1.
        ahead: at least 1.
        progress: `make` tells it of the parts that it has finished.
    """
    left = iter(items)
    workers = Workers(threads, progress or Progress())
    waiting: deque[Future[_Made]] = deque()
    try:
        waiting.extend(workers.submit(make, item) for item in islice(left, ahead))
        while waiting:
            made = workers.result(waiting.popleft())
            waiting.extend(workers.submit(make, item) for item in islice(left, 1))
            yield made
            del made
    finally:
        waiting.clear()
        workers.close()
