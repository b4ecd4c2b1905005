"""Several processes that train one model together, as torchrun starts them: who they are, and what they say.

    torchrun --nproc-per-node 2 -m weightless train …

Process 0 is the program; the others take part in its trainings and write nothing.  `current()` is ALONE unless a block
of `joined()` is open, which reads the environment that torchrun leaves (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
MASTER_PORT) and takes it away, so that a command started from here is nobody's member.  Numbers travel by gloo, and
those that lie on a CUDA device by nccl; messages, and who is there, by the store of the launcher.

A process that is gone is noticed by the others in what they exchange next.  They call the roll and raise `Gone`, which
says who does not answer; nobody waits longer than TIMEOUT_SECONDS for a process that lives and is silent.
Errors: ConfigError for an environment that cannot be; Gone.  Floor 6 (train).
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch

from weightless.base.errors import ConfigError, WeightlessError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
TIMEOUT_SECONDS = 600
ROLL_CALL_SECONDS, PATIENCE_SECONDS, ECHO_SECONDS, LOOK_EVERY_SECONDS = 3.0, 5.0, 5.0, 0.02
OVER = "over"
"""The message of the first process that the program has ended."""


class Gone(WeightlessError):
    """A process no longer answers; `is_told` in the one that should say so."""

    def __init__(self, told: str, is_told: bool) -> None:
        super().__init__(told)
        self.is_told = is_told


class Dismissed(Exception):
    """The first process has ended the program while others were waiting for it: there is nothing to say."""


@dataclass
class Processes:
    """This process is number `rank` of `world`; alone it says nothing to anybody, and everything is as it was."""

    rank: int = 0
    world: int = 1
    store: Any = None
    local_rank: int = 0
    n_messages: dict[str, int] = field(default_factory=dict)
    has_lost: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def echo(self) -> float:
        """Seconds in which a launcher may repeat a signal (Interrupts)."""
        return ECHO_SECONDS if self.world > 1 else 0.0

    def gathered(self, values: Sequence[float]) -> list[list[float]]:
        """Everybody's values, in the order of the processes."""
        if self.world == 1:
            return [list(values)]
        return [found.tolist() for found in self.everybodys(torch.tensor(values, dtype=torch.float64))]

    def total(self, value: float) -> float:
        """The sum of everybody's."""
        return value if self.world == 1 else sum(each[0] for each in self.gathered([value]))

    def first_says(self, value: float) -> float:
        """The value of the first process."""
        return value if self.world == 1 else self.gathered([value])[0][0]

    def any_signal(self, number: int | None) -> int | None:
        """A signal that any process was given is everybody's."""
        if self.world == 1:
            return number
        return int(max(each[0] for each in self.gathered([number or 0]))) or None

    def dealt(self, values: Sequence[float], n_all: int) -> list[float]:
        """n_all values, of which process r has numbers r, r + W, r + 2 W …"""
        if self.world == 1:
            return list(values)
        n = -(-n_all // self.world)
        every = self.gathered([*values, *[0.0] * (n - len(values))])
        return [every[i % self.world][i // self.world] for i in range(n_all)]

    def everybodys(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        """Tensors of one shape, in the order of the processes."""
        import torch.distributed as dist

        found = [torch.empty_like(tensor) for _ in range(self.world)]
        self._exchange(lambda: dist.all_gather(found, tensor.contiguous()))
        return found

    def add(self, tensor: torch.Tensor) -> None:
        """Sum over all processes, in place."""
        import torch.distributed as dist

        self._exchange(lambda: dist.all_reduce(tensor))

    def _exchange(self, exchange: Callable[[], Any]) -> None:
        try:
            exchange()
        except RuntimeError as error:
            raise self._missed(error) from None

    def tell(self, about: str, message: Mapping[str, Any]) -> None:
        """Leave a message for all others, who hear those about one thing in the order they were told."""
        self._stored(lambda: self.store.set(self._next(about), json.dumps(message)))

    def hear(self, about: str, patience: float | None = None) -> dict[str, Any] | None:
        """The next message of the first process, however long that takes, or None after `patience` seconds.

        Dismissed when the program is over.
        """
        key, ends = self._next(about), None if patience is None else time.monotonic() + patience
        while not self._stored(lambda: self.store.check([key])):
            if self.is_over:
                raise Dismissed
            if ends is not None and time.monotonic() > ends:
                self.n_messages[about] -= 1
                return None
            time.sleep(LOOK_EVERY_SECONDS)
        return json.loads(self._stored(lambda: self.store.get(key)))

    def after_first(self, work: Callable[[], None]) -> None:
        """The first process does it; the others go on when it is done, however long that takes."""
        if self.is_first:
            work()
        if self.world > 1 and self.is_first:
            self.tell("done", {})
        elif self.world > 1:
            self.hear("done")

    @property
    def is_over(self) -> bool:
        """Whether the first process has ended the program."""
        return bool(self._stored(lambda: self.store.check([OVER])))

    def _next(self, about: str) -> str:
        self.n_messages[about] = self.n_messages.get(about, 0) + 1
        return f"{about} {self.n_messages[about]}"

    def _stored(self, ask: Callable[[], Any]) -> Any:
        """What the store answers; where it does not, whoever keeps it has ended."""
        try:
            return ask()
        except RuntimeError:
            raise Gone("the process that started this one is gone", is_told=True) from None

    def _missed(self, error: RuntimeError) -> Exception:
        """Who does not answer the roll; Dismissed where the first process has ended in order."""
        import torch.distributed as dist

        self.has_lost = True
        with suppress(RuntimeError):
            dist.destroy_process_group()  # so that whoever waits for this one is told, too
        missing, ends = set(range(self.world)) - {self.rank}, time.monotonic() + ROLL_CALL_SECONDS
        try:
            self._stored(lambda: self.store.set(f"here {self.rank}", "1"))
            while missing and time.monotonic() < ends:
                if self.rank and self.is_over:
                    return Dismissed()
                missing = {r for r in missing if not self.store.check([f"here {r}"])}
                if missing and all(self._is_dead(r) for r in missing):
                    break
                time.sleep(LOOK_EVERY_SECONDS)
            gone = sorted(r for r in missing if self._is_dead(r) is not False)
        except (Gone, RuntimeError):
            missing, gone = {0}, [0]  # the first one keeps the store where no launcher does
        is_told = self.rank == min(set(range(self.world)) - missing)
        if not missing:
            told = str(error).strip().splitlines()[0]
            return Gone(f"the {self.world} processes have lost each other ({told:.200})", is_told)
        named, be = (gone or sorted(missing)), "is gone" if gone else "lives and does not answer"
        if len(named) > 1:
            be = "are gone" if gone else "live and do not answer"
        which = f"process{'es' if len(named) > 1 else ''} {', '.join(map(str, named))} of {self.world}"
        return Gone(f"{which} {be}", is_told)

    def _is_dead(self, rank: int) -> bool | None:
        """Whether a process of this machine has ended; None where it is of another, or unknown."""
        host, pid = self.store.get(f"who {rank}").decode().rsplit(" ", 1)
        if host != platform.node():
            return None
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] == "Z"  # ended, and nobody has asked how
        except OSError:
            pass
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            return None
        return False


ALONE = Processes()
_current: ContextVar[Processes] = ContextVar("processes that train together", default=ALONE)


def current() -> Processes:
    """Those that this process trains with."""
    return _current.get()


@contextmanager
def joined() -> Iterator[Processes]:
    """Train together with the processes that the environment tells of; the first one tells the others when it ends."""
    processes = _joined()
    token = _current.set(processes)
    try:
        yield processes
    finally:
        _current.reset(token)
        _leave(processes)


def _joined() -> Processes:
    import torch.distributed as dist

    rank, world, local = (_number(name) for name in VARIABLES[:3])
    if not 0 <= rank < world:
        raise ConfigError(f"RANK = {rank} is not one of the {world} processes of WORLD_SIZE, 0 to {world - 1}")
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    backend, patience = "cpu:gloo,cuda:nccl" if has_nccl else "gloo", timedelta(seconds=TIMEOUT_SECONDS)
    try:
        store = next(iter(dist.rendezvous("env://", rank, world, timeout=patience)))[0]
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=patience)
    except (RuntimeError, ValueError) as error:
        at = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        told = (str(error).strip().splitlines() or [""])[0]
        raise WeightlessError(f"process {rank} of {world} cannot join the others at {at}: {told:.200}") from None
    for name in VARIABLES:
        os.environ.pop(name)
    found = Processes(rank, world, dist.PrefixStore("weightless", store), local)
    found.store.set(f"who {rank}", f"{platform.node()} {os.getpid()}")
    found.gathered([0.0])  # whoever is asked for later has said who it is
    if has_nccl and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    return found


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise ConfigError(f"{name} = {os.environ[name]!r} in the environment should be a number") from None


def _leave(processes: Processes) -> None:
    """The first one goes last, because the store may be its own."""
    import torch.distributed as dist

    with suppress(RuntimeError):
        if processes.is_first:
            processes.store.set(OVER, "1")
        if dist.is_initialized():
            dist.destroy_process_group()
        if not processes.is_first:
            processes.store.set(f"bye {processes.rank}", "1")
        ends = time.monotonic() + (0.0 if processes.has_lost or not processes.is_first else PATIENCE_SECONDS)
        while time.monotonic() < ends and not processes.store.check([f"bye {r}" for r in range(1, processes.world)]):
            time.sleep(LOOK_EVERY_SECONDS)
