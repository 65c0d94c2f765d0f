"""The sampling stage of a run: what it holds and wants, the policies served, rounds drawn, progress told."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import RunConfig
from leash_ray.config_file import config_hash
from leash_ray.errors import UsageError
from leash_ray.free_space import require_free_space
from leash_ray.interrupts import sigterm_interrupts
from leash_ray.progress import Numbers, Progress
from leash_ray.ray_metrics import RayMetrics
from leash_ray.run_dir import RunDir
from leash_ray.sampling.borrow import borrow
from leash_ray.sampling.budget import design_of
from leash_ray.sampling.dead_letters import DeadLetter
from leash_ray.sampling.held import OriginOf, check
from leash_ray.sampling.origin import origin_of, prompts_hash
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.sampling.shard import Gap
from leash_ray.session import Session, models_of, problems_of, prompts_of
from leash_ray.types import Problem

if TYPE_CHECKING:
    from leash_ray.monitor import Monitor
    from leash_ray.policy import ServedPolicy
    from leash_ray.so_far import EstimatesSoFar


def is_sampled(config: RunConfig, run: RunDir) -> bool:
    """Whether a run has all the completions that ``config`` asks for, none of them a dead letter."""
    info = run.stage_info("sample")
    return info is not None and not info.get("dead") and info.get("wanted", _wanted(config)) == _wanted(config)


def _wanted(config: RunConfig) -> dict[str, Any]:
    budget = config.sampling.budget
    return {
        "policies": [config.base, config.trained],
        "task": config_hash(config.task.model_dump(mode="json")),
        "n": config.sampling.n,
        "budget": None if budget is None else budget.model_dump(mode="json"),
    }


def sample(current: Session, monitor_of: Callable[[RunDir, RunConfig], "Monitor"]) -> Path:
    """Sample both policies on the measured problems; returns the completions' folder.

    A policy that lacks nothing is not served.

    Raises:
        UsageError: there is no trained model yet, or the folder holds completions of another origin.
        RunFailed: a policy is gone, the disk is full, or too much ended as dead letters; the same goes on from there.
    """
    config, run, sampling = current.config, current.run, current.config.sampling
    if is_sampled(config, run):
        return run.completions
    models, version = models_to_sample(config, run)
    problems = problems_of(config, run)
    asked = prompts_of(config, run, problems)
    versions = {config.base: 0, config.trained: version}
    origins = {
        name: origin_of(sampling.params, config.seed, config.policies[name], models[name], versions[name])
        for name in asked
    }
    design, wanted = design_of(sampling), _origins_of(origins, asked)
    if sampling.base_from is not None:
        borrow(run, config.base, sampling.base_from, wanted, current.say)
    held = check(run.completions, wanted, current.say, design.stop_after_correct or 0)
    pairs = [(name, problem.id) for problem in problems for name in asked]
    rounds = Rounds(
        held, pairs, design, sampling.samples_per_shard, run.path / "dead_letters.jsonl", sampling.max_dead_share
    )
    gaps = rounds.gaps()
    per_row_bytes = 200 + 2 * sampling.max_tokens  # ids and text, compressed
    require_free_space(run.path, per_row_bytes * sum(gap.n for gap in gaps), "the completions")
    if gaps:
        drawing = Drawing(current, rounds, problems, asked, models, versions, origins)
        drawing.draw(turns(gaps, [config.base, config.trained], sampling.concurrent), monitor_of)
    done = {"completions": rounds.n_held.total(), "dead": rounds.n_dead, "wanted": _wanted(config)}
    run.mark_done("sample", done)
    if rounds.n_dead:
        current.say(
            f"{rounds.n_dead:,} completions could not be had ({rounds.letters} says why): the same command with "
            "--resume tries them again"
        )
    return run.completions


def models_to_sample(config: RunConfig, run: RunDir) -> tuple[dict[str, str], int]:
    """Each policy's model, and the version (steps of training) of the trained one; 0 where it was not trained here."""
    models = models_of(config)
    if config.policies[config.trained].model is not None:
        return models, 0
    trained = run.stage_info("train")
    if trained is None:
        raise UsageError(f"{run.path} has no trained model yet: run leash train first, with the same --run")
    models[config.trained] = str(run.path.resolve() / trained["model"])
    return models, trained["steps"]


def _origins_of(origins: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Sequence[Problem]]) -> OriginOf:
    by_id = {name: {problem.id: problem for problem in problems} for name, problems in asked.items()}

    def wanted(policy: str, problems: tuple[str, ...]) -> dict[str, Any] | None:
        if policy not in origins or not by_id[policy].keys() >= set(problems):
            return None
        return {**origins[policy], "prompts": prompts_hash(by_id[policy][p] for p in problems)}

    return wanted


def unfit_prompts(
    policy: "ServedPolicy", problems: Sequence[Problem], sampling: SamplingConfig, n: int
) -> list[DeadLetter]:
    """Dead letters of ``n`` completions for each prompt that leaves no room for the completion.

    Raises:
        UsageError: they are a larger share than ``max_dead_share``: then the settings are wrong, not the prompts.
    """
    try:
        policy.check_prompts(problems, sampling.max_tokens)
        return []
    except UsageError as e:
        refusal = e
    found = []
    for problem in _refused(policy, problems, sampling.max_tokens):
        found.append(DeadLetter(policy.name, problem.id, 0, n, "prompt", "it does not fit the context", 1))
        if len(found) > sampling.max_dead_share * len(problems):
            raise refusal
    return found


