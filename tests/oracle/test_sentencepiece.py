"""Against the package sentencepiece: bytes of the table = UTF-8 bytes of what it decodes; fields = what protobuf reads.

Equality without tolerance, for every combination of the flags that the byte table depends on.
"""

from __future__ import annotations

import io
import itertools
import pickle
import random

import numpy as np
import pytest
from tokenizer.texts import random_text

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.text import fables
from weightless.tokenizer.sentencepiece import SentencePieceTokenizer, byte_table

sentencepiece = pytest.importorskip("sentencepiece")

SETTINGS = list(itertools.product(("bpe", "unigram"), (False, True), (False, True), ("nmt_nfkc", "identity")))


def lines() -> list[str]:
    return b"\n".join(fables.documents(seed=1, n_bytes=30_000)).decode().split("\n")


def trained(model_type: str, adds: bool, removes: bool, rule: str, **more) -> bytes:
    out = io.BytesIO()
    options = {
        "vocab_size": 420,
        "byte_fallback": True,
        "split_digits": True,
        "hard_vocab_limit": False,
        "pad_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "unk_id": 3,
        "minloglevel": 2,
        "num_threads": 1,
        "model_type": model_type,
        "normalization_rule_name": rule,
        "add_dummy_prefix": adds,
        "remove_extra_whitespaces": removes,
        "user_defined_symbols": ["▁▁▁", "\t", "▁hm▁"],
        "allow_whitespace_only_pieces": True,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines()), model_writer=out, **(options | more))
    return out.getvalue()


@pytest.fixture(scope="module")
def golf() -> bytes:
    """The settings of Parameter Golf's models."""
    return trained("bpe", False, True, "nmt_nfkc", user_defined_symbols=[], allow_whitespace_only_pieces=False)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_bytes_are_those_of_the_decoded_text(settings):
    tokenizer = SentencePieceTokenizer(trained(*settings))
    rng = random.Random(str(settings))
    for n in (0, 1, 1, 2, 3, 20, 90) * 12:
        # Where surplus spaces are removed, a literal U+2581 in front is the exception that the module states.
        text = rng.choice(("", "", " ", "  ", "\n", "" if settings[2] else "▁")) + random_text(rng, n)
        ids = tokenizer.encode_ordinary_array(text)
        assert tokenizer.byte_table.total(ids) == len(tokenizer.decode_bytes(ids))
        assert tokenizer.byte_table.total(ids, previous=1) == len(tokenizer.decode_bytes([1, *ids]))


def test_bytes_of_a_stream_are_those_of_its_documents(golf):
    tokenizer = SentencePieceTokenizer(golf)
    documents = fables.documents(seed=9, n_bytes=20_000)
    stream, expected = [], 0
    for document in documents:
        ids = tokenizer.encode(document)
        stream += [tokenizer.end_of_text, *ids]
        expected += len(tokenizer.decode_bytes(ids))
    assert tokenizer.byte_table.total(stream) == expected
    ids = np.array(stream)
    assert tokenizer.byte_table.bytes_of(ids[:-1], ids[1:]).sum() == expected


def test_facts_of_the_package(golf, tmp_path):
    (tmp_path / "x.model").write_bytes(golf)
    made = SentencePieceTokenizer.load(tmp_path / "x.model")
    package = sentencepiece.SentencePieceProcessor(model_proto=golf)
    assert made.vocab_size == package.vocab_size() == len(byte_table(tmp_path / "x.model").base)
    assert [package.id_to_piece(i) for i in range(made.vocab_size)] == list(made.model.pieces)
    assert [package.get_score(i) for i in range(made.vocab_size)] == made.model.scores.tolist()
    assert (made.model.bos_id, made.model.eos_id, made.model.pad_id) == (1, 2, 0)
    assert made.encode("Once upon <s> a 2024") == package.encode("Once upon <s> a 2024")
    assert made.encode(b"\xff ok") == package.encode("\ufffd ok")
    assert pickle.loads(pickle.dumps(made)).encode("Once") == made.encode("Once")


def test_fields_are_those_protobuf_reads(golf):
    pb2 = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    theirs = pb2.ModelProto.FromString(golf)
    made = SentencePieceTokenizer(golf).model
    assert [p.piece for p in theirs.pieces] == list(made.pieces)
    assert [p.type for p in theirs.pieces] == made.types.tolist()
    spec = theirs.normalizer_spec
    assert (spec.name, spec.add_dummy_prefix) == (made.normalisation, made.adds_first_space)
    assert (spec.remove_extra_whitespaces, spec.escape_whitespaces) == (made.removes_spaces, made.escapes_spaces)
    assert made.splits_digits == theirs.trainer_spec.split_digits and made.has_byte_fallback


def test_prepares_a_corpus(golf, tmp_path):
    from weightless.data.shards.prepare import prepare

    tokenizer = SentencePieceTokenizer(golf)
    documents = list(fables.documents(seed=2, n_bytes=20_000))
    corpus = prepare(documents, tokenizer, tmp_path / "c", show_progress=False)
    assert corpus.manifest["tokenizer_sha256"] == tokenizer.sha256
    assert (tmp_path / "c" / "tokenizer.model").read_bytes() == golf
    n_tokens = sum(len(tokenizer.encode(d)) + 1 for d in documents)
    assert corpus.n_tokens("train") + corpus.n_tokens("val") == n_tokens


def test_what_the_package_refuses_is_an_error_of_ours(golf):
    """A model that reads well here, but whose pieces or rules the package rejects, or an id it does not know."""
    tokenizer = SentencePieceTokenizer(golf)
    with pytest.raises(ConfigError, match="no token id"):
        tokenizer.decode([tokenizer.vocab_size])
    at = golf.find(b"nmt_nfkc") + len(b"nmt_nfkc")
    damaged = golf[: at + 8] + b"\xff" * 4 + golf[at + 12 :]
    try:
        SentencePieceTokenizer(damaged).encode("a")
    except CorruptFileError as error:
        assert "\n" not in str(error)


def test_measured_among_others(golf):
    """Oracle: the package's ids, and the UTF-8 length of every piece in its place."""
    from weightless.lab.tokenizer_study import measure, sample_of

    tokenizer = SentencePieceTokenizer(golf)
    text = "Once  upon a time, 日本 fox.".encode()
    cell = measure(tokenizer, sample_of([text], 1000))
    package = sentencepiece.SentencePieceProcessor(model_proto=golf)
    ids = package.encode(text.decode())
    assert (cell.n_bytes, cell.n_tokens) == (len(text), len(ids))
    ends = [len(package.decode(ids[:k]).encode("utf-8")) for k in range(len(ids) + 1)]
    whole = len(package.decode(ids).encode())
    assert cell.decoded_share == whole / len(text) == (len(text) - 1) / len(text)  # one of two spaces is removed
    plain = [k for k in range(len(ids)) if "\ufffd" not in package.decode(ids[: k + 1])]
    ones = sum(ends[k + 1] - ends[k] == 1 for k in plain)
    assert cell.n_single_bytes >= ones and cell.n_single_bytes <= ones + 6  # the six bytes of the two characters
