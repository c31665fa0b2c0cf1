"""Several processes that train one network: who they are, and what they tell each other.

Ranks come from torchrun, from a Slurm step (srun), or there is one process. Tensors of the device
go over NCCL or gloo; decisions (stop, save, what failed) over gloo alone, without the device.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pickle
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from codepath.core.durations import seconds_set
from codepath.core.errors import LostProcessesError, UserError
from codepath.core.machine import available_cores
from codepath.data.loaders import Shard

_Value = TypeVar("_Value")
_FIRST_PORT, _PORTS = 20_000, 20_000
_MEETING = timedelta(hours=2)
"""How long a process waits for the others to begin: the first may still measure the run before."""
PARTNER_PATIENCE = 600.0
"""Seconds without an answer after which another process counts as lost."""
PATIENCE_VARIABLE = "CODEPATH_PARTNER_PATIENCE"
"""Environment variable: seconds instead of PARTNER_PATIENCE."""
_ANSWERS = 4
"""How often a process that works alone answers the others within their patience."""


@dataclass(frozen=True)
class Placement:
    """A process's place among those of its job."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    """Processes on this machine, 1 where that is not known."""
    address: str = "127.0.0.1"
    port: int = 0


def placement(environment: Mapping[str, str] | None = None) -> Placement:
    """The place that torchrun or srun gave this process.

    A batch script outside of srun counts as one process, whatever tasks its job has.

    Raises UserError where the variables contradict each other.
    """
    env = os.environ if environment is None else environment
    if "RANK" in env and "WORLD_SIZE" in env:
        found = Placement(
            _number(env, "RANK"),
            _number(env, "WORLD_SIZE"),
            _number(env, "LOCAL_RANK", 0),
            _number(env, "LOCAL_WORLD_SIZE", 1),
            env.get("MASTER_ADDR", "127.0.0.1"),
            _number(env, "MASTER_PORT", 29_500),
        )
    elif "SLURM_PROCID" in env and ("SLURM_STEP_ID" in env or "SLURM_STEPID" in env):
        nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST", "127.0.0.1")
        job, step = _number(env, "SLURM_JOB_ID", 0), env.get("SLURM_STEP_ID", "0")
        port = _FIRST_PORT + (31 * job + int(step if step.isdigit() else 0)) % _PORTS
        found = Placement(
            _number(env, "SLURM_PROCID"),
            _number(env, "SLURM_STEP_NUM_TASKS", _number(env, "SLURM_NTASKS", 1)),
            _number(env, "SLURM_LOCALID", 0),
            1,  # Slurm binds tasks to their cores
            env.get("MASTER_ADDR") or first_host(nodes),
            _number(env, "MASTER_PORT", port),
        )
    else:
        return Placement()
    if not 0 <= found.rank < found.size:
        raise UserError(
            f"this process is number {found.rank} of {found.size}: start it by torchrun or srun"
        )
    return found


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, "" if default is None else str(default))
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{name} is '{text}', must be a whole number") from None