def _refused(policy: "ServedPolicy", problems: Sequence[Problem], max_tokens: int) -> Iterator[Problem]:
    """The problems that are refused by themselves, given that some of them are."""
    if len(problems) == 1:
        yield problems[0]
        return
    for half in (problems[: len(problems) // 2], problems[len(problems) // 2 :]):
        try:
            policy.check_prompts(half, max_tokens)
        except UsageError:
            yield from _refused(policy, half, max_tokens)


def turns(gaps: Sequence[Gap], policies: Sequence[str], concurrent: bool) -> list[list[str]]:
    """Which policies are served and drawn at the same time, one turn after another: those of ``policies`` that lack
    something, all at once or one by one. Which completions they give does not depend on it."""
    lacking = [policy for policy in policies if any(gap.policy == policy for gap in gaps)]
    return [lacking] if concurrent else [[policy] for policy in lacking]


@dataclass(frozen=True)
class Drawing:
    """What the turns of one command share."""

    current: Session
    rounds: Rounds
    problems: Sequence[Problem]
    asked: Mapping[str, Sequence[Problem]]
    """Policy -> the problems as it is asked them."""
    models: Mapping[str, str]
    versions: Mapping[str, int]
    origins: Mapping[str, Mapping[str, Any]]

    def draw(self, turns: Sequence[Sequence[str]], monitor_of: Callable[[RunDir, RunConfig], "Monitor"]) -> None:
        """Turn after turn: serve, then draw round after round, telling how far it is."""
        current = self.current
        current.device  # noqa: B018  (joins Ray, which takes SIGTERM for itself)
        for policies in turns if len(turns) > 1 else ():
            current.require(policies, training=False)  # what does not fit is refused before the first turn, not after
        with sigterm_interrupts(), ExitStack() as open_:
            monitor, shown = None, None
            for policies in turns:
                served = self._serve(policies)
                if monitor is None or shown is None:
                    monitor = open_.enter_context(monitor_of(current.run, current.config))
                    shown = open_.enter_context(RayMetrics(current.run.name, current.say))
                    if monitor.url:
                        current.say(f"watch {monitor.url}")
                    if current.config.monitor.estimates_every_s:
                        open_.enter_context(_estimates_so_far(current, monitor, shown))
                self._draw(policies, served, monitor, shown)

    def _serve(self, policies: Sequence[str]) -> dict[str, "ServedPolicy"]:
        """The policies, each pinned to its version: a replica that is replaced in mid-run must not go on with other
        weights."""
        current, rounds, sampling = self.current, self.rounds, self.current.config.sampling
        rounds.plan(rounds.gaps(policies))
        served = current.serve({name: self.models[name] for name in policies}, training=False)
        for name, policy in served.items():
            rounds.give_up(unfit_prompts(policy, self.asked[name], sampling, rounds.design.ends[0]))
            if version := self.versions[name]:  # it may have been deployed before it was trained
                policy.load_weights(self.models[name], version)
        current.say(_what_is_drawn(current.config, policies, len(self.problems), rounds))
        if rounds.n_held.total():
            current.remember(list(self.problems))
        trained = current.config.trained
        return {
            name: policy.at(self.versions[name], self.models[name] if name == trained else None)
            for name, policy in served.items()
        }

    def _draw(
        self, policies: Sequence[str], served: Mapping[str, "ServedPolicy"], monitor: "Monitor", shown: RayMetrics
    ) -> None:
        from leash_ray.sampling.stream import sample_shards

        current, rounds, config = self.current, self.rounds, self.current.config

        def log(numbers: Mapping[str, Numbers]) -> None:
            shown.set(numbers)
            rate = sum(of_policy["tokens_per_s"] or 0.0 for of_policy in numbers.values())
            flat = {f"{policy}/{name}": value for policy, found in numbers.items() for name, value in found.items()}
            monitor.log("sample", {"tokens_per_s": rate, **flat}, step=rounds.n_held.total())

        progress = Progress(rounds, policies, current.say, log)
        prompts = {name: [problem.prompt for problem in self.asked[name]] for name in policies}
        try:
            for row in rounds.run(
                lambda shards: sample_shards(
                    shards,
                    current.run.completions,
                    self.problems,
                    config.sampling,
                    config.seed,
                    served,
                    current.verifier,
                    prompts,
                    self.origins,
                ),
                policies,
            ):
                progress.add(row)
        finally:
            progress.log()
        current.say(progress.summary())


def _estimates_so_far(current: Session, monitor: "Monitor", shown: RayMetrics) -> "EstimatesSoFar":
    from leash_ray.so_far import EstimatesSoFar, Numbers

    config = current.config

    def log(found: Numbers, n: int) -> None:
        shown.set_estimates(found)
        monitor.log("estimates", found, step=n)

    return EstimatesSoFar(
        current.run.completions,
        lambda found: (config.base, config.trained),
        zeta=config.zeta,
        confidence=config.measure.confidence,
        log=log,
        say=current.say,
        every_s=config.monitor.estimates_every_s,
    )


def _what_is_drawn(config: RunConfig, policies: Sequence[str], n_problems: int, rounds: Rounds) -> str:
    sampling = config.sampling
    n = f"{sampling.n} completions"
    if sampling.budget is not None:
        n = f"{sampling.budget.first} to {sampling.budget.max} completions, by need,"
    each = "each of " if len(policies) > 1 else ""
    n_held = sum(rounds.n_held[policy] for policy in policies)
    return (
        f"sampling {n} of {n_problems} problems from {each}{' and '.join(policies)} ({n_held:,} completions are there)"
    )
