"""Rollouts one step ahead: the next step's completions are drawn while this one is learnt from.

Samplers and trainer then work at the same time, and every completion is of a policy exactly one step old; the loss
takes that into account, since its ratio is against the sampler's own log-probabilities (or is corrected for, see
``mismatch``). One draw at a time, which ends before the weights change: bounded staleness of 1, and the same
completions in every run.
"""

import pickle
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread

from leash_ray.rlvr.dynamic import Sampled


class Ahead:
    """What was drawn for a step to come. A checkpoint keeps it, so a resumed run learns from the very same."""

    def __init__(self, rank: int, workers: int) -> None:
        self._name = f"ahead-{rank:05d}.pkl"
        self._workers = workers
        self._step = -1
        self._drawn: Future[Sampled] | None = None

    def start(self, step: int, draw: Callable[[], Sampled]) -> None:
        """Draw for ``step`` in the background."""
        assert self._drawn is None
        self._step, self._drawn = step, Future()
        # Not an executor's thread: Python would wait for it when the worker is to end.
        Thread(target=_fulfil, args=(self._drawn, draw), name=f"rollouts of step {step}", daemon=True).start()

    def join(self) -> float:
        """Wait until nothing is drawn any more; the seconds that it took. Raises what the draw raised."""
        started_s = time.perf_counter()
        if self._drawn is not None:
            self._drawn.result()
        return time.perf_counter() - started_s

    def take(self, step: int) -> Sampled | None:
        """What was drawn for ``step``; None: nothing was."""
        drawn, self._drawn = self._drawn, None
        return drawn.result() if drawn is not None and self._step == step else None

    def save(self, folder: Path) -> None:
        """Write what was drawn by this worker into a checkpoint."""
        if self._drawn is not None:
            content = {"step": self._step, "workers": self._workers, "drawn": self._drawn.result()}
            (folder / self._name).write_bytes(pickle.dumps(content))

    def load(self, folder: Path) -> None:
        """Take what :meth:`save` wrote; of another number of workers it is left alone, for their shares differ."""
        path = folder / self._name
        if not path.is_file():
            return
        content = pickle.loads(path.read_bytes())
        if content["workers"] == self._workers:
            self._step, self._drawn = content["step"], Future()
            self._drawn.set_result(content["drawn"])


def _fulfil(promise: "Future[Sampled]", draw: Callable[[], Sampled]) -> None:
    try:
        promise.set_result(draw())
    except BaseException as e:  # whatever it is, who joins is told, as if it had happened there
        promise.set_exception(e)
