"""Our beam search against `generate` of transformers, on a random GPT-2 of two layers in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from weightless.decode.beam_search import batched_beam_search  # noqa: E402

V, END = 40, 3


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=V,
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=0,
        initializer_range=0.6,
    )
    return transformers.GPT2LMHeadModel(config).double().eval()


def log_probs(model):
    def rows(prefixes) -> np.ndarray:
        with torch.inference_mode():
            return torch.log_softmax(
                model(torch.tensor(prefixes)).logits[:, -1], -1
            ).numpy()  # one prompt: equal lengths

    return rows


def by_transformers(model, prompt, K, n_steps, alpha, end):
    settings = transformers.GenerationConfig(
        num_beams=K,
        num_return_sequences=K,
        max_new_tokens=n_steps,
        length_penalty=alpha,
        do_sample=False,
        early_stopping=False,
        return_dict_in_generate=True,
        output_scores=True,
        bos_token_id=1,
        eos_token_id=end,
        pad_token_id=0,
        use_cache=True,
    )
    with torch.inference_mode():
        mask = torch.ones(1, len(prompt), dtype=torch.long)
        found = model.generate(torch.tensor([prompt]), attention_mask=mask, generation_config=settings)
    texts = [row[len(prompt) :].tolist() for row in found.sequences]
    return texts, np.array([]) if K == 1 else found.sequences_scores.numpy()


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("K", [1, 3, 5])
def test_the_same_k_lists_when_nothing_ends(model, K, alpha):
    """No end token: every beam has the same length, so both keep the same K (scores to 1e-5: theirs are float32)."""
    for seed in range(3):
        prompt = np.random.default_rng(seed).integers(4, V, 3 + seed).tolist()
        ours = batched_beam_search([prompt], K, 7, alpha, None, log_probs(model))[0]
        texts, scores = by_transformers(model, prompt, K, 7, alpha, None)
        assert [tokens for tokens, _ in ours] == texts
        if K > 1:  # one beam is greedy search to them, which gives no scores of sequences
            np.testing.assert_allclose([score for _, score in ours], scores, atol=1e-5)


def test_the_same_best_beam_when_beams_end(model):
    """With an end token and early_stopping False they go on longer than we do, so only the best is compared.

    Both rules agree on it when no better beam could still have come: alpha = 0, where scores only fall.  The token that
    ends is the third of the unended best beam, so that it is likely.
    """
    agreed = 0
    for seed in range(8):
        prompt = np.random.default_rng(100 + seed).integers(4, V, 4).tolist()
        end = batched_beam_search([prompt], 4, 8, 0.0, None, log_probs(model))[0][0][0][2]
        ours = batched_beam_search([prompt], 4, 8, 0.0, end, log_probs(model))[0]
        texts, scores = by_transformers(model, prompt, 4, 8, 0.0, end)
        best = texts[0][: texts[0].index(end) + 1] if end in texts[0] else texts[0]
        assert ours[0][0] == best
        assert abs(ours[0][1] - scores[0]) < 1e-5
        agreed += end in best
    assert agreed > 0, "no beam ended: the test would prove nothing"
