"""What a drawn token cost, measured where the text decides it; oracle: the logging engine over the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import bench

from weightless.decode.generate import Sampling, mean_cost, token_stream
from weightless.program.cost import Bytes, step_bytes, touched_by_formula


class Drawn:
    """What `token_stream` needs of an artifact; 0 stands for <|endoftext|>."""

    class tokenizer:
        end_of_text = 0

    def __init__(self, b) -> None:
        self.program, self.engine = b.program, b.engine


@pytest.mark.parametrize("case", [("ngram", "order_4"), ("infinigram", "length_3"), ("mixture", "exits_and_bigrams")])
@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.8, 0.9)])
def test_mean_cost_is_that_of_the_log(case, temperature, top_p):
    b = bench(*case)
    sampling = Sampling(temperature, top_p, max_tokens=12, stop_at_end=False)
    costs: list[tuple[int, int, int]] = []
    prompt = [int(token) for token in b.tokens[:4]]
    drawn = list(token_stream(Drawn(b), prompt, sampling, costs))
    logging, totals = b.audit_engine(), []
    for i, token in enumerate([0, *prompt, *drawn[:-1]]):
        logging.feed(token)
        if i >= len(prompt):
            logging.sample(np.zeros(8)) if sampling.mode == "sample" else logging.distribution()
            totals.append(sum(step_bytes(b.program, [a for _, a, _ in logging.steps]).values(), Bytes()).T)
    assert [position for position, *_ in costs] == list(range(5, 17))
    if sampling.mode == "full":  # what a draw reads depends on the uniform, what a distribution reads does not
        assert mean_cost(b.program, "full", costs) == pytest.approx(np.mean(totals), abs=1e-9)
    most = max(
        sum(step.values(), Bytes()).T
        for step in [
            step_bytes(b.program, [op.accesses(b.program.by_name, 16) for op in b.program.operators(sampling.mode)])
        ]
    )
    assert 0 < mean_cost(b.program, sampling.mode, costs) <= most


def test_an_exact_program_is_told_by_formula():
    program = bench("dense", "tied_mha_swiglu_f32").program
    assert mean_cost(program, "sample", [(1, 0, 0)]) == touched_by_formula(program, "sample").T.mean
