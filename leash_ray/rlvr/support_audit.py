"""The support audit while training: every so many steps, what the policy still reaches of what its base did.

Every worker draws its share of the held-out problems from the served policy, between two training steps; worker 0
measures, tells, and decides what the guard does, and all hear of it. Nothing of it touches training: completions have
random streams of their own, and an audit that fails is told and counted, and training goes on.

In a run's directory: ``audits/completions`` is a completions table of the base and of ``trained@step``, which
``leash reduce`` reads as a series; ``audits/step-N.json`` is what one audit found. What is of later steps than a
resumed run begins at is removed, since those steps are done again.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from leash_ray.files import parquet_files, write_json
from leash_ray.monitor import Table
from leash_ray.rlvr.audit_draw import Drawn, clear, draw, share
from leash_ray.rlvr.audit_measure import changes, describe, groups_before, measure
from leash_ray.rlvr.audit_plan import FOLDER, STAGE, AuditPlan, completions_folder, result_path
from leash_ray.rlvr.guard import guard, raised
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.held import Held, Pair, check
from leash_ray.sampling.origin import prompts_hash
from leash_ray.sampling.rounds import Rounds
from leash_ray.stats.series import step_of

if TYPE_CHECKING:
    from leash_ray.policy import ServedPolicy
    from leash_ray.rlvr.trainer import TrainJob
    from leash_ray.rlvr.watched import Log

T = TypeVar("T")


class _Failed(Exception):
    """Some worker's part failed; raised on all of them."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """What worker 0 found before anything is drawn."""

    base: Held
    """The base's completions that are there."""
    lacks_base: bool
    """Whether some are not, of any worker."""


