"""How to train: every choice of the loop in one frozen record, checked when it is made.

The length of a run is num_steps or seconds (training seconds; evaluation and checkpoints do not count), never both.
What a batch is made of (packing, document_mask, order …) is explained in data/batches/ (packing.py, order.py).
Fractions (warmup, warmdown, qat_start) are shares of the whole run.  Learning rates are peaks; the schedule multiplies
them all.  Errors: ConfigError naming the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from weightless.base.errors import ConfigError, nearest
from weightless.data.batches.loader import ORDERS
from weightless.train.schedules import SCHEDULES

OPTIMIZERS = ("adamw", "muon", "sgd")
CLOCK_NAMES = ("wall", "cpu")
PACKINGS = ("stream", "documents")
SCORED_ORDERS = ("length", "compression", "score")
TRAIN_ORDERS = (*ORDERS, *SCORED_ORDERS)
PACINGS = ("sorted", "buckets", "shuffled")
AVERAGES = ("none", "ema", "swa")
MOST_THREADS = 1024
AUTOCASTS = ("none", "bf16")
CLIPS = ("rule", "tensor", "group")
FASTEST = ("auto", "never")
DECAYS = ("beta1", "beta2", "muon_momentum", "muon_momentum_start")
EVERY = ("eval_every", "log_every")
COUNTS = ("batch_size", "context", "num_steps", "seconds", "grad_accumulation", "eval_tokens", "threads", *EVERY)
SHARES = ("warmup", "warmdown", "min_lr_ratio", "qat_start", "qat_warmup", "average_start", "ema_decay", *DECAYS)
LARGEST_RATE, LARGEST_DECAY, LARGEST_BETA = 1e30, 1e6, 1 - 1e-7
"""Beyond these an update is no float32, which is the end of the program and not of a training."""
_DEVICE = re.compile(r"cpu|cuda(:\d+)?|mps")
RESUMABLE_CHANGES = frozenset({"checkpoint_every", "prefetch"})
"""Fields that a resumed run may change: they cannot alter a single number of the result, the curve included.  A longer
run is another one (the schedule follows the length), and so is one on another device or number of threads (floats add
up in another order)."""
IDLE: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("warmdown", "warmdown_steps"), lambda c: c.schedule != "wsd", "without schedule wsd"),
    (("warmdown",), lambda c: c.warmdown_steps > 0, "beside warmdown_steps"),
    (("min_lr_ratio",), lambda c: c.schedule == "constant", "with schedule constant"),
    (
        ("muon_lr", "muon_momentum", "muon_momentum_start", "muon_momentum_warmup"),
        lambda c: c.optimizer != "muon",
        "without optimizer muon",
    ),
    (("muon_momentum_start",), lambda c: c.muon_momentum_warmup == 0, "without muon_momentum_warmup"),
    (("beta1", "beta2"), lambda c: c.optimizer == "sgd", "with optimizer sgd"),
    (("table_lr",), lambda c: c.optimizer != "muon", "without optimizer muon: max_lr is the rate of all"),
    (("clock", "fit_seconds"), lambda c: c.seconds is None, "without seconds"),
    (("fastest",), lambda c: c.compile or c.autocast != "none", "beside compile and autocast, which say it"),
    (("qat_clip",), lambda c: c.qat_start >= 1.0, "without qat_start: nothing is trained through its rounding"),
    (("average_start", "ema_decay"), lambda c: c.average == "none", "without an average (ema, swa)"),
    (("ema_decay",), lambda c: c.average == "swa", "with average swa, in which all steps weigh the same"),
)
"""Fields that do nothing beside others: what is asked for and would be dropped is refused where it is read."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train, checked when it is made: ConfigError names a field that cannot be.

    Exactly one of num_steps and seconds (of training) decides when it ends.  Fractions (warmup, warmdown, qat_start)
    are shares of the whole run, learning rates are peaks that the schedule multiplies, None and 0 mean what stands
    beside the field.
    """

    batch_size: int
    """Windows (sequences) per backward pass."""
    context: int
    """Tokens per window; the model's longest context as well."""
    num_steps: int | None = None
    """Optimizer steps of the whole run; give this or seconds (train: 1000 when neither is given)."""
    seconds: float | None = None
    """Training seconds of the whole run; evaluation and checkpoints do not count."""
    fit_seconds: float = 0.0
    """Of these, so many are kept from the steps for what is fitted at the end (exits, window cache); 0: it comes after
    all of them."""
    optimizer: str = "muon"
    """muon (matrices by Muon, the rest by AdamW), adamw, or sgd."""
    max_lr: float = 3e-3
    """Peak learning rate: of everything under adamw and sgd; under muon not of the matrices (muon_lr) and lookup tables
    (table_lr), so that it sets embeddings, heads, gains and biases only."""
    muon_lr: float = 0.02
    """Peak learning rate of the matrices under optimizer muon."""
    muon_momentum: float = 0.95
    """Muon's decay of the mean gradient, per step (0 to 1)."""
    muon_momentum_start: float = 0.85
    """The same at the first step, where it rises (muon_momentum_warmup)."""
    muon_momentum_warmup: int = 0
    """Steps over which Muon's decay rises from muon_momentum_start; 0: it is the same from the first step on."""
    table_lr: float = 0.05
    """Peak learning rate of lookup tables (row-wise Adagrad) under optimizer muon."""
    embedding_lr_scale: float = 1.0
    """Factor on max_lr for the embedding."""
    head_lr_scale: float = 1.0
    """Factor on max_lr for a head of its own."""
    vector_lr_scale: float = 1.0
    """Factor on max_lr for gains and biases."""
    beta1: float = 0.9
    """AdamW's decay of the mean gradient, per step (0 to 1)."""
    beta2: float = 0.95
    """AdamW's decay of the mean squared gradient, per step (0 to 1)."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices, embedding and head: a step multiplies them by 1 - lr * this."""
    grad_clip: float = 1.0
    """Largest L2 norm of the whole gradient; a longer one is scaled down to it.  0: no clipping."""
    grad_accumulation: int = 1
    """Backward passes per optimizer step; the gradients are averaged."""
    schedule: str = "cosine"
    """Of the learning rates: cosine, linear, wsd (constant, then a fall) or constant."""
    warmup: float = 0.02
    """Share of the run (0 to 1) over which the rates rise from 0."""
    warmdown: float = 0.2
    """Share of the run (0 to 1) over which schedule wsd falls at the end."""
    warmdown_steps: int = 0
    """The same in steps, under a budget of seconds in steps of the mean length so far; 0: warmdown says it."""
    min_lr_ratio: float = 0.1
    """Share of the peak rates (0 to 1) that is left at the end."""
    qat_start: float = 1.0
    """Share of the run (0 to 1) after which weights are trained through their rounding; 1: never."""
    qat_warmup: float = 0.0
    """Share of the run over which the rounding then sets in, in ten steps of strength; 0: at once."""
    qat_clip: str = "rule"
    """Scales of the rounding: as the format's rule says (rule), or times a learned factor per tensor or per group."""
    average: str = "none"
    """Of the weights along the run, validated and packed for the last ones: none, ema (exponential) or swa (even)."""
    average_start: float = 0.5
    """Share of the run (0 to 1) after which averaging begins; 0: with the first step."""
    ema_decay: float = 0.999
    """Decay of average ema, per step (0 to 1)."""
    eval_every: int | None = None
    """Steps between validations; None: ten times, evenly spaced in progress."""
    eval_tokens: int = 65_536
    """Validation tokens scored each time."""
    log_every: int = 20
    """Steps between lines of metrics."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints."""
    packing: str = "stream"
    """stream (documents end to end), or documents (whole ones packed into windows, the rest of each is padding)."""
    document_mask: bool = False
    """Let positions see only their own document."""
    order: str = "permutation"
    """Of windows: permutation (each once per epoch), uniform (drawn), or sorted: length, compression, score."""
    score_file: str = ""
    """Of order score: one number per training document (.jsonl or .npy)."""
    descending: bool = False
    """Begin a sorted order with the highest."""
    pacing: str = "sorted"
    """Of a sorted order: sorted, buckets (permuted inside each), or shuffled (the control: all permuted)."""
    buckets: int = 0
    """Of pacing buckets: how many, at least 2."""
    prefetch: int = 0
    """Batches that a thread prepares ahead; they stay the same."""
    seed: int = 0
    """Decides the initial weights and the order of batches."""
    threads: int | None = None
    """Threads of PyTorch; None: as many as it takes by itself."""
    clock: str = "wall"
    """What seconds means: wall, or cpu (processor time, so that a busy machine trains no less)."""
    autocast: str = "none"
    """Products of the training passes in another precision: none (float32), or bf16; weights and validation stay."""
    compile: bool = False
    """Let torch.compile make the layers of the training passes (minutes of it before the first step)."""
    fastest: str = "auto"
    """Where neither compile nor autocast is asked for: auto (both from 900 seconds on, where the processor has bf16 and
    the first loss agrees; not for a number of steps), or never (as written, in float32)."""
    device: str = "cpu"
    """Where PyTorch computes: cpu, cuda, cuda:1, mps."""

    def __post_init__(self) -> None:
        if (self.num_steps is None) == (self.seconds is None):
            raise ConfigError("give either num_steps or seconds, and not both: one budget decides when training ends")
        if self.optimizer not in OPTIMIZERS:
            raise ConfigError(f"optimizer = {self.optimizer!r}: {nearest(self.optimizer, OPTIMIZERS)}")
        if self.clock not in CLOCK_NAMES:
            raise ConfigError(f"clock = {self.clock!r}: {nearest(self.clock, CLOCK_NAMES)}")
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule = {self.schedule!r}: {nearest(self.schedule, SCHEDULES)}")
        self._check_batches()
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} = {value!r} should be a number greater than 0")
        for name in (
            "warmup",
            "warmdown",
            "min_lr_ratio",
            "qat_start",
            "qat_warmup",
            "average_start",
            "ema_decay",
            *DECAYS,
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} = {getattr(self, name)!r} should lie between 0 and 1")
        for name in (
            "max_lr",
            "muon_lr",
            "table_lr",
            "embedding_lr_scale",
            "head_lr_scale",
            "vector_lr_scale",
            "weight_decay",
            "grad_clip",
            "checkpoint_every",
            "fit_seconds",
        ):
            finite = name == "checkpoint_every" or getattr(self, name) < math.inf  # inf seconds: only at the end
            if not (getattr(self, name) >= 0 and finite):
                raise ConfigError(f"{name} = {getattr(self, name)!r} should be a number, 0 or more")
        self._check_update()
        self._check_shares()
        if (self.threads or 1) > MOST_THREADS:
            raise ConfigError(f"threads = {self.threads} should be at most {MOST_THREADS}")
        if not _DEVICE.fullmatch(self.device):
            raise ConfigError(f'device = {self.device!r}: say "cpu", "cuda", or "cuda:1" for the second of them')
        if self.warmup >= 1.0 or (self.schedule == "wsd" and self.warmup + self.least_warmdown > 1.0):
            raise ConfigError(f"warmup = {self.warmup} leaves no room for the rest of schedule {self.schedule!r}")

    def _check_update(self) -> None:
        scales = ("embedding_lr_scale", "head_lr_scale", "vector_lr_scale")
        rates = {
            "max_lr": self.max_lr,
            "muon_lr": self.muon_lr,
            "table_lr": self.table_lr,
            **{f"max_lr * {scale}": self.max_lr * getattr(self, scale) for scale in scales},
        }
        for name, rate in rates.items():
            if rate > LARGEST_RATE:
                raise ConfigError(f"{name} = {rate:g} should be at most {LARGEST_RATE:g}")
        if self.weight_decay > LARGEST_DECAY:
            raise ConfigError(f"weight_decay = {self.weight_decay!r} should be at most {LARGEST_DECAY:g}")
        for name in DECAYS:
            if getattr(self, name) > LARGEST_BETA:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} should be below 1: 1 forgets nothing and learns nothing "
                    f"({LARGEST_BETA} is the most)"
                )
        for name in ("muon_momentum_warmup", "warmdown_steps"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)} should not be negative; 0 means none")

    def _check_shares(self) -> None:
        if self.seconds is not None and self.fit_seconds >= self.seconds:
            raise ConfigError(f"fit_seconds = {self.fit_seconds:g} leave no step of the {self.seconds:g} seconds")
        if self.qat_warmup and not self.qat_start + self.qat_warmup <= 1.0 - 1e-9:
            raise ConfigError(
                f"qat_start = {self.qat_start} and qat_warmup = {self.qat_warmup} leave no time in which weights are "
                "rounded whole: together they should be below 1"
            )
        if self.average_start >= 1.0 or self.ema_decay >= 1.0:
            raise ConfigError(
                f"average_start = {self.average_start} and ema_decay = {self.ema_decay} should be below 1: at 1 "
                "nothing is ever averaged"
            )

    def _check_batches(self) -> None:
        known = (("packing", PACKINGS), ("order", TRAIN_ORDERS), ("pacing", PACINGS))
        known += (("average", AVERAGES), ("autocast", AUTOCASTS), ("fastest", FASTEST), ("qat_clip", CLIPS))
        for name, values in known:
            if getattr(self, name) not in values:
                raise ConfigError(f"{name} = {getattr(self, name)!r}: {nearest(getattr(self, name), values)}")
        if (self.order == "score") != bool(self.score_file):
            raise ConfigError('order = "score" and score_file belong together: give both or neither')
        if not self.is_sorted and (self.descending or self.pacing != "sorted"):
            sorts = ", ".join(SCORED_ORDERS)
            raise ConfigError(f"descending and pacing need an order to act on ({sorts}), not {self.order!r}")
        if (self.buckets >= 2) != (self.pacing == "buckets") or self.buckets < 0 or self.buckets == 1:
            raise ConfigError(
                f'buckets = {self.buckets}, pacing = {self.pacing!r}: pacing "buckets" wants 2 or more, the others none'
            )
        if self.prefetch < 0:
            raise ConfigError(f"prefetch = {self.prefetch!r} should not be negative")

    @property
    def step_seconds(self) -> float | None:
        """The budget of seconds that steps have."""
        return None if self.seconds is None else self.seconds - self.fit_seconds

    @property
    def least_warmdown(self) -> float:
        """Share of the run over which schedule wsd falls; 0 where only the clock will know (`run_state`)."""
        if not self.warmdown_steps:
            return self.warmdown
        return self.warmdown_steps / self.num_steps if self.num_steps else 0.0

    @property
    def is_sorted(self) -> bool:
        """Whether the windows come in the order of a score."""
        return self.order in SCORED_ORDERS

    @property
    def n_draws(self) -> int | None:
        """Windows that the run will draw; None when only the clock knows."""
        return None if self.num_steps is None else self.num_steps * self.batch_size * self.grad_accumulation

    @property
    def positions_per_step(self) -> int:
        """Positions of the windows of one optimizer step, padding included."""
        return self.batch_size * self.context * self.grad_accumulation

    def check_used(self, given: Iterable[str], prefix: str = "") -> None:
        """ConfigError for a field of `given` (those that somebody wrote down) that does nothing beside the others."""
        for fields, is_idle, why in IDLE:
            idle = [field for field in fields if field in given]
            if idle and is_idle(self):
                raise ConfigError(f"{prefix}{idle[0]} does nothing {why}: leave it out")
