"""The card `fuse`: our solution passes in every language, each known mistake gets its status."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from deck.in_process import Here, HereBench
from deck.trying import CardTests, card_of, own

from weightless.base.errors import ConfigError
from weightless.deck.cards.fuse import routes
from weightless.deck.cards.fuse.card import CHECKS, checks_of, in_another_language
from weightless.deck.cards.fuse.launches import without_chevrons
from weightless.deck.grade import grade_card
from weightless.deck.outcome import Failed
from weightless.deck.sandbox import strongest

ZEROS = """import numpy as np
def fused_softmax_topk(logits, k):
    shape = (*logits.shape[:-1], k)
    return np.zeros(shape, np.int64), np.zeros(shape, logits.dtype)
"""
BY_NAME = {route.name: route for route in routes.ROUTES}
needs_gcc = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")

# A kernel as people write it: chevrons, cuda_runtime.h, one thread that does all; slow, right, and k at most 64.
PLAIN_CUDA = """
#include <cuda_runtime.h>
__global__ void rows_of(const float* z, int V, int k, long long* index, float* p) {
    const float* row = z + (long long)blockIdx.x * V;
    if (threadIdx.x) return;
    float m = -INFINITY, l = 0.0f, best[64]; int at[64];
    for (int j = 0; j < k; ++j) { best[j] = -INFINITY; at[j] = -1; }
    for (int i = 0; i < V; ++i) {
        float v = __ldg(row + i);
        if (v == -INFINITY) continue;
        if (v > m) { l *= expf(m - v); m = v; }
        l += expf(v - m);
        if (!(v > best[k - 1])) continue;
        best[k - 1] = v; at[k - 1] = i;
        for (int j = k - 1; j > 0 && best[j] > best[j - 1]; --j) {
            float b = best[j]; best[j] = best[j - 1]; best[j - 1] = b;
            int a = at[j]; at[j] = at[j - 1]; at[j - 1] = a;
        }
    }
    for (int j = 0; j < k; ++j) {
        index[(long long)blockIdx.x * k + j] = at[j];
        p[(long long)blockIdx.x * k + j] = at[j] < 0 ? 0.0f : expf(best[j] - m) / l;
    }
}
extern "C" int softmax_topk_launch(const float* z, int rows, int V, int k, long long* index, float* p, cudaStream_t s) {
    if (k > 64) return -1;
    rows_of<<<rows, 32, 0, s>>>(z, V, k, index, p);
    return cudaGetLastError();
}
"""


class TestFuse(CardTests):
    name = "fuse"
    zeros = ZEROS
    not_by_own_tests = frozenset({"the whole softmax, then a selection", "a whole row at a time"})


def in_process(folder: Path):
    return nullcontext(Here(folder))


def passes(route_name: str, folder: Path, reference: Path) -> list[str]:
    """What fails of the route's checks."""
    told = []
    for check in checks_of(BY_NAME[route_name]):
        try:
            check.ask(HereBench(folder, reference))
        except Failed as failed:
            told.append(f"{check.name}: {failed}")
    return told


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return own("fuse", tmp_path_factory.mktemp("numpy") / "fuse")


@needs_gcc
def test_our_cuda_source_passes_through_the_shim(reference, tmp_path):
    submission = routes.own_solution_of(BY_NAME["cuda"], tmp_path / "submission")
    assert routes.route_of(submission) is BY_NAME["cuda"]
    assert passes("cuda", routes.prepared(BY_NAME["cuda"], submission, tmp_path / "worker"), reference) == []


@needs_gcc
def test_a_source_in_plain_cuda_passes_too(reference, tmp_path):
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution.cu").write_text(PLAIN_CUDA)
    folder = routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "worker")
    assert passes("cuda", folder, reference) == []


