"""Asking a model over a loopback server that is good, bad, slow, cut off and hostile.

Oracles: what the server was asked (counted there), what it said, and the files that the rules of answers.py make of it.
"""

from __future__ import annotations

import email.utils
import json
import time

import pytest
from deck.stub_cards import CARDS, write_texts
from deck.stub_endpoint import drips, drops, flood, raw, says, serving

from weightless.base.errors import ConfigError
from weightless.deck import scaffold
from weightless.deck.endpoint import Endpoint, Refused, Unanswered, ask
from weightless.deck.interview import RULES, ask_card, begin, exchanges_file, spent
from weightless.deck.scaffold import deploy

CODE = "def double(x):\n    return 2 * x\n"
GOOD = f"Gladly.\n```python solution.py\n{CODE}```\n"
QUESTION = [{"role": "user", "content": "?"}]
EASY = CARDS[0]


def contract(card, folder):
    """A stand-in for deck/finding.py: '' when the text defines what is pinned."""
    path = folder / "solution.py"
    if not path.exists():
        return "write the solution into solution.py"
    return "" if "def double(x)" in path.read_text() else "rename the function to double"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(scaffold, "training_text", lambda: b"text\n")
    return deploy("trial", tmp_path, CARDS, model="stub", root=write_texts(tmp_path / "cards"))


@pytest.fixture
def waits():
    """Waits that were asked for, none of them waited."""
    return []


def test_a_good_answer_becomes_files_and_every_exchange_is_kept(folder):
    with serving(says(GOOD)) as (url, asked):
        endpoint = Endpoint(url, "stub", key="s3cret", sampling=(("temperature", 0.0),))
        begin(folder, endpoint, 2.0, 10.0)
        outcome = ask_card(EASY, folder, endpoint, 1, contract)
        assert (outcome.tries, outcome.files, outcome.wrong) == (1, ("solution.py",), "")
        assert (folder / "easy/solution.py").read_text() == CODE
        assert ask_card(EASY, folder, endpoint, 1, contract) == outcome and len(asked) == 1
    sent = asked[0]["body"]
    prompt, interface = ((folder / "easy" / name).read_text() for name in ("PROMPT.md", "INTERFACE.md"))
    assert asked[0]["path"] == "/v1/chat/completions" and asked[0]["key"] == "Bearer s3cret"
    assert sent["temperature"] == 0 and sent["model"] == "stub"
    assert [m["content"] for m in sent["messages"]] == [RULES, f"{prompt}\n\n{interface}"]
    line = json.loads(exchanges_file(folder, "easy").read_text())
    assert line["answer"] == GOOD and line["sent"] == sent["messages"] and line["finish"] == "stop"
    assert not any("s3cret" in path.read_text() for path in folder.rglob("*") if path.is_file())
    took = spent(folder)
    assert took and (took.tokens_in, took.tokens_out, took.questions) == (100, 10, 1)
    assert took.cost == pytest.approx((100 * 2 + 10 * 10) / 1e6)


def test_a_model_is_shown_what_is_wrong_with_the_form_up_to_n_tries(folder):
    bad = "```python solution.py\ndef twice(x):\n    return 2 * x\n```"
    with serving(says("No."), says(bad), says(GOOD)) as (url, asked):
        outcome = ask_card(EASY, folder, Endpoint(url, "stub"), 3, contract)
    assert (outcome.tries, outcome.wrong) == (3, "")
    assert [message["role"] for message in asked[2]["body"]["messages"]] == [
        *("system", "user"),
        *("assistant", "user") * 2,
    ]
    complaints = [asked[i]["body"]["messages"][-1]["content"] for i in (1, 2)]
    assert "no file was found" in complaints[0] and "rename the function to double" in complaints[1]
    assert len(exchanges_file(folder, "easy").read_text().splitlines()) == 3


def test_tries_that_are_used_up_keep_what_is_there(folder):
    other = "```python other.py\nx = 1\n```"
    with serving(says(other)) as (url, asked):
        outcome = ask_card(EASY, folder, Endpoint(url, "stub"), 2, contract)
        assert len(asked) == 2 and outcome.tries == 2 and "write the solution into solution.py" in outcome.wrong
    assert (folder / "easy/other.py").exists()


