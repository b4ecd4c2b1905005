"""`weightless explain`: what is printed and drawn is what the model scores, and bad input is told in one line.

Oracle: the compiled engine's score of the same token.
"""

from __future__ import annotations

import json
import math

import pytest

from weightless.data.text import fables
from weightless.export.lower import pack
from weightless.export.packed import open_packed
from weightless.models.catalog import family
from weightless.tokenizer import Tokenizer

TEXT = "Once upon a time there was a fox who had nothing to carry"


def made(folder, name, **settings):
    """A model of some fables, with its tokenizer in the file."""
    documents = list(fables.documents(seed=3, n_bytes=60_000))
    tokenizer, room = Tokenizer.train(documents, 300), family(name)
    tokens = tokenizer.encode_array(b" ".join(documents))
    text = {"token_bytes": [tokenizer.decode_bytes([i]) for i in range(300)]} if room.reads_text else {}
    config, arrays = room.count(room.Config(vocab_size=300, context=64, **settings), tokens, **text)
    pack(folder / f"{name}.wl", name, config, arrays, tokenizer.to_json())
    return folder / f"{name}.wl"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp("explained"), "countmix", stored_mb=2.0)


def nats(model, at: int) -> tuple[float, str]:
    """(score of the token at a place of TEXT, what it is)."""
    packed = open_packed(model)
    ids, engine = packed.tokenizer.encode(TEXT), packed.engine()
    for token in (packed.tokenizer.end_of_text, *ids[:at]):
        engine.feed(token)
    return engine.score(ids[at]), packed.tokenizer.decode([ids[at]])


@pytest.mark.parametrize("at", [-1, 0, 5])
def test_it_tells_of_the_token_that_was_asked_for(model, command, at):
    place = at if at >= 0 else len(open_packed(model).tokenizer.encode(TEXT)) - 1
    scored, piece = nats(model, place)
    code, out, _ = command("explain", model, "--text", TEXT, "--at", str(at), "--json")
    told = json.loads(out)
    assert code == 0 and told["token"] == piece and told["nats"] == pytest.approx(scored, rel=1e-5)
    code, out, _ = command("explain", model, "--text", TEXT, "--at", str(at))
    assert code == 0 and f"= {math.exp(-scored):.4f}, {scored / math.log(2):.2f} bits" in out


def test_pictures_are_written(model, command, tmp_path):
    code, _, err = command("explain", model, "--text", TEXT, "--out", tmp_path / "new")
    assert code == 0 and "said.svg" in err
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["path.svg", "said.svg"]


def test_a_text_longer_than_the_window_is_cut_in_front(model, command):
    code, out, _ = command("explain", model, "--text", TEXT * 60, "--json")
    assert code == 0 and json.loads(out)["position"] == open_packed(model).program.context


@pytest.mark.parametrize(
    "flags, words",
    [(("--text", ""), "--text is empty"), (("--text", "a", "--at", "99"), "the text has the tokens 0.."), ((), "text")],
)
def test_bad_input_is_told(model, command, flags, words):
    code, _, err = command("explain", model, *flags)
    assert code == 2 and words in err and "Traceback" not in err


def test_another_family_is_refused(command, tmp_path):
    code, _, err = command("explain", made(tmp_path, "ngram"), "--text", TEXT)
    assert code == 2 and err.count("\n") == 1 and "family ngram" in err and "countmix" in err