@needs_gcc
def test_reads_are_counted(reference, tmp_path):
    """A pass for the maximum before the pass for the rest: right, and each logit is read twice."""
    twice = "    for (int i = 0; i < V; ++i) m = fmaxf(m, row[i]);\n    for (int i = 0; i < V; ++i) {\n        float v"
    text = PLAIN_CUDA.replace("    for (int i = 0; i < V; ++i) {\n        float v", twice)
    assert text != PLAIN_CUDA
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution.cu").write_text(text)
    folder = routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "worker")
    logits = np.random.default_rng(0).standard_normal((1, 2, 999)).astype(np.float32)
    assert Here(folder).call("reads_per_logit", logits, 5) == 2.0
    with pytest.raises(Failed, match="SLOW: each of 3 x 20,001 logits is read 2.0 times"):
        checks_of(routes.CUDA)[-1].ask(HereBench(folder, reference))


CUDA_MUTANTS = {
    "old sum not corrected": ("l *= expf(m - v);", "l *= 1.0f;"),
    "ties to the higher index": ("static_cast<unsigned>(ia) < static_cast<unsigned>(ib)", "ia > ib"),
    "tail forgotten": ("i < V; i += THREADS) take<K>(row[i]", "i < 0; i += THREADS) take<K>(row[i]"),
}


@needs_gcc
@pytest.mark.parametrize(
    "name", [next(iter(CUDA_MUTANTS)), *(pytest.param(n, marks=pytest.mark.slow) for n in list(CUDA_MUTANTS)[1:])]
)
def test_mistakes_in_cuda_are_seen(name, reference, tmp_path):
    submission = routes.own_solution_of(BY_NAME["cuda"], tmp_path / "submission")
    text = (submission / "solution.cu").read_text()
    assert text.count(CUDA_MUTANTS[name][0]) == 1
    (submission / "solution.cu").write_text(text.replace(*CUDA_MUTANTS[name]))
    folder = routes.prepared(BY_NAME["cuda"], submission, tmp_path / "worker")
    assert any("WRONG_NUMERIC" in told for told in passes("cuda", folder, reference))


@needs_gcc
@pytest.mark.parametrize(
    "text, told",
    [
        ("int softmax_topk_launch(", "does not compile"),
        ("int main() { return 0; }", "has no extern"),
        ("void softmax_topk_launch() { f<<<1, 2, 64>>>(); }", "shares memory by size at the launch"),
        ("void softmax_topk_launch() { f<<<1, 2>>>(a; }", "does not end with"),
    ],
)
def test_a_source_that_cannot_be_run_is_told_why(text, told, tmp_path):
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution.cu").write_text(text)
    with pytest.raises(Failed, match=told) as failed:
        routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "worker")
    assert failed.value.status == "CONTRACT"


def test_launches_become_calls():
    found = without_chevrons("a<4><<<dim3(2, 3), n>>>(x, f(y, z));\nb <<< 1, 2, 0, s >>> (q);")
    assert found == (
        "shim::launch(dim3(dim3(2, 3)), dim3(n), [=] { a<4>(x, f(y, z)); });\n"
        "shim::launch(dim3(1), dim3(2), [=] { b(q); });"
    )
    with pytest.raises(ConfigError, match="line 2"):
        without_chevrons("\nk<<<1>>>(a);")


@needs_gcc
def test_the_compiler_may_run_in_a_worker(tmp_path, reference):
    """`opened` stands for the sandbox: what comes out are bytes, and a refused source is CONTRACT."""

    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution.cu").write_text(PLAIN_CUDA)
    folder = routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "worker", in_process)
    index, p = Here(folder).call("fused_softmax_topk", np.array([[[0.0, 2.0, 1.0]]], np.float32), 2)
    assert index.tolist() == [[[1, 2]]] and abs(p[0, 0, 0] - 0.66524) < 1e-4
    (tmp_path / "submission/solution.cu").write_text("int softmax_topk_launch(")
    with pytest.raises(Failed, match="nvcc refuses|does not compile"):
        routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "again", in_process)


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no CUDA toolkit")
def test_what_only_the_shim_compiles_is_no_cuda(tmp_path):
    """nvcc runs in the sandbox on the source as it was handed in."""
    submission = routes.own_solution_of(BY_NAME["cuda"], tmp_path / "submission")
    source = submission / "solution.cu"
    source.write_text("#ifndef CPU_SHIM\nint x = not_there;\n#endif\n" + source.read_text())
    result = grade_card(card_of("fuse"), submission, strongest())
    assert result["status"] == "CONTRACT" and "nvcc refuses solution.cu" in result["told"]
    assert '"not_there" is undefined' in result["told"]


