"""The estimates so far, while completions are being written: from the states of the shards that are there.

Each time only the states of new shards are read; what they add is merged, and support with its intervals, pass@k and
entropies are handed over as flat numbers. A thread of its own does it, so that nothing waits for it, and the next time
comes no sooner than the cost allows: it takes at most ``MOST_OF_THE_TIME``.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from leash_ray.files import parquet_files

if TYPE_CHECKING:
    from leash_ray.reducers import Reduced

MOST_OF_THE_TIME = 0.02
REPLICATES = 200
"""Of the bootstrap: enough to watch an interval."""
MOST_BYTES = 512 << 20
"""Of the state: following ends where it is larger, since this process has other things to hold."""
END_S = 5.0
"""How long leaving waits for what is under way."""
SUPPORT = ("P", "E", "S", "O", "SRR", "NDR", "SDS", "NSCR")
OF_A_POLICY = ("answer_entropy", "mean_surprisal", "mean_n_tokens", "token_entropy", "distinct_correct_answers")
Numbers = dict[str, float | None]


class EstimatesSoFar:
    """Follows a folder of completions. Use as a context manager; it never raises, and never holds anything up.

    Args:
        folder: the completions directory.
        pair: the policy ids of base and trained, from what is there; None: nothing is to be compared yet.
        zeta: 1 - confidence of epsilon.
        confidence: of the intervals.
        log: takes the numbers and how many completions they rest on, in a thread of its own.
        say: is told, once, if they cannot be had.
        every_s: seconds from one time to the next.
    """

    def __init__(
        self,
        folder: Path,
        pair: Callable[["Reduced"], tuple[str, str] | None],
        *,
        zeta: float,
        confidence: float,
        log: Callable[[Numbers, int], None],
        say: Callable[[str], None],
        every_s: float,
    ) -> None:
        self._folder, self._pair = folder, pair
        self._zeta, self._confidence = zeta, confidence
        self._log, self._say, self._every_s = log, say, every_s
        self._state: Any = None
        self._seen: set[Path] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self.n_failures = 0
        self.spent_s = 0.0

    def __enter__(self) -> "EstimatesSoFar":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()  # nothing is logged from here on
        self._thread.join(END_S)

    def _follow(self) -> None:
        wait_s = self._every_s
        while not self._over.wait(wait_s):
            started_s = time.monotonic()
            try:
                self.publish()
            except Exception as e:  # whatever it is: a run is worth more than a look at it
                self.n_failures += 1
                if self.n_failures == 1:
                    self._say(
                        f"warning: no estimates so far ({type(e).__name__}: {e}); the run goes on, further failures "
                        "are only counted"
                    )
            if self._state is not None and self._state.nbytes > MOST_BYTES:
                self._say("the estimates so far end here: their state is too large for this process")
                self._state = None
                return
            spent_s = time.monotonic() - started_s
            self.spent_s += spent_s
            wait_s = max(self._every_s, spent_s / MOST_OF_THE_TIME)

    def publish(self) -> None:
        """Log the estimates of all shards that there are; nothing while the policies share no scored problem.

        Raises:
            UsageError: samples are there twice.
        """
        from leash_ray.estimates import estimate
        from leash_ray.measure.measuring import Measuring
        from leash_ray.measure.settings import MeasureConfig
        from leash_ray.reducers import CompletionsState
        from leash_ray.reducers.kept import kept, load

        new = [path for path in parquet_files(self._folder) if path not in self._seen]
        states, without = kept(new)
        if states:
            self._state = (self._state or CompletionsState.empty()).merge(*map(load, states))
        self._seen.update(set(new).difference(without))  # a state may come a moment after its shard
        if self._state is None or self._over.is_set():
            return
        reduced = self._state.finalize()
        pair = self._pair(reduced)
        if pair is None or not _share_problems(reduced, pair):
            return
        measuring = Measuring(self._zeta, MeasureConfig(bootstrap=REPLICATES, confidence=self._confidence))
        found = estimate(reduced, base=pair[0], trained=pair[1], measuring=measuring).to_json()
        if not self._over.is_set():
            self._log(numbers(found), sum(self._state.policies.values()))


def _share_problems(reduced: "Reduced", pair: tuple[str, str]) -> bool:
    scored = reduced.problems.filter(reduced.problems["n"] > 0)
    base, trained = (set(scored.filter(policy=policy)["problem_id"].to_list()) for policy in pair)
    return not base.isdisjoint(trained)


def numbers(found: Mapping[str, Any]) -> Numbers:
    """Of all estimates, those to watch, by flat names such as ``problem/E`` and ``base/pass_at_k/1``."""
    flat: Numbers = {name: found[name] for name in ("n_problems", "k", "epsilon")}
    for unit, support in found["support"].items():
        if support is None:
            continue
        for name in SUPPORT:
            flat[f"{unit}/{name}"] = support[name]
            if limits := support["ci"].get(name):
                flat[f"{unit}/{name}/low"], flat[f"{unit}/{name}/high"] = limits
    for policy, of in found["policies"].items():
        flat |= {f"{policy}/{name}": of[name] for name in OF_A_POLICY}
        flat |= {f"{policy}/pass_at_k/{k}": value for k, value in of["pass_at_k"].items()}
    return flat
