"""A training step as one CUDA graph: launched at once, instead of kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the recording: libraries and compilers prepare themselves in them."""


class Recorded:
    """Device work that is recorded at its call number WARM_UP + 1 and replayed from then on.

    Every call does the work exactly once, with the same kernels whether they are launched or
    replayed. Inputs must stay at their places (see `fill`); nothing may wait for the device.

    Args:
        work: what to do; its outputs stay at their places too, and the next call overwrites them.
        device: a CUDA device.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._stream = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0
        self._output: Tensor | None = None

    def __call__(self) -> Tensor:
        """The work's output, in the order of the caller's stream."""
        if self._graph is None and self._calls == WARM_UP:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._output = self._work()
            self._graph = graph
        self._calls += 1
        if self._graph is not None:
            self._graph.replay()
            assert self._output is not None
            return self._output
        caller = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            output = self._work()
        caller.wait_stream(self._stream)
        return output


def fill(place: Tensor, value: Tensor) -> None:
    """Copy a tensor of the processor's into a device's, without waiting for the device."""
    place.copy_(value.pin_memory(), non_blocking=True)
