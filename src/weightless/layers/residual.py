"""How half a block is joined to the residual stream: where its norms stand, and how its branch is scaled.

    pre        x + s f(norm(x))                 (Xiong et al. 2020)        none       x + s f(x)
    post       norm(x + s f(x))                 (Vaswani et al. 2017)      sandwich   x + s norm(f(norm(x)))

s is 1, a constant, or one learned number per channel; all norms are RMSNorm, the first perhaps without weights (bare),
or a LayerNorm with bias (centred, Ba et al. 2016).  Norms inside a branch are the block's own; the one behind it is
fused into the operator that adds (`program.operators.residual`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.base.errors import ConfigError
from weightless.layers import functions as L
from weightless.ledger.memory import Activation
from weightless.program.tensor import Parameter

if TYPE_CHECKING:
    import torch

Placement = Literal["pre", "post", "none", "sandwich"]


def vector(name: str, width: int, line: str, is_bias: bool = True) -> Parameter:
    """A bias (from zero), or the weights of a norm (from one)."""
    return Parameter(name, (1, width), "f32", "zeros" if is_bias else "ones", "vector", line)


@dataclass(frozen=True)
class Residual:
    """`prefix` + norm, norm_bias, post_norm and scale are its tensors; `scale` is a constant.

    `per_channel` learns D more.  `bare`, `centred`: the norm of placement "pre" has no weights, or is a LayerNorm with
    bias; ConfigError with another placement, or both.
    """

    prefix: str
    d_model: int
    eps: float
    placement: Placement = "pre"
    scale: float = 1.0
    per_channel: bool = False
    bare: bool = False
    centred: bool = False

    def __post_init__(self) -> None:
        if (self.bare or self.centred) and self.placement != "pre":
            kind = "norms without weights stand" if self.bare else "a LayerNorm stands"
            raise ConfigError(f"{kind} before a branch, not {self.placement!r}")
        if self.bare and self.centred:
            raise ConfigError("a LayerNorm has weights and a bias: bare or centred, not both")

    @property
    def norm(self) -> str:
        """The weights of the norm before the branch, or nothing."""
        return self.prefix + "norm" if self.placement in ("pre", "sandwich") and not self.bare else ""

    @property
    def norm_bias(self) -> str:
        """The bias of a LayerNorm before the branch, or nothing."""
        return self.prefix + "norm_bias" if self.centred else ""

    @property
    def after(self) -> str:
        """The norm behind it, or nothing."""
        return self.prefix + "post_norm" if self.placement in ("post", "sandwich") else ""

    @property
    def gains(self) -> str:
        return self.prefix + "scale" if self.per_channel else ""

    def parameters(self, line: str, *matrices: Parameter) -> list[Parameter]:
        """The vectors around the branch's own matrices, in the order of the artifact."""
        first, last = [self.norm, self.norm_bias], [self.after, self.gains]
        vectors = [
            [vector(name, self.d_model, line, name == self.norm_bias) for name in names if name]
            for names in (first, last)
        ]
        return [*vectors[0], *matrices, *vectors[1]]

    def before(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """What the branch reads."""
        if self.centred:
            return L.layer_norm(x, p[self.norm], p[self.norm_bias], self.eps)
        return L.rms_norm(x, p[self.norm] if self.norm else None, self.eps) if self.norm or self.bare else x

    def joined(self, p: Mapping[str, torch.Tensor], x: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        """The stream after the branch."""
        if self.after and self.norm:
            branch = L.rms_norm(branch, p[self.after], self.eps)
        if self.scale != 1.0:
            branch = branch * self.scale
        if self.gains:
            branch = branch * p[self.gains].reshape(-1)
        x = x + branch
        return L.rms_norm(x, p[self.after], self.eps) if self.after and not self.norm else x

    def first(self) -> dict[str, Any]:
        """What the operator that norms has to know beside the name of the weights."""
        if self.centred:
            return {"norm_bias": self.norm_bias}
        return {"bare": True} if self.bare else {}

    def fields(self) -> dict[str, Any]:
        """The same as fields of the operator that adds; nothing where they stand at their defaults."""
        wanted = {"after": self.after, "on": "branch" if self.norm else "sum", "gains": self.gains, "scale": self.scale}
        defaults = {"after": "", "on": "sum", "gains": "", "scale": 1.0}
        if not self.after:
            wanted["on"] = "sum"
        return {name: value for name, value in wanted.items() if value != defaults[name]}

    def joining(self) -> dict[str, Any]:
        """`fields`, and the epsilon where a norm stands behind: those of an operator that norms nothing else."""
        return {**self.fields(), "eps": self.eps} if self.after else self.fields()

    def kept(self, T: int) -> list[Activation]:
        """What autograd keeps around the branch: of each norm x / rms, its output and 1 / rms; else what it reads."""
        n, found = T * self.d_model, []
        if self.placement == "none":
            found.append(Activation("branch: its input", n))
        if self.bare:
            found += [Activation("norms: x / rms", n), Activation("norms: 1 / rms", T)]
        if self.norm:
            found += [Activation("norms: x / rms and their output", 2 * n), Activation("norms: 1 / rms", T)]
        if self.after:
            found += [Activation("norms: x / rms and their output", 2 * n), Activation("norms: 1 / rms", T)]
        is_kept_already = self.placement == "sandwich" and self.scale == 1.0  # as the output of the norm behind
        if self.gains and not is_kept_already:
            found.append(Activation("branch before its scale", n))
        return found
