"""Whether PyTorch can compute where it was asked to, known before anything is written; and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from weightless.base.errors import ConfigError


def check_device(name: str, local_rank: int = 0, n_processes: int = 1) -> None:
    """ConfigError if this machine, or this build of PyTorch, has no device `name` (cpu, cuda, cuda:1, mps).

    Of several processes every one has a CUDA device of its own, that of its number on the machine.
    """
    import torch

    kind, _, index = name.partition(":")
    if kind == "cpu":
        return
    if kind == "mps":
        n_devices = int(torch.backends.mps.is_available())
    else:
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if n_processes > 1 and name != "cuda":
        raise ConfigError(f"device = {name!r} for {n_processes} processes: say cpu, or cuda, which gives each its own")
    if n_devices and n_processes > 1 and local_rank >= n_devices:
        raise ConfigError(f"{n_devices} CUDA devices, none for process {local_rank} of this machine: start fewer")
    if int(index or 0) >= n_devices:
        found = f"{n_devices} of that kind" if n_devices else "none of that kind"
        raise ConfigError(f"device = {name!r}, but PyTorch finds {found} here: leave it out, which takes the cpu")


@contextmanager
def threads(n: int | None) -> Iterator[None]:
    """PyTorch computes on n threads while this is open; None leaves their number as it is."""
    import torch

    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
