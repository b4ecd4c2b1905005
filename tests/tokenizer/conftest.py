"""The kernels are what the tests of this folder are about, however short their texts; test_light.py has the rest."""

from __future__ import annotations

import pytest

from weightless.tokenizer import bpe, bpe_train


@pytest.fixture(scope="module", autouse=True)
def always_kernels():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe_train, "LIGHT_BYTES", -1)
        patch.setattr(bpe, "LIGHT_BYTES", -1)
        yield
