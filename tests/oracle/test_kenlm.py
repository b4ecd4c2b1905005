"""KenLM reads our ARPA file and gives our scores: the back-off form of the model is the interpolated one.

KenLM keeps log10 values as float32 (relative error 6e-8, values to about 10, at most order + 1 of them are added), so
1e-5 per token is its own precision.
"""

from __future__ import annotations

import numpy as np
import pytest
from ngram.streams import flat, zipfian

from weightless.ngram.arpa import write_arpa
from weightless.ngram.kneser_ney import build
from weightless.ngram.score import log_probs

kenlm = pytest.importorskip("kenlm")


def kenlm_scores(path, tokens):
    """(log10 p per token, length of the longest n-gram KenLM found), from the empty context, no sentence marks."""
    model = kenlm.Model(str(path))
    rows = list(model.full_scores(" ".join(str(t) for t in tokens), bos=False, eos=False))
    assert not any(unknown for _, _, unknown in rows)
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


@pytest.mark.parametrize("order", [2, 3, 5])
@pytest.mark.parametrize("n_tokens, vocab_size", [(1023, 11), (4095, 300)])
@pytest.mark.parametrize("pruned", [False, True])
def test_scores_agree(tmp_path, order, n_tokens, vocab_size, pruned):
    tokens = zipfian(n_tokens, vocab_size, seed=order)
    arrays = build(tokens, vocab_size, order, [1] + [2] * (order - 1) if pruned else None)
    write_arpa(tmp_path / "model.arpa", arrays)
    for stream in (tokens, zipfian(511, vocab_size, seed=77), flat(255, vocab_size)):
        found, lengths = kenlm_scores(tmp_path / "model.arpa", stream)
        np.testing.assert_allclose(found, log_probs(arrays, stream, order) / np.log(10), rtol=0, atol=1e-5)
    if not pruned:
        _, lengths = kenlm_scores(tmp_path / "model.arpa", tokens)
        assert np.all(lengths[order:] == order)  # every n-gram of the training stream is listed
