"""`weightless serve` as a process: no PyTorch in it, an end that leaves nobody waiting, and refusals before it begins.

Oracles: the interpreter's own import system, which refuses torch; exit codes; the form of a stream's end.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from serve.small_server import ask, complete, metric, posted, raw, until

from weightless.cli.main import main

WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ImportError("torch is refused here")

sys.meta_path.insert(0, Refuse())
from weightless.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
ENDLESS = {"model": "dense", "prompt": "x", "max_tokens": 4000, "ignore_eos": True}


@contextmanager
def process(*arguments):
    """(the process, its port)."""
    command = [sys.executable, "-c", WITHOUT_TORCH, "serve", *map(str, arguments), "--port", "0"]
    made = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        told = ""
        for line in made.stderr:
            told += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail(told)
        yield made, int(found[1])
    finally:
        made.kill()
        made.wait()
        made.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_streams_and_answers_cleanly(shelf, number):
    with process(shelf["dense"], "--together", "2") as (made, port):
        stream = raw(port, posted({**ENDLESS, "stream": True}))
        answers = []
        whole = threading.Thread(target=lambda: answers.append(complete(port, **ENDLESS)))
        whole.start()
        waiting = threading.Thread(target=lambda: answers.append(complete(port, **ENDLESS)))
        until(lambda: metric(port, "weightless_active_texts") == 2)
        waiting.start()
        until(lambda: metric(port, "weightless_waiting_texts") == 1)
        made.send_signal(number)
        assert made.wait(10) == 0
        with stream:
            told = b"".join(iter(lambda: stream.recv(65536), b""))
        for thread in (whole, waiting):
            thread.join(10)
        events = re.findall(rb"data: (.*)\n", told)
        assert events[-1] == b"[DONE]" and json.loads(events[-2])["error"]["code"] == "shutting_down"
        assert len(events) > 2 and told.endswith(b"0\r\n\r\n"), "chunks ended as HTTP wants it"
        assert [(answer.status, answer.error["code"]) for answer in answers] == [(503, "shutting_down")] * 2
        assert "Traceback" not in made.stderr.read()


def test_two_models_by_the_names_that_are_given(shelf):
    with process(shelf["dense"], shelf["ngram"], "--names", "wide", "me/thin") as (_, port):
        assert [model["id"] for model in ask(port, "GET", "/v1/models").json["data"]] == ["wide", "me/thin"]
        assert ask(port, "GET", "/v1/models/me/thin").json["id"] == "me/thin", "as models of the hub are called"
        assert complete(port, model="me/thin", prompt="x", max_tokens=3).status == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL", "--host", "0.0.0.0"], "give --api_key, or WEIGHTLESS_API_KEY"),
        (["MODEL", "--api_key", "short"], "at least 16"),
        (["MODEL", "--api_key", ""], "--api_key is empty"),
        (["MODEL", "--host", ""], "--host '' is reached"),
        (["MODEL", "--port", "70000"], "0 (any) to 65535"),
        (["MODEL", "--together", "0"], "--together should be at least 1"),
        (["MODEL", "--names", "a", "b"], "2 names for 1 models"),
        (["MODEL", "MODEL"], "two models would be called 'ngram'"),
        (["MODEL", "--host", "no.such.host.invalid", "--api_key", "0123456789abcdef"], "cannot listen"),
        (["missing.wl", "--port", "0"], "missing.wl"),
        ([], "name at least one"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_refused_before_anything_is_served(shelf, capsys, arguments, words):
    given = [str(shelf["ngram"]) if word == "MODEL" else word for word in arguments]
    assert main(["serve", *given]) == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_a_port_that_is_taken(shelf, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", str(shelf["ngram"]), "--port", port]) == 2
    assert f"cannot listen at 127.0.0.1 port {port}" in capsys.readouterr().err
