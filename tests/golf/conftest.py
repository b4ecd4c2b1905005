"""One small corpus, two trained seeds of one model, and the submission that is built of them."""

from __future__ import annotations

import json
import shutil

import pytest
from cli.small_training import small

from weightless.cli.main import main
from weightless.data.text import fables
from weightless.golf.build import Wanted, build
from weightless.golf.scoring import Asked
from weightless.golf.subject import subjects


@pytest.fixture(scope="session")
def golf_text(tmp_path_factory):
    """A text file of fables."""
    path = tmp_path_factory.mktemp("golf") / "fables.txt"
    path.write_bytes(b"\n<|endoftext|>\n".join(fables.documents(seed=5, n_bytes=90_000)))
    return path


@pytest.fixture(scope="session")
def golf_data(golf_text):
    """The prepared corpus of it."""
    folder = golf_text.parent / "data"
    assert main(["data", "prepare", str(folder), "--text", str(golf_text), "--vocab_size", "320"]) == 0
    return folder


@pytest.fixture(scope="session")
def golf_models(golf_data):
    """Folders of one model with the seeds 0 and 1."""
    folders = [golf_data.parent / f"m{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        arguments = ["train", "dense", "--data", str(golf_data), "--out", str(folder), "--seed", str(seed)]
        assert main([*arguments, *small(num_steps=3)]) == 0
    return folders


@pytest.fixture(scope="session")
def honest(golf_models):
    """A submission that decodes and scores, of both seeds; not to be changed."""
    out = golf_models[0].parent / "honest"
    wanted = Wanted(author="somebody", decode_only=True, asked=Asked(threads=1))
    build(subjects(golf_models), out, wanted)
    return out


@pytest.fixture
def folder(honest, tmp_path):
    """A copy of it, into which a fault may be planted."""
    return shutil.copytree(honest, tmp_path / "submission")


@pytest.fixture
def edit(folder):
    """Change keys of submission.json: edit(key=value, …); None takes a key away."""

    def change(**values):
        path = folder / "submission.json"
        found = json.loads(path.read_text()) | values
        path.write_text(
            json.dumps({key: value for key, value in found.items() if value is not None or key == "stride"})
        )
        return found

    return change