WITHOUT_THE_SUM = """
import numba
import numpy as np

@numba.njit
def unscaled(logits):
    return np.exp(logits - logits.max())

def fused_softmax_topk(logits, k):
    B, T, V = logits.shape
    rows = logits.reshape(-1, V)
    index = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    p = np.stack([unscaled(row)[at] for row, at in zip(rows, index)])
    return index.reshape(B, T, -1), p.astype(np.float32).reshape(B, T, -1)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numba", "triton"])
def test_our_solutions_in_other_languages_pass(name, tmp_path):
    """In the sandbox, whose workers have numba, or torch and Triton's interpreter, for that."""
    if any(importlib.util.find_spec(package) is None for package in BY_NAME[name].needs):
        pytest.skip(f"{name} is not installed")
    submission = routes.own_solution_of(BY_NAME[name], tmp_path / "submission")
    result = grade_card(card_of("fuse"), submission, strongest())
    assert (result["status"], result["told"], result["grader_errors"]) == ("PASS", "", [])
    assert [one["name"] for one in result["checks"]] == [check.name for check in checks_of(BY_NAME[name])]
    assert BY_NAME[name].needs[-1] in result["sandbox"]["stamp"]


@pytest.mark.parametrize("name", ["numba", "triton"])
def test_our_solutions_in_other_languages_pass_in_one_process(name, reference, tmp_path, monkeypatch):
    """The same checks, compiled once and not in a worker for each."""
    if any(importlib.util.find_spec(package) is None for package in BY_NAME[name].needs):
        pytest.skip(f"{name} is not installed")
    submission = routes.own_solution_of(BY_NAME[name], tmp_path / "submission")
    folder = routes.prepared(BY_NAME[name], submission, tmp_path / "worker")
    shutil.rmtree(folder / "weightless")  # the library itself, whose kernels are compiled already
    monkeypatch.syspath_prepend(str(folder))
    assert passes(name, folder, reference) == []


@pytest.mark.slow
def test_a_mistake_in_numba_is_a_wrong_answer(tmp_path):
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution_numba.py").write_text(WITHOUT_THE_SUM)
    result = grade_card(card_of("fuse"), tmp_path / "submission", strongest())
    assert result["status"] == "WRONG_NUMERIC", result["told"]


def test_a_route_is_found_by_its_file(tmp_path):
    assert routes.route_of(tmp_path) is None
    (tmp_path / "solution.cu").write_text("a sketch")
    assert routes.route_of(tmp_path) is routes.CUDA
    (tmp_path / "solution.py").write_text("")
    assert routes.route_of(tmp_path) is routes.NUMPY
    (tmp_path / "solution.cu").write_text("int softmax_topk_launch(")
    assert routes.route_of(tmp_path) is routes.CUDA
    more = {check.name for check in checks_of(routes.CUDA)} - {check.name for check in CHECKS}
    assert more == {"each logit is read once"} and checks_of(routes.NUMPY) == CHECKS


@pytest.mark.parametrize(
    "file, told", [("kernel.cu", "should be called solution.cu"), ("solution.cu", "has no extern")]
)
def test_what_cannot_be_graded_is_told_what_to_do(file, told, tmp_path):
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission" / file).write_text("")
    with pytest.raises(Failed, match=told) as failed:
        in_another_language(tmp_path / "submission", tmp_path / "worker", in_process)
    assert failed.value.status == "CONTRACT"


def test_the_wrapper_shows_what_a_launcher_leaves_out(tmp_path, reference):
    """A launcher that writes nothing: indices of -7, so a wrong answer and not yesterday's memory."""
    if not shutil.which("g++"):
        pytest.skip("no C++ compiler")
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/solution.cu").write_text('extern "C" int softmax_topk_launch() { return 0; }')
    folder = routes.prepared(BY_NAME["cuda"], tmp_path / "submission", tmp_path / "worker")
    index, p = Here(folder).call("fused_softmax_topk", np.zeros((1, 1, 4), np.float32), 2)
    assert (index == -7).all() and np.isnan(p).all()
