"""Whether PyTorch can compute where it was asked to, known before anything is written; and on how many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from weightless.base.errors import ConfigError


def check_device(name: str) -> None:
    """ConfigError if this machine, or this build of PyTorch, has no device `name` (cpu, cuda, cuda:1, mps)."""
    import torch

    kind, _, index = name.partition(":")
    if kind == "cpu":
        return
    if kind == "mps":
        n_devices = int(torch.backends.mps.is_available())
    else:
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
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
