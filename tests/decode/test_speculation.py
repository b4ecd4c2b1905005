"""Speculation changes the time and nothing else: against plain decoding by the same model, in float64."""

import numpy as np
import pytest
from contract.cases import bench

from weightless.base.errors import ConfigError
from weightless.decode.batch_runner import BatchRunner
from weightless.decode.continuous import ContinuousBatch
from weightless.decode.drafters import RunnerDrafter, SuffixDrafter, merged, parse_tree
from weightless.decode.engine_runner import EngineRunner, runner_for
from weightless.decode.sampling import Sampling
from weightless.decode.speculate import Speculation, speculative_tokens

GREEDY = Sampling(temperature=0, top_p=1, max_tokens=60, stop_at_end=False)
MODELS = [
    ("dense", "tied_mha_swiglu_f32"),
    ("feather", "all_f32"),
    ("scan", "diagonal_f32"),
    ("scan", "delta_f32_conv"),
    ("ngram", "order_4"),
]


def exact(name: str, case: str):
    """A float64 runner where there is one; the engine's for counted models."""
    model = bench(name, case)
    return runner_for(model.program, model.weights, np.float64)


class Oracle:
    """Drafts the greedy future itself, with wrong siblings in front: everything right is accepted."""

    def __init__(self, text: list[int], depth: int = 4) -> None:
        self.text, self.depth = text, depth

    def draft(self, tokens, most):
        future = self.text[len(tokens) : len(tokens) + min(self.depth, most)]
        if not future:
            return [], []
        wrong = (future[0] + 1) % 200
        return [wrong, *future], [-1, -1, *range(1, len(future))]


def drafters(name: str, case: str, text: list[int]):
    other = bench("ngram", "order_3")
    yield "suffix", SuffixDrafter(3, 6)
    yield "ngram model", RunnerDrafter(EngineRunner(other.program, other.weights), 2, 3)
    yield "itself", RunnerDrafter(exact(name, case), 2, 4)
    yield "oracle", Oracle(text)


@pytest.mark.parametrize("name, case", MODELS)
def test_greedy_output_is_that_of_plain_decoding(name, case):
    """60 tokens through contexts of 23 and 33, so the context is filled anew on the way."""
    prompt = [5, 9, 5, 9, 5]
    plain_record = Speculation()
    plain = list(speculative_tokens(exact(name, case), prompt, GREEDY, None, record=plain_record))
    assert plain_record.tokens_per_cycle == 1.0 and len(plain) == 60
    for kind, drafter in drafters(name, case, prompt + plain):
        record = Speculation()
        found = list(speculative_tokens(exact(name, case), prompt, GREEDY, drafter, record=record))
        assert found == plain, kind
        assert record.produced == 60 and record.cycles <= 60
        if kind == "oracle":
            assert record.tokens_per_cycle > 3


@pytest.mark.parametrize("name, case", MODELS)
def test_plain_decoding_is_the_argmax_of_the_engine(name, case):
    model = bench(name, case)
    found = list(speculative_tokens(exact(name, case), [5, 9], Sampling(0, 1, max_tokens=12, stop_at_end=False)))
    engine = model.engine()
    text = [5, 9]
    engine.feed(5)
    for token in found:
        engine.feed(text[-1])
        p = engine.distribution()
        assert p[token] >= p.max() * (1 - 1e-5)
        text.append(token)


def test_drawn_text_has_the_distribution_of_the_model():
    """First two tokens of 4,000 speculative continuations against the model's own probabilities: |z| < 4.5."""
    model = bench("dense", "tied_mha_swiglu_f32")
    runner = BatchRunner(model.program, model.weights, np.float64)
    sampling = Sampling(temperature=0.5, top_p=1, top_k=3, max_tokens=2, stop_at_end=False)
    rng = np.random.default_rng(0)
    sequence = runner.begin()
    (log_p,) = runner.forward([(sequence, [5, 9])])
    first = sampling.distribution(np.exp(log_p[-1]))
    best = np.argsort(-first)[:2].tolist()
    drafter = Oracle([5, 9, best[1], best[0]])
    count = np.zeros(len(first))
    n = 2000
    for _ in range(n):
        count[next(iter(speculative_tokens(runner, [5, 9], sampling, drafter, rng=rng)))] += 1
    assert count[first == 0].sum() == 0
    assert (np.abs(count / n - first) < 4.5 * np.sqrt(first * (1 - first) / n) + 1e-12).all()


def test_ends_where_plain_decoding_ends():
    name, case = MODELS[0]
    plain = list(speculative_tokens(exact(name, case), [5], GREEDY))
    end = plain[7]
    wanted = plain[: plain.index(end)]
    stopping = Sampling(temperature=0, top_p=1, max_tokens=60)
    found = list(speculative_tokens(exact(name, case), [5], stopping, Oracle([5, *plain], 5), {end}))
    assert found == wanted


def test_suffix_drafts_what_followed_before():
    drafter = SuffixDrafter(branches=2, length=3, order=2)
    assert drafter.draft([1, 2, 3, 4, 1, 2], 9) == ([3, 4, 1], [-1, 0, 1])
    assert drafter.draft([1, 2, 3, 4, 1, 2, 9, 1, 2], 9) == ([9, 1, 2, 3, 4, 1], [-1, 0, 1, -1, 3, 4])
    assert drafter.draft([7, 7, 8], 9) == ([], [])
    assert drafter.draft([1, 2, 3, 1], 1) == ([2], [-1])
    assert drafter.draft([1, 2, 3, 1], 0) == ([], [])


def test_trees_merge_common_beginnings():
    assert merged([[1, 2], [1, 3], [4]]) == ([1, 2, 3, 4], [-1, 0, 0, -1])
    assert parse_tree("4x3") == (4, 3)
    with pytest.raises(ConfigError, match="BRANCHESxLENGTH such as 4x3"):
        parse_tree("4by3")


@pytest.mark.parametrize("name, case", MODELS)
def test_requests_do_not_notice_each_other(name, case):
    """Seven prompts, three at a time, joining and leaving: each gets what it gets alone (greedy, float64)."""
    prompts = [[5, 9], [7], [1, 2, 3, 4], [200], [5, 5, 5], [8, 1], [3]]
    lengths = [4, 30, 9, 1, 12, 40, 7]
    batch = ContinuousBatch(exact(name, case), most=3)
    for prompt, n in zip(prompts, lengths):
        batch.submit(prompt, Sampling(temperature=0, top_p=1, max_tokens=n, stop_at_end=False))
    found: dict[int, list[int]] = {number: [] for number in range(len(prompts))}
    done = []
    for number, token in batch.run():
        if token is None:
            done.append(number)
        else:
            found[number].append(token)
    assert sorted(done) == list(range(7)) and done[0] in (0, 2)
    for number, (prompt, n) in enumerate(zip(prompts, lengths)):
        alone = Sampling(temperature=0, top_p=1, max_tokens=n, stop_at_end=False)
        if len(prompt) + n <= batch.runner.context:
            assert found[number] == list(speculative_tokens(exact(name, case), prompt, alone)), number
        assert len(found[number]) == n


def test_an_empty_prompt_is_refused():
    with pytest.raises(ConfigError, match="at least one token"):
        next(iter(speculative_tokens(exact(*MODELS[0]), [], GREEDY)))
    with pytest.raises(ConfigError, match="at least one token"):
        ContinuousBatch(exact(*MODELS[0])).submit([], GREEDY)
