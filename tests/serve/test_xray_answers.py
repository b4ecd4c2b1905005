"""/v1/xray and the page of it, through the server.

Oracles: `xray.record.record` of the same artifact; the page as `xray.page` writes it.
"""

from __future__ import annotations

import json

import pytest
from serve.small_server import ask

RECORD = pytest.importorskip("weightless.xray.record")
PAGE = pytest.importorskip("weightless.xray.page")


def xray(port, **values):
    return ask(port, "POST", "/v1/xray", values)


def test_an_x_ray_is_the_record_of_the_artifact(port, packed):
    """By the name that is served; in text of any kind, and nothing of the disk."""
    text = 'The fox <script>alert("é")</script>'
    answer = xray(port, model="ngram", text=text)
    wanted = json.loads(json.dumps(RECORD.record(packed["ngram"], text, limit=512, name="ngram")))
    assert answer.json == {"xray": wanted} and b"a_place_to_hide" not in answer.body
    assert "".join(token["text"] for token in wanted["tokens"][:2]) in text


@pytest.mark.parametrize(
    ("values", "status", "param"),
    [
        ({"model": "ngram"}, 400, "text"),
        ({"model": "ngram", "text": ""}, 400, "text"),
        ({"model": "ngram", "text": "\ud800"}, 400, "text"),
        ({"text": "x"}, 400, "model"),
        ({"model": "no", "text": "x"}, 404, "model"),
        ({"model": "ngram", "txt": "x"}, 400, "txt"),
    ],
)
def test_wrong_x_rays(port, values, status, param):
    answer = xray(port, **values)
    assert (answer.status, answer.error["param"]) == (status, param)


def test_the_page_runs_its_own_script_alone(port):
    answer = ask(port, "GET", "/")
    assert answer.status == 200 and answer.body.decode() == PAGE.html(None)
    policy = answer.headers["content-security-policy"]
    assert policy == PAGE.policy() and "default-src 'none'" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
