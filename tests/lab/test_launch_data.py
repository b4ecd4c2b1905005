"""One corpus, prepared in four parts by each launcher.  Oracle: the preparation without parts."""

from __future__ import annotations

import numpy as np
import pytest

from weightless.cli.main import main
from weightless.data.shards.corpus import corpus
from weightless.data.shards.prepare import prepare
from weightless.data.text import fables
from weightless.data.text.sources import open_source
from weightless.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """(text file, tokenizer file, corpus without parts)."""
    folder = tmp_path_factory.mktemp("inputs")
    documents = list(fables.documents(seed=4, n_bytes=60_000))
    text, tokenizer = folder / "fables.txt", Tokenizer.train(documents, 300)
    text.write_bytes(b"\n<|endoftext|>\n".join(documents))
    tokenizer.save(folder / "tokenizer.json")
    return text, folder / "tokenizer.json", prepare(open_source(text), tokenizer, folder / "whole", show_progress=False)


def command_of(inputs, out):
    return ["data", "prepare", str(out), "--text", str(inputs[0]), "--tokenizer", str(inputs[1]), "--workers", "1"]


def assert_same(folder, whole):
    found = corpus(folder, check_hashes=True)
    assert found.sha256 == whole.sha256 and found.manifest["split"] == whole.manifest["split"]
    for role in ("train", "val"):
        assert np.array_equal(np.asarray(found.tokens(role)), np.asarray(whole.tokens(role)))
        assert (found.n_documents(role), found.n_bytes(role)) == (whole.n_documents(role), whole.n_bytes(role))
    assert not list(folder.glob("*.plan.json")) and not list(folder.glob("*.part-*"))


def test_local_processes_by_one_command(inputs, tmp_path, capsys):
    own = [*command_of(inputs, tmp_path / "out"), "--shards", "4", "--n_parallel", "2"]
    assert main(own) == 0
    assert_same(tmp_path / "out", inputs[2])
    logs = sorted(path.name for path in (tmp_path / "out/launch").glob("*.log"))
    assert logs == [f"part-00{i}.log" for i in (1, 2, 3, 4)]
    capsys.readouterr()
    assert main(own) == 0 and "parts to make" not in capsys.readouterr().err


def test_only_missing_parts_are_launched(inputs, tmp_path):
    for part in ("2/3", "1/3"):
        assert main([*command_of(inputs, tmp_path / "out"), "--shard", part]) == 0
    assert main([*command_of(inputs, tmp_path / "out"), "--shards", "3"]) == 0
    assert [path.name for path in (tmp_path / "out/launch").glob("*.log")] == ["part-003.log"]
    assert_same(tmp_path / "out", inputs[2])


def test_slurm_jobs_by_submitit_on_this_machine(inputs, tmp_path):
    pytest.importorskip("submitit")
    options = [
        "--how",
        "slurm",
        "--cluster",
        "local",
        "--n",
        "4",
        "--n_parallel",
        "2",
        "--logs",
        str(tmp_path / "logs"),
    ]
    assert main(["launch", *options, "--", *command_of(inputs, tmp_path / "out"), "--shard", "{i}/{n}"]) == 0
    assert_same(tmp_path / "out", inputs[2])


def test_a_failing_slurm_job_is_named(inputs, tmp_path, capsys):
    pytest.importorskip("submitit")
    options = ["--how", "slurm", "--cluster", "local", "--retries", "0", "--logs", str(tmp_path / "logs")]
    assert main(["launch", *options, "--", "nonesuch"]) == 2
    err = capsys.readouterr().err
    assert "unit-001 (exit 2)" in err and "no such verb 'nonesuch'" in err


@pytest.fixture
def ray_cluster():
    """Two workers on this machine, as somebody who has a cluster would have begun it."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_tasks_of_a_ray_cluster_of_two_workers(ray_cluster, inputs, tmp_path, capsys):
    """All in one test, because starting the cluster takes most of the time."""
    options = ["--how", "ray", "--retries", "0", "--logs", str(tmp_path / "logs")]
    assert (
        main(["launch", *options, "--n", "4", "--", *command_of(inputs, tmp_path / "out"), "--shard", "{i}/{n}"]) == 0
    )
    assert_same(tmp_path / "out", inputs[2])
    assert ray_cluster.is_initialized(), "a cluster that was there before stays"
    assert main(["launch", *options, "--again", "--", "nonesuch"]) == 2
    assert "no such verb 'nonesuch'" in capsys.readouterr().err