@pytest.mark.parametrize("killed", ["before its files", "in the middle of a line"])
def test_a_killed_run_goes_on_where_it_stopped(folder, killed):
    with serving(says("No."), says(GOOD)) as (url, asked):
        endpoint = Endpoint(url, "stub")
        ask_card(EASY, folder, endpoint, 2, contract)
        log = exchanges_file(folder, "easy")
        lines = log.read_text().splitlines(keepends=True)
        (folder / "easy/solution.py").unlink()
        log.write_text("".join(lines) if killed == "before its files" else lines[0] + lines[1][:50])
        outcome = ask_card(EASY, folder, endpoint, 2, contract)
    assert len(asked) == (2 if killed == "before its files" else 3)
    assert outcome.wrong == "" and (folder / "easy/solution.py").read_text() == CODE


def test_another_command_or_another_prompt_is_no_resumption(folder):
    begin(folder, Endpoint("http://a/v1", "stub"), None, None)
    begin(folder, Endpoint("http://a/v1", "stub"), 1.0, 1.0)  # prices may change
    for other in (
        Endpoint("http://b/v1", "stub"),
        Endpoint("http://a/v1", "x"),
        Endpoint("http://a/v1", "stub", "", (("seed", 1),)),
    ):
        with pytest.raises(ConfigError, match="choose another name"):
            begin(folder, other, None, None)
    with serving(says("No.")) as (url, _):
        ask_card(EASY, folder, Endpoint(url, "stub"), 1, contract)
        (folder / "easy/PROMPT.md").write_text("Say yes.")
        with pytest.raises(ConfigError, match=r"PROMPT\.md or INTERFACE\.md changed"):
            ask_card(EASY, folder, Endpoint(url, "stub"), 2, contract)


def test_an_answer_that_was_cut_off_is_not_taken(folder):
    with serving(says(GOOD[:-10], "length"), says(GOOD)) as (url, asked):
        outcome = ask_card(EASY, folder, Endpoint(url, "stub"), 2, contract)
    assert "cut off at the limit" in asked[1]["body"]["messages"][-1]["content"] and outcome.wrong == ""


@pytest.mark.parametrize(
    "content", [None, "", [{"type": "text", "text": "No."}], [{"type": "image"}], {"a": 1}, 7], ids=repr
)
def test_a_message_without_text_is_an_answer_without_files(folder, content):
    with serving(says(content, usage={"prompt_tokens": "many"})) as (url, _):
        outcome = ask_card(EASY, folder, Endpoint(url, "stub"), 1, contract)
        begin(folder, Endpoint(url, "stub"), 1.0, 1.0)
    assert "no file was found" in outcome.wrong
    took = spent(folder)
    assert took and took.tokens_in is None and took.cost is None


@pytest.mark.parametrize(
    "deed, told",
    [
        (raw(b"<html>Bad gateway</html>", 502), "Bad gateway"),
        (raw(b"<html>Log in</html>"), "no answer of a chat: <html>"),
        (raw(b"{"), "no answer of a chat"),
        (raw(b"[" * 200_000), "no answer of a chat"),
        (raw(b'{"choices": []}'), "no answer of a chat"),
        (raw(b'{"choices": [{"message": "hello"}]}'), "no answer of a chat"),
        (raw(b'{"choices": [{"message": {"content": 1}}], "x": ' + b"9" * 100_000 + b"}"), "no answer of a chat"),
        (drops, "broke in the middle"),
        (raw(b'{"error": {"message": "slow\\ndown"}}', 429, Retry_After="0"), "429: slow down"),
    ],
)
def test_what_may_pass_is_asked_again_and_then_told(deed, told, waits):
    with serving(deed) as (url, asked):
        with pytest.raises(Unanswered, match="3 tries") as caught:
            ask(Endpoint(url, "stub", retries=2), QUESTION, wait=waits.append)
    assert told in str(caught.value) and len(asked) == 3 and len(waits) == 2
    with serving(deed, says("yes")) as (url, _):
        reply = ask(Endpoint(url, "stub"), QUESTION, wait=waits.append)
    assert (reply.text, reply.retries) == ("yes", 1)


