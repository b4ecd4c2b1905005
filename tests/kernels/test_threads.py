"""How the fast twins share work out: by definition every job is done once, and an error reaches the caller."""

import threading

import pytest

from weightless.kernels import fast_ops


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("n_rows", [1, 3, 4, 37, 64])
def test_parts_cover_all_rows_once_and_in_order(n_rows, n_threads):
    parts = fast_ops.shared_out(lambda first, stop: (first, stop), n_rows, n_threads)
    assert [row for first, stop in parts for row in range(first, stop)] == list(range(n_rows))


def test_jobs_of_two_threads_meet():
    """A job of the caller that waits for another one: only a helper can do that."""
    both = threading.Barrier(2, timeout=30)
    assert sorted(fast_ops._on_threads(lambda i, _: both.wait(), [(0, 0), (1, 0)], 2)) == [0, 1]


@pytest.mark.parametrize("bad", [0, 1])
def test_an_error_of_any_thread_is_raised(bad):
    both = threading.Barrier(2, timeout=30)

    def work(i: int, _: int) -> None:
        both.wait()
        if i == bad:
            raise ZeroDivisionError(i)

    with pytest.raises(ZeroDivisionError):
        fast_ops._on_threads(work, [(0, 0), (1, 0)], 2)
