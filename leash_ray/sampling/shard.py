"""A shard: completions that are written as one file, whole or not at all."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shard:
    """Samples ``first_sample..end_sample`` of each of some problems, of one policy."""

    policy: str
    problems: tuple[str, ...]
    """Ids, in the order of the rows."""
    first_sample: int
    end_sample: int

    @property
    def path(self) -> Path:
        """Relative to the completions directory. The same completions have the same name, and others have another."""
        digest = hashlib.blake2b("\n".join(self.problems).encode(), digest_size=6).hexdigest()
        name = f"p{digest}-{len(self.problems)}_s{self.first_sample:06d}-{self.end_sample:06d}.parquet"
        return Path(self.policy) / name

    @property
    def n_samples(self) -> int:
        """Of each problem."""
        return self.end_sample - self.first_sample

    @property
    def n_rows(self) -> int:
        return len(self.problems) * self.n_samples

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Shard":
        """What :meth:`to_json` gave."""
        fields = json.loads(text)
        return Shard(**{**fields, "problems": tuple(fields["problems"])})


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples of one problem and policy that are wanted and not there."""

    policy: str
    problem: str
    first_sample: int
    end_sample: int

    @property
    def n(self) -> int:
        return self.end_sample - self.first_sample


def cut(gaps: Iterable[Gap], samples_per_shard: int) -> list[Shard]:
    """Shards of about ``samples_per_shard`` completions that fill the gaps, each gap's problem in order.

    Problems that lack the same samples share shards; policies take turns, so that every policy's engine is at work
    from the first shard to the last.
    """
    alike: dict[tuple[str, int, int], list[str]] = {}
    for gap in gaps:
        alike.setdefault((gap.policy, gap.first_sample, gap.end_sample), []).append(gap.problem)
    of_policy: dict[str, list[Shard]] = {}
    for (policy, first, end), problems in alike.items():
        at_once = max(1, samples_per_shard // (end - first))
        of_policy.setdefault(policy, []).extend(
            Shard(policy, tuple(problems[p : p + at_once]), s, min(s + samples_per_shard, end))
            for p in range(0, len(problems), at_once)
            for s in range(first, end, samples_per_shard)  # one after another: its prompt is cached
        )
    turns = [(i / len(own), of, s) for of, own in enumerate(of_policy.values()) for i, s in enumerate(own)]
    return [shard for *_, shard in sorted(turns, key=lambda turn: turn[:2])]


def plan_shards(policies: Sequence[str], problems: Sequence[str], n: int, samples_per_shard: int) -> list[Shard]:
    """The shards of ``n`` completions of every problem (ids) and policy, where nothing is there yet."""
    return cut((Gap(policy, p, 0, n) for p in problems for policy in policies), samples_per_shard)