class SupportAudit:
    """One worker's part. All workers call the same methods at the same time.

    Args:
        rank: this worker.
        gather: each worker's value, in the order of ranks.
        log: worker 0's way to tell; the others' does nothing.
        learner: has ``kl_coef``, which the guard may raise.
        folder_of: where the weights after some steps are, as the policy's replicas load them.
    """

    def __init__(
        self,
        job: "TrainJob",
        plan: AuditPlan,
        rank: int,
        gather: Callable[[Any], list[Any]],
        log: "Log",
        learner: Any,
        folder_of: Callable[[int], Path],
    ) -> None:
        self._job, self._plan, self._rank, self._gather = job, plan, rank, gather
        self._log, self._learner, self._folder_of = log, learner, folder_of
        self._path = job.run_path
        self._own = plan.problems[rank :: job.config.workers]
        self._has_base = False
        self._since_s = time.perf_counter()
        self.n_failures = 0

    def start(self, step: int) -> bool:
        """Before the first step of a run that begins after ``step`` steps; the replicas have those weights.

        Returns:
            Whether the guard stopped training there, before it was cut off.
        """
        stopped = False
        if self._rank == 0:
            stopped = self._rewind(step)
        stopped = self._gather(stopped)[0]
        if step == 0:
            self._guarded(0, lambda: self._audit(0) if self._plan.config.at_start else self._only_base())
        self._since_s = time.perf_counter()
        return stopped

    def after(self, step: int) -> bool:
        """After ``step`` steps: an audit, if one is due; whether training is to stop here."""
        if not self._plan.is_due(step, self._job.config.steps):
            return False
        action = self._guarded(step, lambda: self._audit(step))
        if action == "kl":
            self._learner.kl_coef = raised(self._learner.kl_coef, self._plan.config)
        self._since_s = time.perf_counter()
        return action == "stop"

    def _guarded(self, step: int, work: Callable[[], str | None]) -> str | None:
        try:
            return work()
        except _Failed as e:
            self.n_failures += 1
            print(f"warning: the audit of step {step} failed ({e}); training goes on", file=sys.stderr)
            self._log({"failures": self.n_failures, "error": str(e)}, step, STAGE)
            return None

    def _together(self, work: Callable[[], T]) -> list[T]:
        """Each worker's ``work``; where one fails, all fail, so that none waits for another.

        Raises:
            _Failed: with the first one's reason.
        """
        try:
            outcome: tuple[T | None, str] = (work(), "")
        except Exception as e:  # whatever it is: training is worth more than a look at it
            outcome = None, f"{type(e).__name__}: {e}"
        outcomes = self._gather(outcome)
        for _, reason in outcomes:
            if reason:
                raise _Failed(reason)
        return [value for value, _ in outcomes]

    def _only_base(self) -> None:
        """Draw the base's completions where there are none yet."""
        started_s = time.perf_counter()
        drawn = self._base(self._prepared(0, clears=False))
        seconds = time.perf_counter() - started_s
        self._log({**self._cost(drawn, seconds), "n_problems": len(self._plan.problems)}, 0, STAGE)

    def _audit(self, step: int) -> str | None:
        started_s = time.perf_counter()
        drawn = self._base(self._prepared(step, clears=True))
        drawn += self._drawn(self._plan.policy_at(step), Held(), self._job.policy.at(step, str(self._folder_of(step))))

        def told() -> str | None:
            return self._tell(step, drawn, started_s) if self._rank == 0 else None

        return self._together(told)[0]

    def _prepared(self, step: int, clears: bool) -> _Ready:
        """What is there, after clearing what an earlier try at this audit left."""
        folder = completions_folder(self._path)

        def prepare() -> _Ready | None:
            if self._rank:
                return None
            if clears:
                clear(folder / self._plan.policy_at(step))
            if self._has_base:
                return _Ready(Held(), False)
            held = check(folder, self._origin_of_base, lambda line: print(line, file=sys.stderr))
            pairs = [(self._plan.base, problem.id) for problem in self._plan.problems]
            return _Ready(held, not all(held.decided(pair, self._plan.design) for pair in pairs))

        ready = self._together(prepare)[0]
        assert ready is not None
        return ready

    def _origin_of_base(self, policy: str, problems: tuple[str, ...]) -> Mapping[str, Any] | None:
        known = {problem.id: problem for problem in self._plan.problems}
        if policy != self._plan.base or not known.keys() >= set(problems):
            return None
        return {**self._plan.origin_at(0), "prompts": prompts_hash(known[p] for p in problems)}

    def _base(self, ready: _Ready) -> Drawn:
        """Draw what the base lacks: with its weights back in the replicas, if training has left them behind."""
        plan, drawn = self._plan, Drawn()
        if ready.lacks_base:
            drawn = self._drawn(plan.base, ready.base, self._job.policy.at(0, self._job.model))
        if not self._has_base and plan.shared:
            self._together(self._share)
        self._has_base = True
        return drawn

    def _share(self) -> None:
        if self._rank == 0:
            shards = parquet_files(completions_folder(self._path) / self._plan.base)
            share(shards, self._path / "completions", self._plan.shared)

    def _drawn(self, name: str, held: Held, policy: "ServedPolicy") -> Drawn:
        """Every worker's share of one policy's completions; how much that was of all."""
        job, plan = self._job, self._plan
        pairs: list[Pair] = [(name, problem.id) for problem in self._own]
        version = policy.version or 0
        maker = ShardMaker(
            completions_folder(self._path),
            self._own,
            plan.sampling.params,
            job.seed,
            {name: policy},
            job.verifier,
            origins={name: plan.origin_at(version)},
            max_tries=plan.sampling.max_tries,
        )

        def mine() -> Drawn:
            letters = self._path / FOLDER / f"dead_letters-{self._rank}.jsonl"
            letters.parent.mkdir(exist_ok=True)
            rounds = Rounds(
                held, pairs, plan.design, plan.sampling.samples_per_shard, letters, plan.sampling.max_dead_share
            )
            return draw(rounds, maker, plan.sampling.in_flight)

        return sum(self._together(mine), start=Drawn())

    def _tell(self, step: int, drawn: Drawn, started_s: float) -> str | None:
        """Measure, write, log; what the guard does."""
        plan, audit = self._plan, self._plan.config
        found = measure(plan, self._path, step)
        changed = changes(groups_before(self._path, step), found.groups)
        rows = describe(plan, self._path, step, changed)
        low = found.numbers.get("problem/NSCR/low")
        action = guard(low, audit)
        kl_coef = raised(self._learner.kl_coef, audit) if action == "kl" else self._learner.kl_coef
        cost = self._cost(drawn, time.perf_counter() - started_s)
        counts = {name: len(problems) for name, problems in changed.items()}
        acted = {"bound": audit.guard, "low": low, "action": action, "kl_coef": kl_coef}
        write_json(
            result_path(self._path, step),
            {
                "step": step,
                "base": plan.base,
                "trained": plan.policy_at(step),
                "numbers": {**found.numbers, **cost},
                "groups": {g: [p for p, group in found.groups.items() if group == g] for g in "PESO"},
                "changes": rows,
                "guard": acted if audit.guard is not None else None,
            },
        )
        columns = ("change", "problem_id", "correct", "answer")
        table = Table(columns, [tuple(row[c] for c in columns) for row in rows])
        row: dict[str, Any] = {**found.numbers, **counts, **cost, "kl_coef": kl_coef, "guard": action, "changes": table}
        self._log(row, step, STAGE)
        return action

    def _cost(self, drawn: Drawn, seconds: float) -> dict[str, float]:
        whole_s = time.perf_counter() - self._since_s
        return {
            "completions": drawn.completions,
            "tokens": drawn.tokens,
            "dead_letters": drawn.dead,
            "seconds": seconds,
            "share_of_time": seconds / max(seconds, whole_s),
            "failures": self.n_failures,
        }

    def _rewind(self, step: int) -> bool:
        """Remove the audits of later steps; whether that of this one has stopped training."""
        for path in (self._path / FOLDER).glob("step-*.json"):
            if self._is_later(int(path.stem.removeprefix("step-")), step):
                path.unlink()
        for path in completions_folder(self._path).glob(f"{self._plan.trained}@*"):
            if (of := step_of(path.name)) is not None and self._is_later(of, step):
                clear(path)
        path = result_path(self._path, step)
        if not path.is_file():
            return False
        found = json.loads(path.read_text(encoding="utf-8"))
        return (found.get("guard") or {}).get("action") == "stop"

    @staticmethod
    def _is_later(of: int, step: int) -> bool:
        """Whether an audit is done again by a run that begins after ``step`` steps; before any, all are."""
        return of > step or step == 0
