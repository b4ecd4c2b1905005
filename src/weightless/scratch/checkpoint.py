"""A run that is killed goes on: weights, the optimizer's state, and the number of the next iteration, in one file.

A file is written beside its place and then renamed, so that a kill while writing leaves the last good one.  It is read
with weights_only: tensors and plain values, never code, whoever sent the file.
Not in it: the state of random generators and the place in the data.  weightless.train keeps these as well, and goes
on with the same bits.
"""

from __future__ import annotations

import operator
import os
from typing import IO, Any

import torch

Place = str | os.PathLike[str] | IO[bytes]
KEYS = {"model": dict, "optimizer": dict, "iteration": int}
OF_A_KIND = {"betas", "eps", "momentum"}
"""What tells one kind of optimizer from another in its groups."""


def save_checkpoint(model: torch.nn.Module, optimizer: torch.optim.Optimizer, iteration: int, out: Place) -> None:
    """Write to a path or into an open binary file; `iteration` is the one to go on with (the next one).

    ValueError, and nothing written, where `iteration` is no whole number.
    """
    try:
        number = operator.index(iteration)  # NumPy's and torch's whole numbers too, which a safe reader would not take
    except TypeError:
        raise ValueError(f"iteration = {iteration!r} should be a whole number") from None
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": number}
    if not isinstance(out, (str, os.PathLike)):
        torch.save(content, out)
        return
    partial = f"{os.fspath(out)}.partial"
    with open(partial, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, out)


def load_checkpoint(src: Place, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put what was saved into model and optimizer, wherever these live; return the iteration to go on with.

    ValueError, and nothing changed, where the file is no checkpoint of such a model and such an optimizer.
    """
    content = _read(src)
    saved, own = content["model"], model.state_dict()
    if odd := sorted(saved.keys() ^ own.keys()):
        raise ValueError(f"the checkpoint is of another model: {odd[0]!r} is in only one of them")
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape:
            raise ValueError(
                f"{name} has shape {tuple(saved[name].shape)} in the checkpoint, here {tuple(tensor.shape)}"
            )
    _check_kind(content["optimizer"], optimizer)
    optimizer.load_state_dict(content["optimizer"])
    model.load_state_dict(saved)
    return content["iteration"]


def _check_kind(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    groups = saved.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("this file is no checkpoint: its optimizer has no list of parameter groups")
    if len(groups) != len(optimizer.param_groups):
        raise ValueError(
            f"the checkpoint has {len(groups)} parameter groups, the optimizer {len(optimizer.param_groups)}"
        )
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        if odd := sorted((group.keys() ^ own.keys()) & OF_A_KIND):
            raise ValueError(f"the checkpoint is of another optimizer: {odd[0]!r} is in only one of them")


def _read(src: Place) -> dict[str, Any]:
    try:
        content = torch.load(src, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises half a dozen kinds for a file that it does not take
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"this is no checkpoint that can be read safely: {why}") from error
    kinds = {key: type(value) for key, value in content.items()} if isinstance(content, dict) else {}
    if kinds.keys() != KEYS.keys() or not all(issubclass(kinds[key], KEYS[key]) for key in KEYS):
        raise ValueError(f"this file is no checkpoint: it should hold {', '.join(sorted(KEYS))} and nothing else")
    return content
