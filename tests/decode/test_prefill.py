"""A prompt fed in blocks beside the same prompt fed token by token: the engine is the oracle of what follows.

Tolerance: log-probabilities to 2e-5 where nothing is rounded in between; 0.03 where caches or states are.
"""

from __future__ import annotations

import numpy as np
import pytest
from contract.cases import bench

from weightless.base.errors import ConfigError
from weightless.cli.main import main
from weightless.decode import prefill
from weightless.decode.generate import Sampling, token_stream
from weightless.decode.prefill import Prefill
from weightless.program.engine import Engine

CASES = [
    ("dense", "tied_mha_swiglu_f32"),
    ("dense", "factorised_tied_softcap_windows"),
    ("dense", "tied_mqa_swiglu_int8"),
    ("dense", "cached"),
    ("scan", "delta_f32_conv"),
    ("feather", "as_it_comes"),
    ("experts", "two_of_five_swiglu"),
]


class Model:
    """What `token_stream` needs of an artifact; 0 stands for <|endoftext|>."""

    class tokenizer:
        end_of_text = 0

    imported_ends = ()

    def __init__(self, b) -> None:
        self.program, self.engine = b.program, b.engine


def room(model) -> float:
    states = {name for op in model.program.body for name in op.kept()}
    return 2e-5 if all(model.program.by_name[name].format in ("f32", "u32") for name in states) else 0.03


@pytest.mark.parametrize("name, case", CASES)
def test_the_next_token_is_as_probable_as_after_stepping(name, case):
    """Prompts of 1 and 2 tokens, an odd number, all but one of the context, and the context; then two tokens more."""
    model = bench(name, case)
    context, stepped = model.program.context, model.engine()
    engine = Engine(model.program, model.weights, poison=True)
    feeder = Prefill(engine, path="blocked")
    for n in (1, 2, 13, context - 1, context):
        stepped.reset()
        for token in model.tokens[:n]:
            stepped.feed(int(token))
        feeder.feed(model.tokens[:n].tolist())
        for token in model.tokens[n : n + 2]:
            assert engine.position == stepped.position
            with np.errstate(divide="ignore"):
                found, wanted = (np.log(e.distribution()) for e in (engine, stepped))
            np.testing.assert_allclose(found, wanted, rtol=0, atol=room(model))
            assert engine.path == stepped.path == 0
            engine.feed(int(token))
            stepped.feed(int(token))


def test_texts_are_continued_alike_and_a_full_context_slides_alike(monkeypatch):
    """The same 40 tokens drawn with a context of 23, which slides twice: fed in blocks, and stepped."""
    monkeypatch.setattr(prefill, "FEWEST_FED", 5)
    fed = []
    original = Engine.resume
    monkeypatch.setattr(Engine, "resume", lambda self, n: (fed.append(n), original(self, n))[1])
    b = bench("dense", "tied_mha_swiglu_f32")
    sampling, prompt = Sampling(0.7, 0.9, max_tokens=40, stop_at_end=False), [int(t) for t in b.tokens[:9]]
    drawn = {
        path: list(token_stream(Model(b), prompt, sampling, None, path)) for path in ("auto", "blocked", "stepped")
    }
    assert drawn["auto"] == drawn["blocked"] == drawn["stepped"]
    assert {9, 10} <= set(fed), "the prompt and <|endoftext|> but the last, and the second half of a full context"


def test_short_prompts_and_unsupported_models_are_stepped_and_forced_ones_refused(monkeypatch):
    monkeypatch.setattr(Engine, "resume", lambda *given: pytest.fail("nothing here is fed in blocks"))
    model = bench("dense", "untied_gqa_silu_f32")
    Prefill(model.engine()).feed(model.tokens[: prefill.FEWEST_FED - 1])
    Prefill(model.engine(), "stepped").feed(model.tokens)
    counts, exits, experts = bench("ngram", "order_2"), bench("dense", "exits_after_two_blocks"), bench(*CASES[-1])
    monkeypatch.setattr(prefill, "FEWEST_FED", 2)
    for refused in (counts, exits, experts):
        engine, wanted = refused.engine(), refused.engine()
        Prefill(engine).feed(refused.tokens[:9])
        wanted.feed_all(refused.tokens[:9])
        np.testing.assert_array_equal(engine.distribution(), wanted.distribution())
    with pytest.raises(ConfigError, match="in blocks, because 'ngram_context' has no form"):
        Prefill(counts.engine(), "blocked")
    with pytest.raises(ConfigError, match="in blocks, because 'exit_test' ends each token"):
        Prefill(exits.engine(), "blocked")
    with pytest.raises(ConfigError, match="path 'blocks': did you mean 'blocked'"):
        Prefill(counts.engine(), "blocks")


def test_the_flag_is_told_when_it_is_misspelt_or_does_nothing(capsys):
    assert main(["generate", "no.wl", "--path", "steped"]) == 2
    assert "path 'steped': did you mean 'stepped'?" in capsys.readouterr().err
    assert main(["generate", "no.wl", "--path", "blocked", "--beam", "2"]) == 2
    assert "--path does nothing with --speculate, --beam and --prompts" in capsys.readouterr().err
