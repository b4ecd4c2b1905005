"""Oracles: the file system's sizes, the engine's own score, the modules themselves, a bare environment."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from weightless.base.errors import ConfigError, WeightlessError
from weightless.evals.bits_per_byte import evaluate
from weightless.export import lower
from weightless.export.packed import open_packed
from weightless.golf import bundle
from weightless.golf.build import Wanted, build
from weightless.golf.network import uses
from weightless.golf.schema import KEYS, problems
from weightless.golf.scoring import Asked, score
from weightless.golf.sizes import CAP, Sizes
from weightless.golf.stream import stream_of
from weightless.golf.subject import subjects
from weightless.models.catalog import families
from weightless.tokenizer.patterns import character_classes


def test_totals_are_those_of_the_file_system(honest):
    values = json.loads((honest / "submission.json").read_text())
    code, weights = (os.path.getsize(honest / name) for name in ("train_gpt.py", "model.wlz"))
    assert (values["bytes_code"], values["bytes_weights"], values["bytes_total"]) == (code, weights, code + weights)
    assert len((honest / "train_gpt.py").read_text(encoding="utf-8").encode()) == code
    assert problems(values) == [] and list(values) == [key.name for key in KEYS if key.name in values]


def test_the_score_is_the_engines(honest, golf_data, golf_models):
    from weightless.data.shards.corpus import corpus

    packed = open_packed(golf_models[0] / "model.wl")
    tokens = corpus(golf_data).tokens("val")
    own = evaluate(packed, tokens, packed.tokenizer.byte_table, (), path="stepped")
    values = json.loads((honest / "submission.json").read_text())
    assert values["eval_tokens"] == len(tokens) - 1 and values["eval_bytes"] == own.n_bytes
    assert abs(values["eval_nats"] - own.nats) <= 1e-5 * own.nats  # blocks add in another order
    assert values["seeds"] == [0, 1] and set(values["seed_results"]) == {"0", "1"}


def test_whole_windows_and_samples_are_said(golf_models, golf_data):
    packed = open_packed(golf_models[0] / "model.wl")
    stream = stream_of(packed, golf_data)
    cut = score(packed, stream, Asked(whole_windows=True, threads=1))
    assert cut.n_tokens == stream.n_targets // 64 * 64 and cut.n_cut == stream.n_targets % 64
    assert "cut off" in cut.lines()[1]
    some = score(packed, stream, Asked(tokens=100, threads=1))
    assert some.sampled and 100 <= some.n_tokens < stream.n_targets


def test_a_text_and_a_shard_are_scored_as_the_corpus_is(golf_models, golf_data, tmp_path):
    packed = open_packed(golf_models[0] / "model.wl")
    (shard,) = golf_data.glob("*_val_*.bin")
    of_corpus, of_shard = (stream_of(packed, path) for path in (golf_data, shard))
    whole = np.asarray(of_corpus.tokens[:], dtype="<u4").tobytes()
    assert of_corpus.sha256 == hashlib.sha256(whole).hexdigest(), "every id counts"
    assert of_corpus.sha256 == of_shard.sha256 and of_corpus.decoded_bytes == of_shard.decoded_bytes
    text = tmp_path / "text.txt"
    text.write_bytes("An é and an owl.".encode())
    found = stream_of(packed, text)
    assert (
        found.source_bytes == 17 == found.decoded_bytes
        and packed.tokenizer.decode_bytes(found.tokens[1:]) == text.read_bytes()
    )
    with pytest.raises(WeightlessError, match="no such file"):
        stream_of(packed, tmp_path / "missing")


def test_the_cap_is_decimal_and_exact():
    assert Sizes(1, CAP - 1).fits and Sizes(1, CAP - 1).verdict() == "fits: 0 bytes below the cap of 16,000,000"
    over = Sizes(CAP, 1)
    assert not over.fits and over.verdict() == "too large: one byte over the cap of 16,000,000"
    with pytest.raises(WeightlessError, match="16,000,001 bytes .* one byte over the cap of 16,000,000"):
        over.require()
    assert "2 bytes over" in Sizes(CAP, 1, 1).verdict()


def test_too_large_is_refused_before_anything_is_scored(golf_models, tmp_path, monkeypatch):
    from weightless.golf import build as room

    monkeypatch.setattr(room, "squeeze", lambda source, target, coders: CAP)
    monkeypatch.setattr(room, "score", lambda *_: pytest.fail("scored"))
    monkeypatch.setattr(room, "_script", lambda *_: "x")
    with pytest.raises(WeightlessError, match="one byte over the cap"):
        build(subjects(golf_models[:1]), tmp_path / "out", Wanted(decode_only=True))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(honest, golf_models):
    with pytest.raises(WeightlessError, match="not empty"):
        build(subjects(golf_models), honest, Wanted(decode_only=True))


def test_folders_of_other_models_are_no_seeds(golf_models, tmp_path):
    with pytest.raises(WeightlessError, match="each seed once"):
        subjects([golf_models[0], golf_models[0]])
    with pytest.raises(WeightlessError, match="no model of weightless train"):
        subjects([tmp_path])
    with pytest.raises(ConfigError, match="--model"):
        subjects([golf_models[0]], model="dense")


def test_stand_ins_are_what_they_stand_for():
    """What the script has in the place of a module gives what the module gives."""
    found = bundle.stand_ins(training=False)
    namespace: dict[str, object] = {}
    exec(found["weightless.export.lower"], namespace)
    assert namespace["TOKENIZER"] == lower.TOKENIZER
    tree = ast.parse(found["weightless.tokenizer.patterns"])
    (own,) = [node for node in tree.body if getattr(node, "name", "") == "character_classes"]
    names = {"np": np, "lru_cache": lambda maxsize: lambda function: function}
    exec(ast.unparse(own), names)
    assert np.array_equal(names["character_classes"](), character_classes())


def test_the_script_carries_lean_modules_and_reaches_nothing(honest):
    text = (honest / "train_gpt.py").read_text()
    assert text.isascii() and uses(text, "train_gpt.py") == []
    files = bundle.opened(text)
    assert "weightless/golf/entry.py" in files and "weightless/golf/training.py" not in files
    assert not any("import torch" in source or "import rich" in source for source in files.values())
    for path, source in files.items():
        assert ast.get_docstring(ast.parse(source)) is None, path
        original = Path(bundle.PACKAGE.parent, path)
        assert original.is_file()


def test_unpacking_is_bounded(monkeypatch):
    import base64
    import lzma

    monkeypatch.setattr(bundle, "LARGEST", 1 << 10)
    bomb = base64.b85encode(lzma.compress(bytes(1 << 16))).decode()
    assert len(bundle.unpacked_text(bomb)) == 1 << 10
    with pytest.raises(ValueError):
        bundle.unpacked_text("no compressed text")


@pytest.fixture(scope="session")
def bare(tmp_path_factory):
    """A Python with numpy and the compiler of the kernels and nothing else: links to what is installed here."""
    import llvmlite
    import numba

    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    for package in (np, numba, llvmlite):
        installed = Path(package.__file__).parent
        for path in (*installed.parent.glob(f"{installed.name}*"),):
            if path.name.partition("-")[0].removesuffix(".libs") == installed.name:
                (packages / path.name).symlink_to(path)
    return place / "bin" / "python"


def run(python, folder, *arguments, cache):
    """The script of a folder, in isolated mode, without this project's paths."""
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
    command = [str(python), "-I", str(folder / "train_gpt.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cache, timeout=280)


@pytest.mark.slow
def test_the_folder_alone_gives_the_same_nats(honest, golf_data, bare, tmp_path):
    """Compiling takes half a minute: the bare environment has no cache of ours."""
    probe = [
        str(bare),
        "-I",
        "-c",
        "import importlib.util as u; print(u.find_spec('weightless'), u.find_spec('torch'))",
    ]
    assert subprocess.run(probe, capture_output=True, text=True).stdout.split() == ["None", "None"]
    values = json.loads((honest / "submission.json").read_text())
    found = run(bare, honest, "--score", golf_data, "--json", cache=tmp_path)
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert abs(told["nats_per_token"] - values["val_loss"]) <= 1e-6
    assert (told["eval_tokens"], told["eval_bytes"]) == (values["eval_tokens"], values["eval_bytes"])
    continued = run(bare, honest, "--generate", "Once", "--max_tokens", 5, cache=tmp_path)
    assert continued.returncode == 0 and continued.stdout.startswith("Once")
    for arguments, told in (
        (("--train", golf_data), "--decode-only"),
        (("--scor", golf_data), "did you mean '--score'?"),
        (("--score", "missing"), "no such file or folder"),
        ((), "say one of"),
    ):
        wrong = run(bare, honest, *arguments, cache=tmp_path)
        assert wrong.returncode == 2 and told in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_the_script_trains_the_same_artifact_again(golf_models, golf_data, tmp_path):
    """With torch, from the script alone: the very bytes of the model that was submitted."""
    made = build(subjects(golf_models[:1]), tmp_path / "trains", Wanted(asked=Asked(threads=1)))
    found = run(sys.executable, made.folder, "--train", golf_data, "--out", tmp_path / "again", cache=tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "again" / "model.wl").read_bytes() == (golf_models[0] / "model.wl").read_bytes()
    assert (tmp_path / "again" / "model.wlz").read_bytes() == (made.folder / "model.wlz").read_bytes()


BLOCKING = """
import sys
class Blocks:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Blocks())
sys.path.insert(0, {place!r})
import json
from weightless.program.program import Program
from weightless.program.operators import compiled_twin
import weightless.golf.entry, weightless.golf.stream, weightless.golf.scoring, weightless.decode.generate
import weightless.export.packed, weightless.program.warm
assert weightless.golf.entry.__file__.startswith({place!r})
program = Program.from_plain(json.loads(sys.stdin.read()))
for op in (*program.body, *(op for head in program.heads.values() for op in head)):
    compiled_twin(type(op))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", families())
def test_the_modules_of_every_family_are_carried(name, tmp_path):
    """What a script carries imports without anything but numpy and the compiler, down to every compiled operator."""
    from contract.cases import CASES, bench

    program = bench(name, next(iter(CASES[name]))).program
    ops = [*program.body, *(op for head in program.heads.values() for op in head)]
    modules = bundle.closure(
        bundle.scoring_roots(ops), bundle.stand_ins(training=False), without=(bundle.TRAINING, bundle.BATCHED)
    )
    for path, source in bundle.opened(bundle.script(modules)).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
    blocked = ("torch", "rich", "regex", "tyro", "safetensors", "tomli_w", "pyarrow", "zstandard", "threadpoolctl")
    code = BLOCKING.format(place=str(tmp_path), blocked=blocked)
    told = json.dumps(program.to_plain())
    found = subprocess.run([sys.executable, "-I", "-c", code], input=told, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


OPTIONAL = {
    "brotli": {"weightless.artifact.coders"},
    "zstandard": {"weightless.artifact.coders", "weightless.base.compressed"},
    "threadpoolctl": {"weightless.evals.scoring"},
    "pyarrow": {"weightless.data.text.text_rows"},
    "regex": {"weightless.tokenizer.light_train", "weightless.tokenizer.reference"},
    "safetensors": {"weightless.train.checkpoint", "weightless.train.teacher_cache"},
    "sentencepiece": {"weightless.tokenizer.piece_text", "weightless.tokenizer.sentencepiece"},
    "tomli_w": {"weightless.base.config"},
}
"""Packages that a carried module asks for late: better coders than Python's, or what no script is asked to do (read
other texts, train a tokenizer, save a checkpoint).  To score and to continue a text takes none of them."""


def test_scripts_ask_for_no_package_but_those_that_are_known():
    """Encoding a prompt came to need `regex` once, and only an environment without it could tell."""
    modules = bundle.closure([bundle.ENTRY], bundle.stand_ins(training=False), (bundle.TRAINING, bundle.BATCHED))
    found: dict[str, set[str]] = {}
    for module, source in modules.items():
        for node in ast.walk(ast.parse(source)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for package in {name.partition(".")[0] for name in names} - sys.stdlib_module_names:
                found.setdefault(package, set()).add(module)
    for package in found.keys() - {"", "weightless", "numpy", "numba", "llvmlite", "torch"}:
        assert found[package] <= OPTIONAL.get(package, set()), package


def test_the_weights_open_where_there_is_nothing_but_python(honest, monkeypatch):
    """No coder of a package: zstandard and brotli cannot be imported, and the artifact opens."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "brotli", None)
    assert open_packed(honest / "model.wlz").family == "dense"
