"""The estimates so far, while sampling goes on: from the states of the shards that have been written.

Each time only the states of new shards are read; what they add is merged, and support with its intervals, pass@k and
entropies are logged under ``estimates``. The next time comes no sooner than the cost allows: reducing takes at most
``MOST_OF_THE_TIME`` of one core.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.errors import UsageError
from leash_ray.files import parquet_files

if TYPE_CHECKING:
    from leash_ray.measure.measuring import Measuring

MOST_OF_THE_TIME = 0.02
_PER_POLICY = ("answer_entropy", "mean_surprisal", "mean_n_tokens", "token_entropy", "distinct_correct_answers")


class EstimatesSoFar:
    """Follows a folder of completions.

    Args:
        folder: the completions directory.
        base, trained: policy ids.
        measuring: how to measure; few replicates of the bootstrap will do here.
        log: takes the numbers and how many completions they rest on.
        every_s: seconds from one time to the next.
    """

    def __init__(
        self,
        folder: Path,
        base: str,
        trained: str,
        measuring: "Measuring",
        log: Callable[[Mapping[str, Any], int], None],
        every_s: float,
    ) -> None:
        from leash_ray.reducers import CompletionsState

        self._folder, self._base, self._trained = folder, base, trained
        self._measuring, self._log, self._every_s = measuring, log, every_s
        self._state = CompletionsState.empty()
        self._seen: set[Path] = set()
        self._due_s = time.monotonic() + every_s
        self.spent_s = 0.0

    def tick(self) -> None:
        """Log the estimates if it is time to."""
        if time.monotonic() >= self._due_s:
            started_s = time.monotonic()
            self.publish()
            spent_s = time.monotonic() - started_s
            self.spent_s += spent_s
            self._due_s = time.monotonic() + max(self._every_s, spent_s / MOST_OF_THE_TIME)

    def publish(self) -> None:
        """Log the estimates of all shards that there are; nothing while a policy has none, or samples are double."""
        from leash_ray.estimates import estimate
        from leash_ray.reducers.kept import kept, load

        new = [path for path in parquet_files(self._folder) if path not in self._seen]
        states, without = kept(new)
        self._seen.update(path for path in new if path not in without)  # a state may come a moment after its shard
        if states:
            self._state = self._state.merge(*map(load, states))
        try:
            found = estimate(
                self._state.finalize(), base=self._base, trained=self._trained, measuring=self._measuring
            ).to_json()
        except UsageError:
            return
        self._log(numbers(found), sum(self._state.policies.values()))


def numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    """Of all estimates, those to watch, by flat names such as ``problem/E`` and ``base/pass_at_k/1``."""
    flat: dict[str, Any] = {name: found[name] for name in ("n_problems", "k", "epsilon")}
    for unit, support in found["support"].items():
        if support is None:
            continue
        for name in ("P", "E", "S", "O", "SRR", "NDR", "SDS", "NSCR"):
            flat[f"{unit}/{name}"] = support[name]
            if limits := support["ci"].get(name):
                flat[f"{unit}/{name}/low"], flat[f"{unit}/{name}/high"] = limits
    for policy, of in found["policies"].items():
        flat |= {f"{policy}/{name}": of[name] for name in _PER_POLICY}
        flat |= {f"{policy}/pass_at_k/{k}": value for k, value in of["pass_at_k"].items()}
    return flat
