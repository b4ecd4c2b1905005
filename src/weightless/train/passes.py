"""How the training passes are computed: as they are written, by torch.compile, or with products in bf16.

    autocast = "bf16"   products (linear layers, attention, the head of one softmax) take bf16 factors and sum in
                        float32 inside; weights, gradients, optimizer, stream, norms and softmax are float32
    compile = true      what the layers make of the stream is compiled for this processor, and of the head, which goes
                        block by block, what is between its products

Neither changes what is learned, only how sums are rounded.  Validation, what is fitted at the end, and packing always
compute in float32 and uncompiled, so that figures of different runs mean the same.  What is asked for is observed: how
many graphs were compiled, in how many passes one of them ran, and how many products came in which dtype.

What changes while a run goes on reaches a graph as a tensor (weights through rounding, documents, counts), never as a
constant; `tests/train/test_passes.py` holds every such switch to the uncompiled run.
Errors: ConfigError before anything is written where there is no C++ compiler, or a model cannot be compiled.
"""

from __future__ import annotations

import copy
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from weightless.base.errors import ConfigError
from weightless.layers.functions.losses import slopes_by, slopes_to_compile
from weightless.layers.stack import StackModel
from weightless.train.config import TrainConfig
from weightless.train.shares import Share

DTYPES = {"bf16": torch.bfloat16}
COMPILERS = ("g++", "clang++", "c++", "cl")
WARNING_PASSES = 4
"""How many passes may compile, and warn of it: a trial, what comes before the clock, and the first of the training."""
PRODUCTS = frozenset({"linear", "matmul", "mm", "addmm", "bmm", "baddbmm"})


class Passes:
    """`losses` and `after_step` of a model as training computes them, and what was seen of that."""

    def __init__(self, model: Any, config: TrainConfig, is_taught: bool = False, share: Share | None = None) -> None:
        if is_taught and config.autocast != "none":
            raise ConfigError(f"autocast = {config.autocast!r} and a teacher: that loss is in float32, leave one out")
        self.model, self.config, self.computed = model, config, model
        self.share = share or Share.of(config, 0, 1)
        self.n_graphs = self.n_runs = self.n_passes = self.n_compiled = 0
        self.products: Counter[torch.dtype] = Counter()
        if config.compile:
            check_compilable(model, config.device)
            self.computed = copy.copy(model)
            with warnings.catch_warnings(action="ignore"):
                torch.compiler.reset()  # after eight models in one process it would compile no more, without a word
                self.computed._stream = torch.compile(model._stream, backend=self._backend, dynamic=False)
                self.head = torch.compile(slopes_to_compile)
        if config.autocast == "bf16" and config.device == "cpu" and not has_bf16_instructions():
            told = "this processor has no instructions for bf16, float32 will be several times faster"
            print(f"autocast = {config.autocast!r}: {told}", file=sys.stderr)

    def losses(self, p: Mapping[str, torch.Tensor], *arrays: torch.Tensor, record: Any = None) -> torch.Tensor:
        """`model.losses`, in float32 whatever it was computed in; ConfigError where it does not compile."""
        nats_BT = self._passed(lambda: self.computed.losses(p, *arrays, record=record)).float()
        self.share.check(record)
        return nats_BT

    def taught(self, *arguments: Any, record: Any = None) -> Any:
        """`model.taught`, which has no products in bf16."""
        return self._passed(lambda: self.computed.taught(*arguments, record=record))

    def _passed(self, compute: Callable[[], Any]) -> Any:
        before = self.n_runs
        with self._around():
            try:
                found = compute()
            except Exception as error:
                if not self.config.compile:
                    raise
                raise refusal(error) from None
        self.n_passes += 1
        self.n_compiled += self.n_runs > before
        return found

    def after_step(self, p: Mapping[str, torch.Tensor], record: Any) -> None:
        """`model.after_step`."""
        self.model.after_step(p, record)

    def to_plain(self) -> dict[str, Any]:
        """For the checkpoint: nothing that the configuration does not say."""
        return {}

    def told(self) -> dict[str, dict[str, Any]]:
        """Assertions about what was asked for, of this process alone; none where nothing was."""
        found: dict[str, tuple[bool, str]] = {}
        if self.config.autocast != "none" and self.n_passes:
            n, n_all = self.products[DTYPES[self.config.autocast]], self.products.total()
            found["autocast"] = (n > 0, f"{n} of {n_all} products of a forward pass in {self.config.autocast}")
        if self.config.compile and self.n_passes:
            told = f"{self.n_graphs} graphs; a compiled one ran in {self.n_compiled:,} of {self.n_passes:,} passes"
            found["compiled"] = (self.n_compiled == self.n_passes, told)
        return {name: {"ok": ok, "detail": detail} for name, (ok, detail) in found.items()}

    def _around(self) -> AbstractContextManager[Any]:
        stack = ExitStack()
        if self.config.compile:
            stack.enter_context(slopes_by(self._slopes))
        if self.config.compile and self.n_passes < WARNING_PASSES:
            stack.enter_context(warnings.catch_warnings(action="ignore"))  # torch's own, about parts of itself
        if self.config.autocast != "none":
            stack.enter_context(torch.autocast(self.config.device.partition(":")[0], DTYPES[self.config.autocast]))
            if not self.n_passes and not self.config.compile:
                stack.enter_context(_Products(self.products))
        return stack

    def _slopes(
        self, logits_RV: torch.Tensor, targets_R: torch.Tensor, softcap: float | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compiled once for any number of rows: with padding it varies, and what was compiled must not depend on what
        came first."""
        for tensor in (logits_RV, targets_R):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        return self.head(logits_RV, targets_R, softcap)

    def _backend(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        """torch.compile's own, counted: graphs when they are made, runs when they run."""
        from torch._inductor.compile_fx import compile_fx

        for node in graph.graph.nodes:
            value = node.meta.get("example_value")
            if getattr(node.target, "__name__", node.target) in PRODUCTS and isinstance(value, torch.Tensor):
                self.products[value.dtype] += 1
        made: Any = compile_fx(graph, inputs)
        self.n_graphs += 1

        def run(*values: Any) -> Any:
            self.n_runs += 1
            return made(*values)

        return run


def refusal(error: Exception) -> Exception:
    """A ConfigError in the place of an error of torch.compile's own; any other error itself."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._ind")):
        return error
    inner = getattr(error, "inner_exception", error)
    told = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
    return ConfigError(f"torch.compile does not compile this model ({told:.300}): leave compile out")


class _Products(TorchDispatchMode):
    """Counts products by the dtype of what comes out."""

    def __init__(self, products: Counter[torch.dtype]) -> None:
        super().__init__()
        self.products = products

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in PRODUCTS and isinstance(out, torch.Tensor):
            self.products[out.dtype] += 1
        return out


def check_compilable(model: Any, device: str) -> None:
    """ConfigError where torch.compile has no compiler, or a model has no layers for it."""
    if not isinstance(model, StackModel):
        raise ConfigError(f"compile = true needs a model made of layers, and {type(model).__name__} is none")
    if device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError(
            "compile = true needs a C++ compiler (g++ or clang++), and none is on the PATH: install one, or leave "
            "compile out"
        )


def has_bf16_instructions() -> bool:
    """Whether products of bf16 are anything but converted one by one, where PyTorch can tell."""
    known = [getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile")]
    return any(asked is None or asked() for asked in known)
