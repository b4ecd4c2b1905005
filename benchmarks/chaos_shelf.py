"""The files that chaos damages, made once by the program itself: one finished run, a training, imports, texts."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

V = 320
END = "<|endoftext|>"
MODELS = ("dense", "variant", "feather", "experts", "ngram", "infinigram", "mixture")
RECIPE = """
name = "chaos"
[data]
source = "{text}"
vocab_size = 320
[eval]
tokens = 300
[sample]
prompt = "Once"
max_tokens = 4
[[model]]
name = "dense"
family = "dense"
config = {{ d_model = 32, n_layers = 1, n_heads = 1, context = 32 }}
train = {{ num_steps = 4, batch_size = 2, threads = 1, eval_tokens = 128 }}
[[model]]
name = "feather"
family = "feather"
config = {{ d_model = 40, n_layers = 1, n_heads = 1, d_head = 16, d_ff = 24, context = 32, rows_2 = 97, rows_3 = 89 }}
train = {{ num_steps = 4, batch_size = 2, threads = 1, eval_tokens = 128, qat_start = 0.5 }}
[[model]]
name = "variant"
family = "dense"
train = {{ num_steps = 4, batch_size = 2, threads = 1, eval_tokens = 128 }}
[model.config]
d_model = 32
n_layers = 2
n_heads = 2
context = 32
norm = "sandwich"
positions = "learned"
activation = "gelu"
d_embed = 12
softcap = 9.0
qk_norm = "weighted"
q_gain = 1.5
window = 5
window_pattern = "SL"
value_every = 2
bigram_rows = 97
residual_scale = "channel"
weight_format = "int8"
kv_format = "int8"
[[model]]
name = "experts"
family = "experts"
train = {{ num_steps = 4, batch_size = 2, threads = 1, eval_tokens = 128 }}
[model.config]
d_model = 32
n_layers = 1
n_heads = 2
n_experts = 5
top_k = 2
d_expert = 14
d_shared = 10
balance = "bias"
context = 32
weight_format = "int4"
[[model]]
name = "ngram"
family = "ngram"
config = {{ order = 3, context = 32 }}
[[model]]
name = "infinigram"
family = "infinigram"
config = {{ max_length = 3, context = 32 }}
[[model]]
name = "mixture"
family = "mixture"
train = {{ num_steps = 3, batch_size = 2, threads = 1, eval_tokens = 128 }}
[model.config]
context = 32
neural = "dense"
neural_config = {{ d_model = 32, n_layers = 1, n_heads = 1 }}
counted = "ngram"
counted_config = {{ order = 2 }}
"""
TRAIN = [
    "--num_steps",
    "4",
    "--batch_size",
    "2",
    "--threads",
    "1",
    "--eval_tokens",
    "128",
    "--d_model",
    "32",
    "--n_layers",
    "1",
    "--n_heads",
    "1",
    "--context",
    "32",
    "--no_wandb",
]


def run_verb(arguments: Sequence[str]) -> tuple[int, str, str]:
    """A command line in this process: (exit code, standard output, standard error)."""
    from weightless.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
    return code, out.getvalue(), err.getvalue()


def must(arguments: Sequence[str]) -> None:
    """A command line that has to succeed."""
    code, _, told = run_verb(arguments)
    if code:
        raise SystemExit(f"weightless {' '.join(arguments)}: exit {code}: {told[-2000:]}")


def make_shelf(folder: Path) -> None:
    from weightless.data.shards.shards import write_shard
    from weightless.data.text import fables
    from weightless.tokenizer import Tokenizer
    from weightless.tokenizer.opening import write

    text = folder / "text" / "fables.txt"
    text.parent.mkdir(parents=True)
    documents = list(fables.documents(seed=3, n_bytes=40_000))
    text.write_bytes(f"\n{END}\n".encode().join(documents))
    (folder / "recipe").mkdir()
    (folder / "recipe" / "chaos.toml").write_text(RECIPE.format(text=text.as_posix()))
    must(["run", str(folder / "recipe" / "chaos.toml"), "--out", str(folder / "run")])
    for name in MODELS:
        (folder / f"artifact-{name}").mkdir()
        shutil.copy(folder / "run/models" / name / "model.wl", folder / f"artifact-{name}/model.wl")
    shutil.copytree(folder / "run/data", folder / "corpus/data")
    shutil.copytree(folder / "run/data", folder / "training/data")
    must(["train", "dense", "--data", str(folder / "training/data"), "--out", str(folder / "training/model"), *TRAIN])
    tokenizer = Tokenizer.load(folder / "run/data/tokenizer.json")
    for to, name in (
        ("weightless", "tokenizer.json"),
        ("huggingface", "tokenizer.json"),
        ("gpt2", ""),
        ("tiktoken", "ranks.tiktoken"),
    ):
        (folder / f"tokenizer-{to}").mkdir()
        write(tokenizer, folder / f"tokenizer-{to}" / name, to)
    (folder / "tokenizer-sentencepiece").mkdir()
    (folder / "tokenizer-sentencepiece/tokenizer.model").write_bytes(piece_model())
    _make_texts(folder, documents[:40])
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, 3000)
    for split, part in (("train", ids[:2500]), ("val", ids[2500:])):
        (folder / "import-shards").mkdir(exist_ok=True)
        (folder / "import-uint16").mkdir(exist_ok=True)
        write_shard(folder / f"import-shards/x_{split}_000000.bin", part.astype(np.uint16))
        (folder / f"import-uint16/{split}.bin").write_bytes(part.astype("<u2").tobytes())
    _make_rows(folder / "import-parquet", ids)


def _make_texts(folder: Path, documents: list[bytes]) -> None:
    import pyarrow
    import zstandard
    from pyarrow import parquet

    lines = b"".join(json.dumps({"id": i, "text": d.decode()}).encode() + b"\n" for i, d in enumerate(documents))
    text = f"\n{END}\n".encode().join(documents)
    contents = {
        "x.txt": text,
        "x.jsonl": lines,
        "x.jsonl.gz": gzip.compress(lines, mtime=0),
        "x.txt.xz": lzma.compress(text),
        "x.jsonl.zst": zstandard.ZstdCompressor(write_checksum=True).compress(lines),
    }
    for name, content in contents.items():
        (folder / f"text-{name}").mkdir()
        (folder / f"text-{name}" / name).write_bytes(content)
    (folder / "text-x.parquet").mkdir()
    table = pyarrow.table({"id": list(range(len(documents))), "text": [d.decode() for d in documents]})
    parquet.write_table(table, folder / "text-x.parquet/x.parquet", write_page_checksum=True)


def _make_rows(folder: Path, ids: np.ndarray) -> None:
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    rows = [part.tolist() for part in np.array_split(ids, 30)]
    masks = [[1] * len(row) for row in rows]
    table = pyarrow.table({"input_ids": rows, "pad_mask": masks})
    parquet.write_table(table, folder / "train.parquet", write_page_checksum=True)
    parquet.write_table(table.slice(0, 5), folder / "test.parquet", write_page_checksum=True)


def piece_model() -> bytes:
    """A small SentencePiece model by hand: control and unknown pieces, all bytes, some words."""
    words = ["▁", "e", "t", "a", "o", "n", "▁the", "▁a", "he", "in", "▁fox", "日本"]
    pieces = [("<unk>", 2, 0.0), ("<s>", 3, 0.0), ("</s>", 3, 0.0), *((f"<0x{b:02X}>", 6, 0.0) for b in range(256))]
    pieces += [(word, 1, -float(i)) for i, word in enumerate(words)]
    body = b""
    for text, kind, score in pieces:
        numbers = b"\x15" + np.float32(score).tobytes() + b"\x18" + bytes([kind])
        body += _field(1, _field(1, text.encode()) + numbers)
    trainer = b"\x18\x02\x98\x02\x01\xc8\x02\x00\xd0\x02\x01\xd8\x02\x02"  # BPE, byte fallback, unk bos eos
    return body + _field(2, trainer) + _field(3, _field(1, b"identity"))


def _field(number: int, content: bytes) -> bytes:
    size, n = b"", len(content)
    while n > 127:
        size, n = size + bytes([n & 127 | 128]), n >> 7
    return bytes([number << 3 | 2]) + size + bytes([n]) + content