def test_waits_are_those_that_are_asked_for_or_double(waits):
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    asks = [raw(b"", 429, Retry_After=value) for value in ("7", date, "soon", "-5", "nan")]
    with serving(*asks, raw(b"", 503), says("yes")) as (url, _):
        ask(Endpoint(url, "stub", retries=9), QUESTION, wait=waits.append)
    assert waits[0] == 7 and 25 < waits[1] <= 30 and waits[2:] == [4, 0, 16, 32]
    with serving(raw(b"", 429, Retry_After="86400")) as (url, _), pytest.raises(Refused, match="86,400 s"):
        ask(Endpoint(url, "stub"), QUESTION, wait=waits.append)


@pytest.mark.parametrize(
    "deed, error, told",
    [
        (raw(b'{"error": "no such key"}', 401), Refused, "401: no such key"),
        (raw(b"", 404), Refused, "--endpoint"),
        (raw(b"", 308, Location="http://127.0.0.1:1/v1"), Refused, "sends on to http://127.0.0.1:1/v1"),
        (raw(b'{"error": {"message": "context too long"}}', 400), Unanswered, "context too long"),
    ],
)
def test_what_does_not_pass_is_asked_once(deed, error, told, waits):
    with serving(deed) as (url, asked), pytest.raises(error, match=told):
        ask(Endpoint(url, "stub", key="k"), QUESTION, wait=waits.append)
    assert len(asked) == 1 and waits == []


def test_an_answer_that_is_too_large_is_not_read_to_its_end(waits):
    """Oracle: megabytes that the server got rid of; those on the way lie in the buffers of the system."""
    sent: list[int] = []
    with serving(flood(sent)) as (url, asked), pytest.raises(Unanswered, match="8,000,000 bytes"):
        ask(Endpoint(url, "stub"), QUESTION, wait=waits.append)
    assert len(asked) == 1 and len(sent) < 50


def test_time_is_that_of_the_whole_answer(waits):
    with serving(drips) as (url, _):
        began = time.monotonic()
        with pytest.raises(Unanswered, match="within the time"):
            ask(Endpoint(url, "stub", seconds=0.5, retries=0), QUESTION, wait=waits.append)
        assert time.monotonic() - began < 2  # four times the time allowed: a busy machine


def test_a_question_without_an_answer_is_logged_and_asked_again_next_time(folder):
    with serving(raw(b"too long", 413), says(GOOD)) as (url, asked):
        endpoint = Endpoint(url, "stub")
        assert "too long" in ask_card(EASY, folder, endpoint, 1, contract).wrong
        assert ask_card(EASY, folder, endpoint, 1, contract).wrong == "" and len(asked) == 2
    errors = [json.loads(line)["error"] for line in exchanges_file(folder, "easy").read_text().splitlines()]
    assert errors[0] and errors[1] is None


def test_a_hostile_answer_writes_nothing_outside(folder):
    names = ("../../evil.py", "/tmp/evil.py", "..\\evil.py", "results/../../x.py", "solution.py/../../y.py")
    text = "".join(f"```python {name}\nx\n```\n" for name in names) + GOOD
    before = set(folder.parent.rglob("*"))
    with serving(says(text)) as (url, _):
        outcome = ask_card(EASY, folder, Endpoint(url, "stub"), 1, contract)
    made = {str(path.relative_to(folder)) for path in folder.parent.rglob("*") if path not in before}
    assert outcome.files == ("solution.py",)
    assert made == {"easy/solution.py", "exchanges", "exchanges/easy.jsonl"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/v1",
        "host:80",
        "http://",
        "http://me:pw@host/v1",
        "http://host/a b",
        "http://höst/v1",
        "http://h:99999/v1",
        "http://h:x/",
        "http://[/",
    ],
)
def test_addresses_that_are_none(url):
    with pytest.raises(ConfigError, match="--endpoint"):
        Endpoint(url, "stub")


def test_keys_and_times_that_are_none():
    for odd in ({"key": "a\nX-Evil: 1"}, {"seconds": 0.0}, {"seconds": float("nan")}):
        with pytest.raises(ConfigError):
            Endpoint("http://host/v1", "stub", **odd)
    assert "s3cret" not in repr(Endpoint("http://host/v1", "stub", key="s3cret"))
    with pytest.raises(Unanswered, match="refused"):
        ask(Endpoint("http://127.0.0.1:9/v1", "stub", retries=0), QUESTION)
