"""Oracle: the same function called without a thread; the list of live threads for a clean end."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from weightless.base.errors import ConfigError, CorruptFileError
from weightless.data.batches.loader import Batches
from weightless.data.batches.prefetch import Prefetched


def live() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_batches_are_the_same_in_the_same_order(ahead):
    batches = Batches(np.arange(2000, dtype=np.uint16), 13, 4, seed=1)
    with Prefetched(batches.batch, ahead, first=5) as prepared:
        for step in [*range(5, 60), 3, 4, 5, 90, 91, 7]:  # jumps start anew
            for mine, wanted in zip(prepared.batch(step), batches.batch(step), strict=True):
                assert np.array_equal(mine, wanted)
    assert live() == 0


def test_no_more_than_asked_for_is_prepared():
    made = []
    with Prefetched(lambda step: made.append(step) or step, ahead=3) as prepared:
        assert prepared.batch(0) == 0
        time.sleep(0.1)
        assert made == [0, 1, 2, 3, 4]  # one taken, three ready, one in the thread's hand
    assert live() == 0


def test_an_error_surfaces_at_its_step_and_not_before():
    def make(step: int) -> int:
        if step == 3:
            raise CorruptFileError("shard 3 is damaged")
        return step

    with Prefetched(make, ahead=8) as prepared:
        assert [prepared.batch(step) for step in range(3)] == [0, 1, 2]
        for _ in range(2):  # asked again, it is tried again
            with pytest.raises(CorruptFileError, match="shard 3"):
                prepared.batch(3)
        assert prepared.batch(4) == 4
    assert live() == 0


def test_leaving_ends_a_thread_that_waits_for_room():
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Prefetched(lambda step: step, ahead=1):
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert live() == 0 and time.monotonic() - start < 2


def test_nothing_ahead_is_refused():
    with pytest.raises(ConfigError, match="prefetch = 0"):
        Prefetched(lambda step: step, 0)
