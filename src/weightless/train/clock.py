"""The clock of a run: what a second is, and whether another step fits into a budget of seconds.

No step is begun that would end beyond the budget, if it takes as long as the longest of the LOOK_BACK before it.
Before the first step one that is undone (the warm-up, rehearsal.py) says how long it takes, outside the clock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from weightless.base.errors import ConfigError
from weightless.base.units import human_seconds
from weightless.train.config import TrainConfig
from weightless.train.processes import ALONE, Processes

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""What a second of the budget is: of the wall clock, or of processor time, which other processes cannot steal."""
LOOK_BACK = 3


class StepClock:
    """Seconds of the configuration's clock; `used` are those of all steps so far."""

    def __init__(self, config: TrainConfig, together: Processes = ALONE) -> None:
        self.together = together
        self.now, self.budget = CLOCKS[config.clock], config.step_seconds
        self.recent: deque[float] = deque(maxlen=LOOK_BACK)

    def since(self, start: float) -> float:
        """Seconds since `start`; of several processes those of the first, whose clock is everybody's."""
        return self.together.first_says(self.now() - start)

    def fits(self, used: float) -> bool:
        """Whether another step ends within the budget, if that is one of seconds."""
        return self.budget is None or used + max(self.recent) <= self.budget

    def warm_up(
        self, one_pass: Callable[[], None], n_passes: int, used: float, one_update: Callable[[], None] = lambda: None
    ) -> bool:
        """Do a pass, of which a step has `n_passes`, and its update; whether a step fits.

        A second of both is done only where the first, which may compile, says that nothing fits.
        """
        for _ in range(2):
            start = self.now()
            one_pass()
            passed = self.now()
            one_update()
            self.recent.clear()
            took = (passed - start) * n_passes + self.now() - passed
            self.recent.append(self.together.first_says(took))
            if self.fits(used):
                return True
        return False

    def refusal(self) -> ConfigError:
        """What to say when the budget does not hold a single step."""
        told = f"one step takes about {human_seconds(max(self.recent))}, the budget is {self.budget:g} s"
        return ConfigError(f"{told}: give more seconds, a smaller batch or a smaller model")
