"""Work done ahead of its use, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


def prefetched(
    make: Callable[[_Item], _Made], items: Iterable[_Item], threads: int, ahead: int
) -> Generator[_Made, None, None]:
    """make(item) of each item, in order, whatever the threads.

    At most `ahead` results exist or are in the making beside the one handed out. An exception of
    `make` is raised where its result would have come. Closing the iterator waits for what is in
    the making and joins the threads.

    Args:
        make: should release the GIL for most of its time.
        items: taken in the caller's thread.
        threads: from 1.
        ahead: from 1.
    """
    left = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="codepath-prefetch")
    waiting: deque[Future[_Made]] = deque()
    try:
        waiting.extend(pool.submit(make, item) for item in islice(left, ahead))
        while waiting:
            made = waiting.popleft().result()
            waiting.extend(pool.submit(make, item) for item in islice(left, 1))
            yield made
            del made
    finally:
        waiting.clear()
        pool.shutdown(wait=True, cancel_futures=True)
