"""Whether an engine still makes steps while it has work: one that hangs would be waited for without end.

Judged from outside the engine, by when its last outputs came, so a step that takes long is no different from none: the
limit has to be beyond the slowest step.
"""

import time
from collections.abc import Callable
from typing import Any


class StallWatch:
    """Told of work and of steps; asked now and then whether the engine hangs."""

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._last_s = clock()
        self._n_running = 0
        self._suspected = False

    def begin(self) -> None:
        """Work was given to the engine."""
        if not self._n_running:
            self._last_s = self._clock()  # it was idle until now
        self._n_running += 1

    def end(self) -> None:
        """Some of it is over."""
        self._n_running -= 1

    def step(self) -> None:
        """Outputs came."""
        self._last_s = self._clock()

    def hangs(self) -> bool:
        """Whether it hangs: found so twice running, since outputs may wait behind whoever asks."""
        late = self._n_running > 0 and self._clock() - self._last_s > self._limit_s
        suspected, self._suspected = self._suspected, late
        return late and suspected


def tell_of_steps(client: Any, watch: StallWatch) -> None:
    """Have vLLM's ``AsyncLLM`` tell ``watch`` of each step whose outputs come."""
    process = client.output_processor.process_outputs

    def processed(*args: Any, **kwargs: Any) -> Any:
        watch.step()
        return process(*args, **kwargs)

    client.output_processor.process_outputs = processed
