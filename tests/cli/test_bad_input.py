"""Bad input gives one line that says what, where and what to do; exit code 2; and nothing already there is lost.

Oracle: the list of the product's requirements; each case asserts the line's content and the files left behind.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys

import pytest

from weightless.base.files import sha256_file


def assert_one_line(result, *words):
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("weightless ")]
    assert code == 2 and len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0], lines[0]


def prepare(command, text, out, *more):
    return command("data", "prepare", out, "--text", text, "--vocab_size", "300", *more)


def test_missing_file(command, tmp_path):
    assert_one_line(prepare(command, tmp_path / "absent.txt", tmp_path / "out"), "absent.txt", "no such file")


def test_empty_text(command, tmp_path):
    (tmp_path / "empty.txt").write_bytes(b"")
    assert_one_line(prepare(command, tmp_path / "empty.txt", tmp_path / "out"), "empty.txt")


def test_binary_file(command, tmp_path):
    (tmp_path / "picture.txt").write_bytes(bytes(range(256)) * 64)
    assert_one_line(prepare(command, tmp_path / "picture.txt", tmp_path / "out"), "picture.txt")


def test_text_too_small_for_the_vocabulary(command, tmp_path):
    (tmp_path / "short.txt").write_text("\n<|endoftext|>\n".join(f"fable {i} of a fox and a crow" for i in range(40)))
    assert_one_line(prepare(command, tmp_path / "short.txt", tmp_path / "out", "--vocab_size", "5000"))


def test_text_shorter_than_one_context(command, tmp_path, small_run):
    text = tmp_path / "short.txt"
    text.write_text("\n<|endoftext|>\n".join(f"{i} hens and a cock went to the mill by the river" for i in range(9)))
    recipe = tmp_path / "r.toml"
    changes = {small_run[2].as_posix(): text.as_posix(), "size = 320": "size = 258", "context = 64": "context = 512"}
    written = small_run[1].read_text()
    for old, new in changes.items():
        written = written.replace(old, new)
    recipe.write_text(written)
    assert_one_line(command("run", recipe, "--out", tmp_path / "out"), "512")


def test_misspelt_key_of_a_recipe(command, tmp_path, small_run):
    recipe = tmp_path / "r.toml"
    recipe.write_text(small_run[1].read_text().replace("d_model = 32", "d_modle = 32"))
    assert_one_line(command("run", recipe, "--out", tmp_path / "out"), "r.toml", "d_modle", "'d_model'")
    assert not (tmp_path / "out").exists()


def test_recipe_that_is_no_toml(command, tmp_path):
    (tmp_path / "r.toml").write_text("name = [")
    assert_one_line(command("run", tmp_path / "r.toml"), "r.toml", "TOML")


def test_unknown_recipe_verb_and_family(command):
    assert_one_line(command("run", "dmeo"), "'demo'")
    assert_one_line(command("trian"), "'train'")
    assert_one_line(command("train", "--family", "dnese"), "'dense'")


def test_unknown_flag_is_an_error(command, small_run):
    code, _, err = command("eval", small_run[0] / "models/dense/model.wl", "--strid", "3")
    assert code == 2 and "--strid" in err


@pytest.mark.parametrize("verb", ["eval", "generate", "count"])
def test_artifact_cut_in_half(command, tmp_path, small_run, verb):
    whole = (small_run[0] / "models/feather/model.wl").read_bytes()
    (tmp_path / "half.wl").write_bytes(whole[: len(whole) // 2])
    assert_one_line(command(verb, tmp_path / "half.wl"), "half.wl")


def test_a_foreign_file_is_no_artifact(command, tmp_path):
    (tmp_path / "notes.wl").write_text("these are notes, not a model\n" * 50)
    assert_one_line(command("generate", tmp_path / "notes.wl"), "notes.wl")


def test_vocabulary_that_does_not_match_the_shards(command, tmp_path, small_run):
    folder, _, text = small_run
    assert prepare(command, text, tmp_path / "other")[0] == 0
    result = command("eval", folder / "models/dense/model.wl", "--data", tmp_path / "other")
    assert_one_line(result, "another tokenizer", "--text")
    result = command("pack", folder / "models/dense", "--data", tmp_path / "other", "--out", tmp_path / "m.wl")
    assert result[0] == 2 and not (tmp_path / "m.wl").exists()


def test_run_folder_of_another_recipe_is_kept(command, tmp_path, small_run):
    folder, recipe, _ = small_run
    before = sha256_file(folder / "summary.json")
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("num_steps = 3", "num_steps = 4"))
    assert_one_line(command("run", other, "--out", folder), "another recipe", "--out")
    assert sha256_file(folder / "summary.json") == before


def test_full_disk_loses_nothing(tmp_path, small_run):
    """RLIMIT_FSIZE stands for the full disk: writes beyond it fail as they do on a device without space."""
    folder = tmp_path / "run"
    shutil.copytree(small_run[0], folder)
    (folder / "models/dense/done.json").unlink()
    artifact = folder / "models/dense/model.wl"
    before = sha256_file(artifact)

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    call = [
        sys.executable,
        "-c",
        "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "from weightless.cli.main import main; sys.exit(main(sys.argv[1:]))",
    ]
    run = subprocess.run(
        [*call, "pack", str(folder / "models/dense")], preexec_fn=limited, capture_output=True, text=True
    )
    assert run.returncode == 2 and "cannot write" in run.stderr and "Traceback" not in run.stderr, run.stderr
    assert sha256_file(artifact) == before
    assert not list((folder / "models/dense").glob("*.part"))
