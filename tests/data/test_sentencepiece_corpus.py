"""A corpus that a SentencePiece model tokenised opens with it again.  Oracle: the model it was prepared with."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tokenizer.piece_models import model_file

from weightless.base.errors import CorruptFileError, WeightlessError
from weightless.data.shards.corpus import corpus
from weightless.data.shards.inspect import documents_in, verify
from weightless.data.shards.prepare import prepare
from weightless.data.text import fables
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer

sentencepiece = pytest.importorskip("sentencepiece", reason="a corpus is prepared by the package")

DOCUMENTS = list(fables.documents(seed=4, n_bytes=8_000))


class BytePieces(SentencePieceTokenizer):
    """A model of pieces that writes every byte as its byte piece (ids 4 to 259): encodes without the package."""

    def encode_ordinary_array(self, text: str | bytes) -> np.ndarray:
        content = text.encode() if isinstance(text, str) else text
        return 4 + np.frombuffer(content, np.uint8).astype(np.uint16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pieces") / "corpus"
    prepare(DOCUMENTS[2:], BytePieces(model_file()), out, "stories", validation=DOCUMENTS[:2], show_progress=False)
    return out


def test_it_opens_with_its_model(folder):
    found = corpus(folder, check_hashes=True)
    tokenizer = found.tokenizer()
    assert isinstance(tokenizer, SentencePieceTokenizer)
    assert tokenizer.sha256 == found.manifest["tokenizer_sha256"] == BytePieces(model_file()).sha256
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (found.vocab_size, found.end_of_text)
    pieces = tokenizer.token_bytes
    texts = [b"".join(pieces[i] for i in d) for d in documents_in(found.tokens("val"), found.end_of_text)]
    assert texts == DOCUMENTS[:2]
    assert tokenizer.byte_table.total(found.tokens("val")) == found.n_bytes("val")
    assert found.tokenizer_json() is None, "no artifact takes a SentencePiece model along"
    assert {check.name: check.ok for check in verify(folder)}["tokenizer of the manifest"]


def test_a_model_of_the_package_encodes_and_decodes_again(tmp_path):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(b"\n".join(DOCUMENTS).decode().split("\n")),
        model_writer=out,
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        hard_vocab_limit=False,
        minloglevel=2,
        num_threads=1,
    )
    made = SentencePieceTokenizer(out.getvalue())
    prepare(DOCUMENTS[2:], made, tmp_path, "stories", validation=DOCUMENTS[:2], show_progress=False)
    again = corpus(tmp_path).tokenizer()
    documents = list(documents_in(corpus(tmp_path).tokens("val"), made.end_of_text))
    assert [again.decode_bytes(ids) for ids in documents] == DOCUMENTS[:2]
    assert [again.encode(text) for text in DOCUMENTS[:2]] == [ids.tolist() for ids in documents]


@pytest.mark.parametrize(
    "content, error, told",
    [
        (model_file()[:700], CorruptFileError, "but .* are left"),
        (b"\n", CorruptFileError, "does not end"),
        (b"", CorruptFileError, "is no tokenizer of a known format"),
        (b"\x00\xff" * 40, CorruptFileError, "is no tokenizer of a known format"),
        (b'{"format": 1', CorruptFileError, "JSON"),
        (model_file(normalizer={3: 1}), WeightlessError, "was made with tokenizer"),
    ],
)
def test_a_damaged_file_is_one_line(folder, content, error, told):
    found = corpus(folder)
    whole = found.tokenizer_path.read_bytes()
    try:
        found.tokenizer_path.write_bytes(content)
        for reading in (found.tokenizer, found.tokenizer_json):
            with pytest.raises(error, match=told) as refused:
                reading()
            assert "\n" not in str(refused.value)
    finally:
        found.tokenizer_path.write_bytes(whole)
