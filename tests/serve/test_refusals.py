"""What is refused: the right status, the parameter, one sentence, and no place of this machine.

Oracles: the table below, worked out by hand from OpenAI's reference; RFC 9110 for statuses.
"""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from serve.small_server import ask, complete, everything, metric, posted, raw, running, until

from weightless.serve import completions
from weightless.serve.guards import is_loopback

GOOD = {"model": "dense", "prompt": "x", "max_tokens": 2}
LONG = {"model": "dense", "prompt": "x", "max_tokens": 20_000, "ignore_eos": True}

WRONG = [
    ({"model": None}, 400, "model", "missing"),
    ({"model": "dens"}, 404, "model", "did you mean 'dense'?"),
    ({"model": 5}, 400, "model", "a string"),
    ({"prompt": None}, 400, "prompt", "missing"),
    ({"prompt": []}, 400, "prompt", "empty list"),
    ({"prompt": {"a": 1}}, 400, "prompt", "an object"),
    ({"prompt": [1, "a"]}, 400, "prompt", "1 is among its items"),
    ({"prompt": ["a", {}]}, 400, "prompt", "an object is among"),
    ({"prompt": [1, True]}, 400, "prompt", "true is among"),
    ({"prompt": [1, 301]}, 400, "prompt", "301 is outside the vocabulary of 301"),
    ({"prompt": [-1]}, 400, "prompt", "-1"),
    ({"prompt": "\ud800"}, 400, "prompt", "surrogate"),
    ({"prompt": "word " * 400}, 400, "prompt", "exceed the context of"),
    ({"max_token": 3}, 400, "max_token", "did you mean 'max_tokens'?"),
    ({"messages": []}, 400, "messages", "unknown parameter"),
    ({"max_tokens": 20_001}, 400, "max_tokens", "at most 20000"),
    ({"max_tokens": -1}, 400, "max_tokens", "-1"),
    ({"max_tokens": 1.5}, 400, "max_tokens", "whole number"),
    ({"max_tokens": True}, 400, "max_tokens", "whole number"),
    ({"max_tokens": "5"}, 400, "max_tokens", "whole number"),
    ({"temperature": -0.1}, 400, "temperature", "between 0 and 100"),
    ({"temperature": 100}, 400, "temperature", "between 0 and 100"),
    ({"temperature": "hot"}, 400, "temperature", "a number"),
    ({"top_p": 0}, 400, "top_p", "between 0 and 1"),
    ({"top_k": -1}, 400, "top_k", "-1"),
    ({"min_p": 2}, 400, "min_p", "between 0 and 1"),
    ({"repetition_penalty": 0}, 400, "repetition_penalty", "0"),
    ({"seed": 2**63}, 400, "seed", "63 bits"),
    ({"n": 0}, 400, "n", "between 1 and 128"),
    ({"n": 13}, 400, "prompt", "ask in parts"),
    ({"logprobs": True}, 400, "logprobs", "whole number"),
    ({"logprobs": 21}, 400, "logprobs", "between 0 and 20"),
    ({"echo": 1}, 400, "echo", "true or false"),
    ({"stream": "yes"}, 400, "stream", "true or false"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "without stream"),
    ({"stream": True, "stream_options": {"usage": True}}, 400, "usage", "did you mean 'include_usage'?"),
    ({"stop": [""]}, 400, "stop", "empty"),
    ({"stop": ["a"] * 17}, 400, "stop", "at most 16"),
    ({"stop": 5}, 400, "stop", "a string or a list"),
    ({"presence_penalty": 0.5}, 400, "presence_penalty", "not supported"),
    ({"frequency_penalty": -1}, 400, "frequency_penalty", "not supported"),
    ({"logit_bias": {"5": 1}}, 400, "logit_bias", "not supported"),
    ({"best_of": 2}, 400, "best_of", "not supported"),
    ({"suffix": "x"}, 400, "suffix", "not supported"),
]


