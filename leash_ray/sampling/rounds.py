"""Round after round until every pair of a policy and a problem has its samples. No Ray: what draws shards is given."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash_ray.errors import RunFailed
from leash_ray.sampling import dead_letters
from leash_ray.sampling.budget import Design
from leash_ray.sampling.dead_letters import DeadLetter
from leash_ray.sampling.held import Held, Pair
from leash_ray.sampling.shard import Gap, Shard, cut

Make = Callable[[Sequence[Shard]], Iterable[dict[str, Any]]]
"""Draws shards; yields for each what :meth:`~leash_ray.sampling.draw.ShardMaker.make` says of it."""


@dataclass
class Rounds:
    """Draws what is missing, and keeps count of it."""

    held: Held
    pairs: Sequence[Pair]
    design: Design
    samples_per_shard: int
    letters: Path
    """``dead_letters.jsonl``."""
    max_dead_share: float = 0.01
    given_up: set[Pair] = field(default_factory=set)
    """Pairs that have a dead letter: no more is asked of them until the next run."""
    decided: set[Pair] = field(default_factory=set)
    """Pairs that have all their samples."""
    n_held: Counter[str] = field(default_factory=Counter)
    """Completions that are there, by policy, of ``pairs``."""
    n_left: Counter[str] = field(default_factory=Counter)
    """Completions that the current round has still to draw, by policy."""
    n_planned: int = 0
    """Completions held, wanted by now, or dead."""
    dead: Counter[str] = field(default_factory=Counter)
    """Completions that ended as dead letters, by policy."""
    end: int = 0
    """Largest number of samples that the current round brings a problem to."""
    _reasons: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for pair in self.pairs:
            self._look_at(pair)
            self.n_held[pair[0]] += self.held.n(pair)

    @property
    def n_dead(self) -> int:
        return self.dead.total()

    def gaps(self, policies: Container[str] | None = None) -> list[Gap]:
        """What the next round draws, of these policies or all."""
        asked = [p for p in self.pairs if p not in self.given_up and (policies is None or p[0] in policies)]
        return [gap for pair in asked for gap in self.held.gaps(pair, self.design)]

    def plan(self, gaps: Sequence[Gap]) -> None:
        """Count what a round is going to draw."""
        self.n_left = Counter()
        for gap in gaps:
            self.n_left[gap.policy] += gap.n
        self.n_planned = self.n_held.total() + self.n_left.total() + self.n_dead
        self.end = max((gap.end_sample for gap in gaps), default=0)

    def run(self, make: Make, policies: Container[str] | None = None) -> Iterator[Mapping[str, Any]]:
        """Draw until nothing is missing, of these policies or all; yields what ``make`` says of each shard, once it is
        counted.

        Raises:
            RunFailed: more completions than the limit allows ended as dead letters.
        """
        while gaps := self.gaps(policies):
            self.plan(gaps)
            for made in make(cut(gaps, self.samples_per_shard)):
                shard = Shard.from_json(made["shard"])
                self.held.add(shard, made["correct"])
                for problem in shard.problems:
                    self._look_at((shard.policy, problem))
                self.n_held[shard.policy] += shard.n_rows
                self.n_left[shard.policy] -= shard.n_rows
                self.give_up([DeadLetter(**letter) for letter in made["dead"]])
                yield made
            assert not self.n_left.total(), "what a round planned is there or dead"

    def _look_at(self, pair: Pair) -> None:
        if self.held.decided(pair, self.design):
            self.decided.add(pair)

    def give_up(self, letters: Sequence[DeadLetter]) -> None:
        """Record dead letters, and leave their pairs alone.

        Raises:
            RunFailed: there are too many of them now.
        """
        dead_letters.append(self.letters, letters)
        for letter in letters:
            self.given_up.add(letter.pair)
            self.dead[letter.policy] += letter.n
            self.n_left[letter.policy] -= letter.n
            self._reasons[f"{letter.stage}: {letter.reason}"] += letter.n
        if letters and self.n_dead > self.max_dead_share * self.n_planned:
            (reason, _), *others = self._reasons.most_common()
            more = f" (and {len(others)} other reasons)" if others else ""
            raise RunFailed(
                f"sampling stopped: {self.n_dead:,} of {self.n_planned:,} planned completions could not be had, more "
                f"than sampling.max_dead_share ({self.max_dead_share:g}) allows. {reason}{more}. Each is listed in "
                f"{self.letters}. What is finished is kept: remove the cause, or raise the limit, and run the same "
                "command with --resume"
            )
