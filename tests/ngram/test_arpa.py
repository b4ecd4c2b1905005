"""The ARPA file, read back by a twenty-line reader that follows the format's back-off rule.

Nine significant digits are written, so log10 values agree to 1e-6 with room to spare.
"""

from __future__ import annotations

import numpy as np
import pytest
from ngram.streams import flat, zipfian

from weightless.base.errors import WeightlessError
from weightless.ngram.arpa import write_arpa
from weightless.ngram.kneser_ney import build
from weightless.ngram.score import log_probs


def read_arpa(path):
    """(announced n-grams per order, {n-gram: (log10 p, log10 backoff)})."""
    announced, entries = [], {}
    for line in path.read_text().splitlines():
        if line.startswith("ngram "):
            announced.append(int(line.split("=")[1]))
        elif "\t" in line:
            fields = line.split("\t")
            entries[tuple(fields[1].split())] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return announced, entries


def back_off(entries, context, word):
    if (*context, word) in entries:
        return entries[(*context, word)][0]
    return entries.get(context, (0.0, 0.0))[1] + back_off(entries, context[1:], word)


@pytest.mark.parametrize("order, min_counts", [(1, None), (2, None), (4, None), (4, [1, 2, 2, 3]), (4, [1, 9, 1, 2])])
def test_backing_off_by_the_file_gives_the_model(tmp_path, order, min_counts):
    tokens, other = zipfian(511, 13), flat(255, 13)
    arrays = build(tokens, 13, order, min_counts)
    write_arpa(tmp_path / "model.arpa", arrays)
    announced, entries = read_arpa(tmp_path / "model.arpa")
    assert announced == [sum(len(ngram) == m for ngram in entries) for m in range(1, order + 1)]
    for ngram in entries:
        assert len(ngram) == 1 or (ngram[1:] in entries and ngram[:-1] in entries)
    words = [str(w) for w in other]
    found = [back_off(entries, tuple(words[max(0, t - order + 1) : t]), words[t]) for t in range(len(words))]
    np.testing.assert_allclose(found, log_probs(arrays, other, order) / np.log(10), rtol=0, atol=1e-6)


def test_names_are_checked(tmp_path):
    arrays = build(flat(63, 3), 3, 2)
    write_arpa(tmp_path / "model.arpa", arrays, names=["a", "b", "c"])
    assert ("a", "b") in read_arpa(tmp_path / "model.arpa")[1]
    for names in (["a", "b"], ["a", "b", "b"], ["a", "b", "c d"], ["a", "b", "<s>"], ["a", "", "c"]):
        with pytest.raises(WeightlessError, match="ARPA"):
            write_arpa(tmp_path / "refused.arpa", arrays, names)
    assert not (tmp_path / "refused.arpa").exists()