def first_host(nodes: str) -> str:
    """The first machine of a Slurm list: "gpu[07-09,12]-ib,login" -> "gpu07-ib"."""
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+)[^\]]*\])?([^,\[]*)", nodes)
    if not match:
        raise UserError(f"cannot read the list of nodes '{nodes}': set MASTER_ADDR")
    return "".join(part or "" for part in match.groups())


def partner_patience() -> float:
    """PARTNER_PATIENCE, or the environment's value; UserError where that is no number above 0."""
    return seconds_set(PATIENCE_VARIABLE, PARTNER_PATIENCE)


class World:
    """The processes of a job, as one of them sees them; see `connected`.

    Whatever asks the others raises UserError where one of them is gone, or stands still for longer
    than `partner_patience`.
    """

    def __init__(self, place: Placement, device: torch.device) -> None:
        self.rank, self.size = place.rank, place.size
        self.device = device
        self.control: Any = None
        """The group of the processes for decisions, over gloo."""
        self.tensors: Any = None
        """Their group for tensors of the device."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's share of the images."""
        return Shard(self.rank, self.size)

    def samples(self, total: int) -> int:
        """How many of `total` evaluated images are this process's."""
        return len(range(self.rank, total, self.size))

    def lost(self, error: RuntimeError) -> LostProcessesError:
        """The error that says that another process is gone; `error` is the connection's."""
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return LostProcessesError(
            f"process {self.rank} of {self.size} lost the others ({reason}): look for the first "
            "one that ended or stands still; when all have ended repeat the command, and the run "
            "goes on from what it saved last"
        )

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise self.lost(error) from error

    def gather(self, value: _Value) -> list[_Value]:
        """Every process's value in the order of ranks, to all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._talking():
            dist.all_gather_object(values, value, group=self.control)
        return values

    def largest_of_each(self, *numbers: int) -> list[int]:
        """The largest of every process's numbers, one by one."""
        if self.size == 1:
            return list(numbers)
        tensor = torch.tensor(numbers)
        with self._talking():
            dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self.control)
        return tensor.tolist()

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of every process's tensor, on their devices."""
        if self.size > 1:
            tensor = tensor.clone()
            with self._talking():
                dist.all_reduce(tensor, group=self.tensors)
        return tensor

    def by_first(self, work: Callable[[], _Value]) -> _Value:
        """`work` done in the first process alone; all get its value or its exception.

        The others wait for as long as it takes, while the first one's process runs.
        """
        if self.size == 1:
            return work()
        outcome: list[Any] = [None, None]

        def try_it() -> None:
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = _sendable(error)

        self._until_all_have(try_it if self.first else None)
        with self._talking():
            dist.broadcast_object_list(outcome, group=self.control)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def first_leads(self, work: Callable[[], _Value]) -> _Value:
        """`work` done in every process, in the first one before the others.

        For what leaves files behind, which then are there. Where the first one fails, all do.
        """
        value: list[_Value] = []

        def do() -> None:
            value.append(work())

        self.by_first(do)
        self._until_all_have(None if value else do)
        return value[0]

    def _until_all_have(self, work: Callable[[], None] | None) -> None:
        """Do `work`, or nothing, and wait until every process has done its own.

        Meanwhile a thread answers the others, so that long work is told from a process that stands
        still.
        """
        if self.size == 1:
            if work is not None:
                work()
            return
        if work is not None:
            done = threading.Event()
            thread = threading.Thread(target=self._answer, args=(done,), daemon=True)
            thread.start()
            try:
                work()
            finally:
                done.set()
                thread.join()
        with self._talking():
            while not self._all_say(True):
                pass

    def _answer(self, done: threading.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the next question to the others finds it, too
            while not done.wait(partner_patience() / _ANSWERS):
                self._all_say(False)

    def _all_say(self, word: bool) -> bool:
        """Whether every process says yes."""
        tensor = torch.tensor(int(word))
        dist.all_reduce(tensor, dist.ReduceOp.MIN, group=self.control)
        return bool(tensor)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def choose_device(local_rank: int = 0) -> torch.device:
    """CUDA where there is one, else the CPU.

    Of several GPUs the one of this process; where the scheduler shows each process its own alone,
    that one.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


@contextlib.contextmanager
def connected(device: torch.device | None = None) -> Iterator[World]:
    """The processes of this job, connected while the context lasts.

    On the CPU the processes that torchrun starts on a machine share its cores out among each other.

    Args:
        device: default: this process's own.
    """
    place = placement()
    device = device or choose_device(place.local_rank)
    world = World(place, device)
    if place.size == 1:
        yield world
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    _share_cores(place)
    number = next(_connections)
    patience = timedelta(seconds=partner_patience())
    dist.init_process_group(
        "gloo",
        store=dist.PrefixStore(f"codepath/{number}", _store(place)),
        rank=place.rank,
        world_size=place.size,
        timeout=_MEETING,
    )
    try:
        world.control = dist.new_group(backend="gloo", timeout=patience)
        # NCCL ends a process without a word, so that gloo is to notice first.
        backend, factor = ("nccl", 2) if device.type == "cuda" else ("gloo", 1)
        world.tensors = dist.new_group(backend=backend, timeout=factor * patience)
        yield world
    finally:
        dist.destroy_process_group()


_connections = itertools.count()
"""Every connection of a process has keys of its own in the store."""


@functools.cache
def _store(place: Placement) -> dist.Store:
    """Where the processes find each other: torchrun's, or one that the first process holds."""
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    master = place.rank == 0 and not agent
    try:
        store = dist.TCPStore(place.address, place.port, place.size, master, timeout=_MEETING)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"process {place.rank} of {place.size} cannot reach {place.address}:{place.port} "
            f"({str(error).splitlines()[0]}): set MASTER_ADDR and MASTER_PORT"
        ) from None
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"attempt{attempt}", store)


def _share_cores(place: Placement) -> None:
    """Give each of torchrun's processes its part of the cores, and torch as many threads."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if place.local_size > 1 and len(cores) >= place.local_size:
        start, end = (
            len(cores) * number // place.local_size
            for number in (place.local_rank, place.local_rank + 1)
        )
        os.sched_setaffinity(0, cores[start:end])
    elif place.local_size > 1 and cores:
        os.sched_setaffinity(0, {cores[place.local_rank % len(cores)]})
    torch.set_num_threads(available_cores())
