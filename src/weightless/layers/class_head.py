"""A softmax in two or three levels (Goodman 2001), exactly normalised.

    two      log p = log p(class | x) + log p(word | class, x)
    three    log p = log p(class | x) + log p(group | class, x) + log p(word | group, x)

C classes of M groups of W words each (M = 1 in two levels), C M W >= V; slot s = word s mod W of group s div W.
Scoring reads the C rows of the classes, the M of one class and the W of one group: 2 sqrt(V) or about 3 V^(1/3) rows
instead of V.  Which token sits in which slot is computed from the training text (`ops.token_classes`) and packed as two
columns of ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.layers import functions as L
from weightless.layers.layer import STREAM, Fused, Head, register
from weightless.ledger.memory import Activation
from weightless.program.operators.class_head import (
    ClassFull,
    ClassSample,
    ClassScore,
    GroupFull,
    GroupSample,
    GroupScore,
    WordFull,
    WordSample,
    WordScore,
)
from weightless.program.program import OUTCOME, PROBABILITIES
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

LINE = "head"
NORM = "final_norm"


@dataclass(frozen=True)
class ClassHead(Head):
    """`n_classes` 0 means V^(1 / levels).  The last class may be short, and one that would be empty is left out."""

    vocab_size: int
    d_model: int
    eps: float
    format: str
    std: float
    n_classes: int = 0
    classes_by: Literal["context", "frequency"] = "context"
    levels: Literal[2, 3] = 2
    normed: bool = True

    @property
    def n_words(self) -> int:
        """W, words per group."""
        if self.levels == 3:
            return max(1, round((self.vocab_size / self._wanted) ** 0.5))
        return -(-self.vocab_size // self._wanted)

    @property
    def n_groups(self) -> int:
        """M, groups per class."""
        return -(-self.groups // self._wanted) if self.levels == 3 else 1

    @property
    def groups(self) -> int:
        """The groups that there are: G of them hold words, the last class may have fewer than M."""
        return -(-self.vocab_size // self.n_words)

    @property
    def classes(self) -> int:
        """C, the classes that there are."""
        return -(-self.groups // self.n_groups)

    @property
    def _wanted(self) -> int:
        return self.n_classes or round(self.vocab_size ** (1 / self.levels))

    @property
    def norm(self) -> str:
        return NORM if self.normed else ""

    def parameters(self) -> list[Parameter]:
        rows = {"classes": self.classes}
        if self.levels == 3:
            rows["groups"] = self.classes * self.n_groups
        rows["words"] = self.groups * self.n_words
        norm = [Parameter(NORM, (1, self.d_model), "f32", "ones", "vector", LINE)] if self.normed else []
        return [
            *norm,
            *(Parameter(name, (n, self.d_model), self.format, self.std, "head", LINE) for name, n in rows.items()),
        ]

    def constants(self) -> list[Tensor]:
        ids = "u16" if self.vocab_size <= 2**16 else "u32"
        names = ("slot_of_token", "token_of_slot")
        return [Tensor(name, (self.vocab_size, 1), ids, LINE, "constant") for name in names]

    def prepare(self, tokens: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """The class of every token, from what precedes it in the training text."""
        import numpy as np

        from weightless.ops.token_classes import class_slots, frequency_slots

        if self.classes_by == "frequency":
            token_of_slot = frequency_slots(tokens, self.vocab_size)
        else:
            token_of_slot = class_slots(tokens, self.vocab_size, self.groups, seed)
        slot_of_token = np.empty(self.vocab_size, dtype=np.int64)
        slot_of_token[token_of_slot] = np.arange(self.vocab_size)
        return {"slot_of_token": slot_of_token, "token_of_slot": token_of_slot.astype(np.int64)}

    def state(self) -> list[Tensor]:
        widths = {OUTCOME: 1, "h": self.d_model, "choice": 2, "class_log_p": self.classes}
        if self.levels == 3:
            widths |= {"group_choice": 2, "group_log_p": self.groups}
        vectors = [register(name, width) for name, width in widths.items()]
        return [*vectors, register(PROBABILITIES, self.vocab_size, "logits")]

    def nats(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        h_ND = self._read(p, x_BTD).flatten(0, 1)
        slots_N = L.target_slots(p["slot_of_token"], targets_BT.reshape(-1))
        if self.levels == 2:
            nats_N = L.class_cross_entropy(h_ND, p["classes"], p["words"], slots_N, self.vocab_size)
            return nats_N.view(targets_BT.shape)
        group_N = slots_N.div(self.n_words, rounding_mode="floor")  # -1 stays -1
        nats_N = L.class_cross_entropy(h_ND, p["classes"], p["groups"], group_N, self.groups)
        nats_N = nats_N + L.group_cross_entropy(h_ND, p["words"], slots_N, self.groups, self.vocab_size)
        return nats_N.view(targets_BT.shape)

    def _read(self, p: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        return L.rms_norm(x, p[NORM], self.eps) if self.normed else x

    def log_probs(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> torch.Tensor:
        """All levels in full."""
        h_BTD = self._read(p, x_BTD)
        above_BTG = (h_BTD @ p["classes"].T).log_softmax(dim=-1)
        if self.levels == 3:
            above_BTG = self._below(h_BTD, p["groups"], above_BTG, self.groups)
        return self._below(h_BTD, p["words"], above_BTG, self.vocab_size)[..., p["slot_of_token"]]

    def _below(self, h_BTD: torch.Tensor, rows_SD: torch.Tensor, above_BTG: torch.Tensor, n_valid: int) -> torch.Tensor:
        """log p of every slot of the next level [B, T, S], minus infinity behind the last valid one."""
        score_BTS = h_BTD @ rows_SD.T
        score_BTS[..., n_valid:] = -float("inf")
        within_BTGW = score_BTS.unflatten(-1, (above_BTG.shape[-1], -1)).log_softmax(dim=-1)
        return (above_BTG[..., None] + within_BTGW).flatten(-2)[..., :n_valid]

    def step_nats(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: Fused) -> torch.Tensor:
        """Of the group and word rows, only those of the target's class and group."""
        import torch

        per_class = self.n_words * self.n_groups
        with fused("class_score"):
            slot = p["slot_of_token"][target].float()
            h_D, log_p_C = self._step_classes(p, x_D)
            choice = torch.stack([slot, -log_p_C[int(slot) // per_class]])
        if self.levels == 3:
            with fused("group_score"):
                group = int(choice[0]) // self.n_words
                chosen, place = divmod(group, self.n_groups)
                log_p_M = self._step_rows(p["groups"], h_D, chosen, self.n_groups, self.groups)
                choice = torch.stack([choice[0], choice[1] - log_p_M[place]])
        with fused("word_score"):
            chosen, word = divmod(int(choice[0]), self.n_words)
            return choice[1] - self._step_rows(p["words"], h_D, chosen, self.n_words, self.vocab_size)[word]

    def step_probabilities(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused) -> torch.Tensor:
        import torch

        with fused("class_full"):
            h_D, above_G = self._step_classes(p, x_D)
        if self.levels == 3:
            with fused("group_full"):
                above_G = self._step_below(p["groups"], h_D, above_G, self.n_groups, self.groups)
        with fused("word_full"):
            log_p_V = self._step_below(p["words"], h_D, above_G, self.n_words, self.vocab_size)
            p_V = torch.empty(self.vocab_size)
            p_V[p["token_of_slot"]] = log_p_V.exp()
            return p_V

    def _step_classes(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(h [D], log p of every class [C])."""
        import torch.nn.functional as F

        h_D = self._read(p, x_D) if self.normed else x_D.clone()  # as the operator leaves it for the levels below
        return h_D, F.linear(h_D, p["classes"]).log_softmax(dim=-1)

    def _step_rows(self, rows_SD: torch.Tensor, h_D: torch.Tensor, chosen: int, n: int, n_valid: int) -> torch.Tensor:
        """log p of the n rows of one class or group given it; those behind the last valid one have probability zero."""
        import torch.nn.functional as F

        scores_W = F.linear(h_D, rows_SD[chosen * n : (chosen + 1) * n])
        scores_W[max(0, n_valid - chosen * n) :] = -float("inf")
        return scores_W.log_softmax(dim=-1)

    def _step_below(
        self, rows_SD: torch.Tensor, h_D: torch.Tensor, above_G: torch.Tensor, n: int, n_valid: int
    ) -> torch.Tensor:
        import torch

        rows = [above_G[g] + self._step_rows(rows_SD, h_D, g, n, n_valid) for g in range(len(above_G))]
        return torch.cat(rows)[:n_valid]

    def operators(self) -> dict[str, tuple[Any, ...]]:
        top, words = (self.norm, "classes"), ("words", "h")
        choice, above = ("group_choice", "group_log_p") if self.levels == 3 else ("choice", "class_log_p")
        group: dict[str, tuple[Any, ...]] = {"score": (), "sample": (), "full": ()}
        if self.levels == 3:
            size = (self.n_groups, self.groups)
            group = {
                "score": (GroupScore("groups", "h", "choice", choice, *size, self.n_words),),
                "sample": (GroupSample("groups", "h", "choice", choice, *size),),
                "full": (GroupFull("groups", "h", "class_log_p", above, *size),),
            }
        size = (self.n_words, self.vocab_size)
        per_class = {"n_words": self.n_words * self.n_groups} if self.levels == 3 else {}
        return {
            "score": (
                ClassScore(*top, "slot_of_token", "words", STREAM, "h", "choice", self.eps, **per_class),
                *group["score"],
                WordScore(*words, choice, OUTCOME, *size),
            ),
            "sample": (
                ClassSample(*top, STREAM, "h", "choice", self.eps),
                *group["sample"],
                WordSample("words", "token_of_slot", "h", choice, OUTCOME, *size),
            ),
            "full": (
                ClassFull(*top, STREAM, "h", "class_log_p", self.eps),
                *group["full"],
                WordFull("words", "token_of_slot", "h", above, PROBABILITIES, *size),
            ),
        }

    def kept(self, T: int) -> list[Activation]:
        """A copy of its input sorted by class (and by group), and the scores of every level."""
        sorts = self.levels - 1
        scores = self.classes + self.n_words + (self.n_groups if self.levels == 3 else 0)
        found = [
            Activation("targets, or their order by class", T, sorts, 8),
            Activation("head: gradient or sorted copy of its input", T * self.d_model, sorts),
            Activation("head: class and word scores", T * scores),
        ]
        if self.normed:
            return [*found, Activation("final norm: x / rms, output, 1 / rms", T * (2 * self.d_model + 1))]
        return [*found, Activation("head: its input", T * self.d_model)]
