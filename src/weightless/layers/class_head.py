"""A softmax in two levels (Goodman 2001): log p = log p(class | x) + log p(word | class, x), exactly normalised.

C classes of W words, C W >= V; slot s = word s mod W of class s div W.  Scoring reads the C rows of the classes and
the W rows of one class: with C = W = sqrt(V) that is 2 sqrt(V) rows instead of V.  Which token sits in which slot is
computed from the training text (`ops.token_classes`) and packed as two columns of ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from weightless.layers import functions as L
from weightless.layers.layer import STREAM, Fused, Head, register
from weightless.ledger.memory import Activation
from weightless.program.operators.class_head import ClassFull, ClassSample, ClassScore, WordFull, WordSample, WordScore
from weightless.program.program import OUTCOME, PROBABILITIES
from weightless.program.tensor import Parameter, Tensor

if TYPE_CHECKING:
    import numpy as np
    import torch

LINE = "head"
NORM = "final_norm"


@dataclass(frozen=True)
class ClassHead(Head):
    """`n_classes` 0 means sqrt(V).  The last class may be short, and one that would be empty is left out."""

    vocab_size: int
    d_model: int
    eps: float
    format: str
    std: float
    n_classes: int = 0
    classes_by: Literal["context", "frequency"] = "context"

    @property
    def n_words(self) -> int:
        """W, words per class."""
        wanted = self.n_classes or round(self.vocab_size**0.5)
        return -(-self.vocab_size // wanted)

    @property
    def classes(self) -> int:
        """C, the classes that there are."""
        return -(-self.vocab_size // self.n_words)

    def parameters(self) -> list[Parameter]:
        d = self.d_model
        return [
            Parameter(NORM, (1, d), "f32", "ones", "vector", LINE),
            Parameter("classes", (self.classes, d), self.format, self.std, "head", LINE),
            Parameter("words", (self.classes * self.n_words, d), self.format, self.std, "head", LINE),
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
            token_of_slot = class_slots(tokens, self.vocab_size, self.classes, seed)
        slot_of_token = np.empty(self.vocab_size, dtype=np.int64)
        slot_of_token[token_of_slot] = np.arange(self.vocab_size)
        return {"slot_of_token": slot_of_token, "token_of_slot": token_of_slot.astype(np.int64)}

    def state(self) -> list[Tensor]:
        widths = {OUTCOME: 1, "h": self.d_model, "choice": 2, "class_log_p": self.classes}
        vectors = [register(name, width) for name, width in widths.items()]
        return [*vectors, register(PROBABILITIES, self.vocab_size, "logits")]

    def nats(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor, targets_BT: torch.Tensor) -> torch.Tensor:
        h_ND = L.rms_norm(x_BTD, p[NORM], self.eps).flatten(0, 1)
        slots_N = L.target_slots(p["slot_of_token"], targets_BT.reshape(-1))
        nats_N = L.class_cross_entropy(h_ND, p["classes"], p["words"], slots_N, self.vocab_size)
        return nats_N.view(targets_BT.shape)

    def log_probs(self, p: Mapping[str, torch.Tensor], x_BTD: torch.Tensor) -> torch.Tensor:
        """Both levels in full."""
        h_BTD = L.rms_norm(x_BTD, p[NORM], self.eps)
        class_BTC = (h_BTD @ p["classes"].T).log_softmax(dim=-1)
        words_BTS = h_BTD @ p["words"].T
        words_BTS[..., self.vocab_size :] = -float("inf")
        words_BTCW = words_BTS.unflatten(-1, (self.classes, self.n_words)).log_softmax(dim=-1)
        slots_BTS = (class_BTC[..., None] + words_BTCW).flatten(-2)
        return slots_BTS[..., p["slot_of_token"]]

    def step_nats(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, target: int, fused: Fused) -> torch.Tensor:
        """Of the word rows, only those of the target's class."""
        import torch

        with fused("class_score"):
            slot = p["slot_of_token"][target].float()
            h_D, log_p_C = self._step_classes(p, x_D)
            choice = torch.stack([slot, -log_p_C[int(slot) // self.n_words]])
        with fused("word_score"):
            chosen, word = divmod(int(choice[0]), self.n_words)
            return choice[1] - self._step_words(p, h_D, chosen)[word]

    def step_probabilities(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor, fused: Fused) -> torch.Tensor:
        import torch

        with fused("class_full"):
            h_D, log_p_C = self._step_classes(p, x_D)
        with fused("word_full"):
            rows = [log_p_C[c] + self._step_words(p, h_D, c) for c in range(self.classes)]
            p_V = torch.empty(self.vocab_size)
            p_V[p["token_of_slot"]] = torch.cat(rows)[: self.vocab_size].exp()
            return p_V

    def _step_classes(self, p: Mapping[str, torch.Tensor], x_D: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(h [D], log p of every class [C])."""
        import torch.nn.functional as F

        h_D = L.rms_norm(x_D, p[NORM], self.eps)
        return h_D, F.linear(h_D, p["classes"]).log_softmax(dim=-1)

    def _step_words(self, p: Mapping[str, torch.Tensor], h_D: torch.Tensor, chosen: int) -> torch.Tensor:
        """log p(word | class) of one class's words; slots behind the vocabulary have probability zero."""
        import torch.nn.functional as F

        scores_W = F.linear(h_D, p["words"][chosen * self.n_words : (chosen + 1) * self.n_words])
        scores_W[max(0, self.vocab_size - chosen * self.n_words) :] = -float("inf")
        return scores_W.log_softmax(dim=-1)

    def operators(self) -> dict[str, tuple[Any, ...]]:
        top, size = (NORM, "classes"), (self.n_words, self.vocab_size)
        return {
            "score": (
                ClassScore(*top, "slot_of_token", "words", STREAM, "h", "choice", self.eps),
                WordScore("words", "h", "choice", OUTCOME, *size),
            ),
            "sample": (
                ClassSample(*top, STREAM, "h", "choice", self.eps),
                WordSample("words", "token_of_slot", "h", "choice", OUTCOME, *size),
            ),
            "full": (
                ClassFull(*top, STREAM, "h", "class_log_p", self.eps),
                WordFull("words", "token_of_slot", "h", "class_log_p", PROBABILITIES, *size),
            ),
        }

    def kept(self, T: int) -> list[Activation]:
        """A copy of its input sorted by class, and the scores of classes and of one class's words."""
        return [
            Activation("targets, or their order by class", T, 1, 8),
            Activation("final norm: x / rms, output, 1 / rms", T * (2 * self.d_model + 1)),
            Activation("head: gradient or sorted copy of its input", T * self.d_model),
            Activation("head: class and word scores", T * (self.classes + self.n_words)),
        ]
