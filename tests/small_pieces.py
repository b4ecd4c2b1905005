"""A small SentencePiece model of the kind that Parameter Golf uses, trained by the package."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any


def trained_pieces(sentences: Iterable[str], vocab_size: int = 400, **options: Any) -> bytes:
    """The .model file; `options` are the trainer's own."""
    import sentencepiece

    out = io.BytesIO()
    fixed = {"byte_fallback": True, "add_dummy_prefix": False, "hard_vocab_limit": False}
    ids = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=out,
        model_type="bpe",
        vocab_size=vocab_size,
        minloglevel=2,
        num_threads=1,
        **fixed,
        **ids,
        **options,
    )
    return out.getvalue()
