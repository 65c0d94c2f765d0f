"""The sampling stage of a run: what it holds and wants, the policies served, rounds drawn, progress told."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leash_ray.config import RunConfig
from leash_ray.config_file import config_hash
from leash_ray.errors import UsageError
from leash_ray.free_space import require_free_space
from leash_ray.progress import Progress
from leash_ray.run_dir import RunDir
from leash_ray.sampling.budget import design_of
from leash_ray.sampling.dead_letters import DeadLetter
from leash_ray.sampling.held import OriginOf, check
from leash_ray.sampling.origin import origin_of, prompts_hash
from leash_ray.sampling.rounds import Rounds
from leash_ray.sampling.settings import SamplingConfig
from leash_ray.session import Session, models_of, problems_of, prompts_of
from leash_ray.types import Problem

if TYPE_CHECKING:
    from leash_ray.monitor import Monitor
    from leash_ray.policy import ServedPolicy


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
    design = design_of(sampling)
    held = check(run.completions, _origins_of(origins, asked), current.say, design.stop_after_correct or 0)
    pairs = [(name, problem.id) for problem in problems for name in asked]
    rounds = Rounds(
        held, pairs, design, sampling.samples_per_shard, run.path / "dead_letters.jsonl", sampling.max_dead_share
    )
    gaps = rounds.gaps()
    per_row_bytes = 200 + 2 * sampling.max_tokens  # ids and text, compressed
    require_free_space(run.path, per_row_bytes * sum(gap.n for gap in gaps), "the completions")
    if gaps:
        rounds.plan(gaps)
        served = current.serve(models, training=False)
        for name, policy in served.items():
            rounds.give_up(unfit_prompts(policy, asked[name], sampling, design.ends[0]))
        if version:  # the trained policy may have been deployed before it was trained
            served[config.trained].load_weights(models[config.trained], version)
        current.say(_what_is_drawn(config, len(problems), rounds.n_held.total()))
        # Pinned: a replica that is replaced in mid-run must not go on with other weights.
        pinned = {
            config.base: served[config.base].at(0),
            config.trained: served[config.trained].at(version, models[config.trained]),
        }
        if rounds.n_held.total():
            current.remember(problems)
        prompts = {name: [p.prompt for p in asked[name]] for name in asked}
        _draw(current, rounds, problems, prompts, pinned, origins, monitor_of)
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
    assert config.train is not None
    trained = run.stage_info("train")
    if trained is None:
        raise UsageError(f"{run.path} has no trained model yet: run leash train first, with the same --run")
    models[config.trained] = str(run.path.resolve() / trained["model"])
    return models, config.train.steps


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


def _what_is_drawn(config: RunConfig, n_problems: int, n_held: int) -> str:
    sampling = config.sampling
    n = f"{sampling.n} completions"
    if sampling.budget is not None:
        n = f"{sampling.budget.first} to {sampling.budget.max} completions, by need,"
    return (
        f"sampling {n} of {n_problems} problems from each of {config.base} and {config.trained} "
        f"({n_held:,} completions are there)"
    )


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends this as Ctrl-C does, so that what runs on the cluster is taken down and the way to go on is said.
    Ray takes that signal for itself when it starts, and aborts at it."""
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if before is not None:  # not one that C code has set
            signal.signal(signal.SIGTERM, before)


def _draw(
    current: Session,
    rounds: Rounds,
    problems: Sequence[Problem],
    prompts: Mapping[str, Sequence[str]],
    policies: Mapping[str, "ServedPolicy"],
    origins: Mapping[str, Mapping[str, Any]],
    monitor_of: Callable[[RunDir, RunConfig], "Monitor"],
) -> None:
    """Draw round after round, telling how far it is."""
    from leash_ray.sampling.stream import sample_shards

    config, run = current.config, current.run
    progress = Progress(rounds, current.say)
    with sigterm_interrupts(), monitor_of(run, config) as monitor:
        if monitor.url:
            current.say(f"watch {monitor.url}")
        made = rounds.run(
            lambda shards: sample_shards(
                shards,
                run.completions,
                problems,
                config.sampling,
                config.seed,
                policies,
                current.verifier,
                prompts,
                origins,
            )
        )
        for row in made:
            progress.add(row)
            monitor.log("sample", progress.metrics(), step=progress.n_completions)
    current.say(progress.summary())