@pytest.mark.parametrize(("changed", "status", "param", "words"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_requests(port, changed, status, param, words):
    answer = complete(port, **{**GOOD, **changed})
    assert (answer.status, answer.error["param"]) == (status, param)
    assert words in answer.error["message"] and "\n" not in answer.error["message"]
    assert answer.error["type"] == {400: "invalid_request_error", 404: "not_found_error"}[status]


def test_what_changes_nothing_may_be_sent(port):
    neutral = {
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "best_of": 1,
        "suffix": "",
        "user": "me",
    }
    nulls = dict.fromkeys(("suffix", "stop", "seed", "logprobs", "stream", "stream_options", "logit_bias", "n"))
    for more in (neutral, nulls):
        assert complete(port, **GOOD, **more).status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b'{"model": "dense",', "JSON"),
        (b"\xff\xfe{}", "UTF-8"),
        (b'{"model":"dense","prompt":"x","temperature":NaN}', "NaN"),
        (b'{"model":"dense","prompt":"x","temperature":1e999}', "finite"),
        (b'{"model":"dense","prompt":"x","prompt":"y"}', "twice"),
        (b"[1]", "object"),
        (b"[" * 50_000, "deep"),
        (b'{"seed":' + b"9" * 5000 + b"}", "JSON"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_are_no_json(port, body, words):
    answer = ask(port, "POST", "/v1/completions", body)
    assert answer.status == 400 and words in answer.error["message"]


@pytest.mark.parametrize(
    ("path", "values", "status", "param"),
    [
        ("/tokenize", {"model": ["dense"], "prompt": "x"}, 400, "model"),
        ("/tokenize", {"model": "no", "prompt": "x"}, 404, "model"),
        ("/tokenize", {"prompt": ["x"]}, 400, "prompt"),
        ("/tokenize", {"prompt": "x", "add_special_tokens": 1}, 400, "add_special_tokens"),
        ("/tokenize", {"prompt": "x", "add_special_token": True}, 400, "add_special_token"),
        ("/detokenize", {"tokens": [301]}, 400, "tokens"),
        ("/detokenize", {"tokens": "x"}, 400, "tokens"),
        ("/detokenize", {}, 400, "tokens"),
    ],
)
def test_wrong_requests_about_tokens(port, path, values, status, param):
    answer = ask(port, "POST", path, values)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_paths_and_methods(port):
    for method, path, status in (
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/v1/chat/completions", 404),
        ("GET", "/etc/passwd", 404),
        ("GET", "/v1/models/other", 404),
    ):
        answer = ask(port, method, path)
        assert answer.status == status and answer.error["message"]
        assert status != 405 or answer.headers["allow"]


def test_what_a_page_of_another_site_can_send_is_refused(port):
    """A form needs no leave and has another type; DNS rebinding shows in Host."""
    form = ask(port, "POST", "/v1/completions", json.dumps(GOOD).encode(), {"Content-Type": "text/plain"})
    assert form.status == 415
    assert ask(port, "GET", "/v1/models", headers={"Host": "evil.example"}).status == 403
    assert ask(port, "GET", "/v1/models", headers={"Host": "localhost:99"}).status == 200
    assert ask(port, "OPTIONS", "/v1/completions").status == 405, "no preflight is granted"


def test_nothing_tells_where_the_models_lie(port):
    asked = [{}, {"model": "no"}, {"prompt": [999]}, {"prompt": "word " * 400}]
    answers = [complete(port, **{**GOOD, **more}) for more in asked]
    answers += [ask(port, "GET", path) for path in ("/v1/models", "/health", "/metrics", "/nothing", "/tokenizer_info")]
    for answer in answers:
        everything_told = answer.body + str(answer.headers).encode()
        assert b"hide" not in everything_told and b"/tmp" not in everything_told and b".wl" not in everything_told
        assert answer.headers["server"] is None


def test_a_body_that_is_too_large(port):
    """Ten megabytes, declared or in chunks: the sender gets to read the answer, and the server goes on."""
    large = b'{"prompt": "' + b"x" * 10_000_000 + b'"}'
    declared = ask(port, "POST", "/v1/completions", large)
    assert declared.status == 413 and "100,000 bytes" in declared.error["message"]
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunk = b"186a1\r\n" + b" " * 100_001 + b"\r\n"
    assert b" 413 " in everything(
        raw(port, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk + b"0\r\n\r\n")
    )
    waiting = raw(port, f"{head}Content-Length: 10000000\r\nExpect: 100-continue\r\n\r\n".encode())
    assert everything(waiting).startswith(b"HTTP/1.1 413 "), "not asked to send it"
    assert complete(port, **GOOD).status == 200


def test_half_a_request(port):
    """Headers, a body, or no HTTP at all: told (408, 400) and cut, within the limits that the fixture sets."""
    began = time.monotonic()
    whole = posted(GOOD)
    lines = [raw(port, whole[:n]) for n in (0, 9, 60, len(whole) - 2)]
    for line in lines[:3]:
        assert everything(line).startswith(b"HTTP/1.1 408 ")
    assert lines[3].recv(12) == b"HTTP/1.1 408"
    lines[3].close()
    assert everything(raw(port, b"\x16\x03\x01 nothing of HTTP\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - began < 10
    assert complete(port, **GOOD).status == 200


def test_a_connection_that_is_kept_answers_again(port):
    line = raw(port, posted(GOOD))
    assert line.recv(12) == b"HTTP/1.1 200"
    time.sleep(0.6)  # longer than headers may take: nothing has begun to come
    line.sendall(posted({**GOOD, "model": "no"}).replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n"))
    assert b"HTTP/1.1 404" in everything(line)


def test_too_many(port):
    """Four places and eight that wait: a request of twelve fills them, the next is told when to ask again."""
    before = metric(port, "weightless_active_texts")
    assert before == 0
    full = raw(port, posted({**LONG, "n": 12}))
    until(lambda: metric(port, "weightless_waiting_texts") == 8)
    refused = complete(port, **GOOD)
    assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
    assert refused.error["type"] == "rate_limit_error"
    full.close()
    until(lambda: metric(port, "weightless_active_texts") + metric(port, "weightless_waiting_texts") == 0)
    assert complete(port, **GOOD).status == 200


def test_keys(shelf):
    with running([str(shelf["ngram"])], key="a secret of letters") as port:
        asked = {"model": "ngram", "prompt": "x", "max_tokens": 1}
        for given in (
            {},
            {"Authorization": "Bearer a secret of letterz"},
            {"Authorization": "Basic a secret of letters"},
        ):
            for answer in (
                ask(port, "POST", "/v1/completions", asked, given),
                ask(port, "GET", "/v1/models", headers=given),
                ask(port, "GET", "/metrics", headers=given),
                ask(port, "GET", "/nothing", headers=given),
            ):
                assert answer.status == 401 and answer.error["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer" and b"letters" not in answer.body
        right = {"Authorization": "Bearer a secret of letters", "Host": "models.example"}
        assert ask(port, "POST", "/v1/completions", asked, right).status == 200
        assert ask(port, "GET", "/health").status == 200, "who watches a server needs no key"


def test_more_connections_than_there_are_lines(shelf):
    with running([str(shelf["ngram"])], connections=3) as port:
        lines = [raw(port, b"GET /he") for _ in range(3)]
        assert everything(raw(port, b"")).startswith(b"HTTP/1.1 503 ")
        lines[0].sendall(b"alth HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert b'"ok"' in everything(lines[0])
        until(lambda: ask(port, "GET", "/health").status == 200)
        for line in lines:
            line.close()


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("127.8.8.8", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("", False),
    ],
)
def test_loopback(host, is_own):
    assert is_loopback(host) == is_own


def test_a_reader_that_takes_nothing_is_cut(monkeypatch):
    """`send` that never returns stands for buffers that stay full."""
    cut = []

    class Transport:
        def abort(self):
            cut.append(True)

    class Endless:
        async def stream(self, receive):
            yield {}

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

    monkeypatch.setattr(completions, "WRITE_SECONDS", 0.02)
    asyncio.run(completions.Events(Endless(), [])({"state": {"transport": Transport()}}, None, send))
    assert cut == [True]
