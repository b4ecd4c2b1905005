"""The card `fuse`: softmax and the k largest in one pass."""

from __future__ import annotations

from pathlib import Path

from weightless.deck.card import Card, Check, Opened, Pinned, Prepared
from weightless.deck.cards.fuse import checks_edges as edges
from weightless.deck.cards.fuse import checks_rows as rows
from weightless.deck.cards.fuse.routes import CUDA, LAUNCHER, NUMPY, Route, prepared, route_of
from weightless.deck.outcome import Failed

FLOAT64 = "float64 stays float64"
PROCESSOR_TIME = "processor time beside ours"
CHECKS = (
    Check("contract", "shapes and dtypes are the pinned ones", rows.answers),
    Check("prompt", "the ten most probable of a thousand", rows.a_thousand),
    Check("prompt", "V = 50,257", rows.a_large_vocabulary),
    Check("prompt", "logits around 10,000 and -10,000", rows.stable),
    Check("hidden", "vocabularies of every size", rows.every_size),
    Check("hidden", "V = 151,936", rows.the_largest_vocabulary),
    Check("hidden", "probabilities are those of the full softmax", rows.not_renormalised),
    Check("hidden", "rows that rise and fall", rows.rising_and_falling),
    Check("hidden", "rows of many sizes", rows.rows_keep_apart),
    Check("hidden", FLOAT64, rows.in_double),
    Check("hidden", "k = V adds up to one", edges.sums_to_one),
    Check("adversarial", "ties go to the lowest index", edges.ties),
    Check("adversarial", "k above V is padded", edges.more_than_there_are),
    Check("adversarial", "a row of -inf", edges.nothing_possible),
    Check("adversarial", "fewer than k above -inf", edges.few_possible),
    Check("adversarial", "probabilities that round to zero", edges.probabilities_of_zero),
    Check("adversarial", "arrays that are not contiguous", edges.strided),
    Check("adversarial", "logits are not written to", edges.logits_survive),
    Check("efficiency", "memory does not grow with V", edges.memory),
    Check("efficiency", PROCESSOR_TIME, edges.speed),
)


def checks_of(route: Route) -> tuple[Check, ...]:
    """The checks that a route is asked: float64 only where it is served, time only where nothing interprets it, reads
    only where they can be counted.
    """
    left_out = set() if route.takes_float64 else {FLOAT64}
    left_out |= set() if route is NUMPY else {PROCESSOR_TIME}
    counted = (Check("efficiency", "each logit is read once", edges.reads),) if route is CUDA else ()
    return (*(check for check in CHECKS if check.name not in left_out), *counted)


def in_another_language(submission: Path, into: Path, opened: Opened) -> Prepared | None:
    """What a solution in CUDA (compiled into `into`), numba or Triton is asked; None for NumPy, and for nothing.

    Raises Failed, CONTRACT, for a .cu of another name or one that does not compile.
    """
    route = route_of(submission)
    if route is None and not any(submission.rglob("*.py")):
        for path in sorted(submission.rglob("*.cu")):
            told = f"{path.name} should be called {CUDA.file} and define {LAUNCHER}, as INTERFACE.md says"
            raise Failed("CONTRACT", told)
    if route is None or route is NUMPY:
        return None
    prepared(route, submission, into, opened)
    return Prepared(checks_of(route), tuple(name for name in route.needs if name != "numpy"))


CARD = Card(
    name="fuse",
    title="Softmax and top-k in one pass",
    difficulty="medium",
    order=2,
    checks=CHECKS,
    library=("weightless.ops.softmax_topk",),
    pinned=(
        Pinned(
            "fused_softmax_topk",
            ("logits", "k"),
            also=("softmax_topk", "fused_topk_softmax", "softmax_top_k", "fused_softmax_top_k"),
        ),
    ),
    prepare=in_another_language,
)
