"""Other people's clients against the server: `openai`, and lm-eval's local-completions with the server's own tokenizer.

Oracles: `decode.generate` with the same seed; the engine's nats (`score_stream`), to what float32 leaves of two heads.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from weightless.decode.generate import document_ids, generate
from weightless.decode.sampling import Sampling


@pytest.fixture
def client(port):
    openai = pytest.importorskip("openai", reason="the openai client is not installed: ./do setup dev")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none is needed", max_retries=0) as found:
        yield found


def written(packed, prompt, seed, n, **how) -> str:
    return generate(packed, prompt, Sampling(**{"temperature": 1.0, "top_p": 1.0, **how}, seed=seed, max_tokens=n))[
        "text"
    ]


def test_openai_completes_and_lists(client, packed):
    told = client.completions.create(
        model="dense", prompt="Once", max_tokens=12, seed=3, temperature=0.8, top_p=0.9, n=2
    )
    wanted = [written(packed["dense"], "Once", seed, 12, temperature=0.8, top_p=0.9) for seed in (3, 4)]
    assert [choice.text for choice in told.choices] == wanted and told.usage.total_tokens > 0
    scored = client.completions.create(model="ngram", prompt="Once", max_tokens=0, echo=True, logprobs=1)
    assert scored.choices[0].text == "Once" and len(scored.choices[0].logprobs.token_logprobs) > 0
    assert [model.id for model in client.models.list()] == ["dense", "ngram"]
    assert client.models.retrieve("ngram").owned_by == "weightless"


def test_openai_streams(client, packed):
    usage = {"include_usage": True}
    with client.completions.create(
        model="dense", prompt="Once", max_tokens=12, seed=3, stream=True, stream_options=usage
    ) as stream:
        *chunks, last = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == written(packed["dense"], "Once", 3, 12)
    assert len(chunks) > 3 and last.usage.completion_tokens > 0


def test_openai_reads_refusals(client):
    import openai

    for error, changed in (
        (openai.BadRequestError, {"temperature": -1}),
        (openai.NotFoundError, {"model": "gpt-4"}),
        (openai.BadRequestError, {"best_of": 3}),
    ):
        with pytest.raises(error) as refused:
            client.completions.create(**{"model": "dense", "prompt": "x", **changed})
        assert refused.value.param == next(iter(changed)) and refused.value.body["message"]


@pytest.mark.slow
def test_lm_eval_gets_our_numbers(port, packed):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.openai_completions import LocalCompletionsAPI

        model = packed["dense"]
        harness = LocalCompletionsAPI(
            base_url=f"http://127.0.0.1:{port}/v1/completions",
            model="dense",
            tokenizer_backend="auto",
            max_length=model.program.context,
            batch_size=2,
        )
        assert harness.tokenizer_backend == "remote", "it found the server's tokenizer"

        def asked(kind, arguments):
            return [Instance(kind, {}, argument, i) for i, argument in enumerate(arguments)]

        pairs = [("The fox saw", " the moon"), ("Once upon a", " time"), ("Once upon a", " tree and")]
        found = harness.loglikelihood(asked("loglikelihood", pairs))
        texts = ["The old fox saw the moon.", "A crow"]
        rolled = harness.loglikelihood_rolling(asked("loglikelihood_rolling", [(text,) for text in texts]))
        until = {"until": ["q"], "max_gen_toks": 9, "temperature": 0}
        (made,) = harness.generate_until(asked("generate_until", [("Once", until)]))
    for (context, continuation), (log_p, _) in zip(pairs, found, strict=True):
        n = len(model.tokenizer.encode(context))
        assert log_p == pytest.approx(-nats(model, context + continuation)[n:].sum(), rel=1e-5)
    for text, log_p in zip(texts, rolled, strict=True):
        assert log_p == pytest.approx(-nats(model, text).sum(), rel=1e-5)
    assert made == written(model, "Once", 1234, 9, temperature=0.0, stop=("q",))


def nats(packed, text: str) -> np.ndarray:
    """Of every token of a text behind the mark, as `weightless eval` scores a document."""
    ids = np.array(document_ids(packed, packed.tokenizer.encode(text)))
    return packed.engine().score_stream(ids[:-1], ids[1:])
