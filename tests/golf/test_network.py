"""Oracles: scripts that reach out in ways that were seen, and ones that only look like it."""

from __future__ import annotations

import base64
import lzma
import zlib

import pytest

from weightless.base.errors import CorruptFileError
from weightless.golf.log_table import empty_script
from weightless.golf.network import uses

REACH = {
    "import urllib.request": "imports urllib.request",
    "from urllib import request": "imports urllib",
    "from requests import get": "imports requests",
    "import socket as s": "imports socket",
    "from huggingface_hub import hf_hub_download": "imports huggingface_hub",
    "__import__('httpx')": "imports httpx",
    "import os\nos.system('curl http://example.org')": "runs curl",
    "import subprocess\nsubprocess.run(['/usr/bin/pip', 'install', 'brotli'])": "runs pip",
    "model = AutoModel.from_pretrained('x')": "calls from_pretrained",
    "import torch\ntorch.hub.load_state_dict_from_url(u)": "calls load_state_dict_from_url",
}
HARMLESS = (
    "from urllib.parse import quote",
    "import subprocess\nsubprocess.run(['nvidia-smi'])",
    "import torch.distributed as dist\ndist.init_process_group('nccl')",
    "text = 'import socket'",
    "from .requests import get",
)


@pytest.mark.parametrize("line", REACH)
def test_what_reaches_out_is_named_with_its_line(line):
    (found,) = uses("x = 1\n" + line, "train_gpt.py")
    assert found.what == REACH[line] and found.where == f"train_gpt.py:{2 + line.count(chr(10))}"


@pytest.mark.parametrize("line", HARMLESS)
def test_what_only_looks_like_it_is_not(line):
    assert uses(line, "train_gpt.py") == []


@pytest.mark.parametrize("encode", [base64.b85encode, base64.b64encode])
@pytest.mark.parametrize("compress", [lzma.compress, zlib.compress])
def test_code_within_code_is_opened(encode, compress):
    inner = "\n".join(f"a{i} = {i * 7919}" for i in range(200)) + "\nimport socket\n"
    text = (
        f"import lzma, base64\nexec(lzma.decompress(base64.b85decode({encode(compress(inner.encode())).decode()!r})))"
    )
    assert [use.what for use in uses(text, "train_gpt.py")] == ["imports socket"]


def test_what_is_no_python_is_told():
    with pytest.raises(CorruptFileError, match="no Python"):
        uses("def (", "train_gpt.py")
    with pytest.raises(CorruptFileError, match="no Python"):
        uses("x = " + "(" * 10_000, "train_gpt.py")


def test_a_script_without_code_is_told(tmp_path):
    path = tmp_path / "train_gpt.py"
    assert "missing" in empty_script(path)
    for content, told in (
        (b" \n", "empty"),
        (b"import os\npass\n", "does nothing"),
        (b"def (", "no Python"),
        (b"x = 1", ""),
    ):
        path.write_bytes(content)
        assert told in empty_script(path) and bool(empty_script(path)) == bool(told)
