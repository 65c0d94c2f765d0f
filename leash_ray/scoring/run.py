"""Scoring a run: which completions or texts under which models, what is there already; then the work, one model after
another."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leash_ray.config import RunConfig
from leash_ray.errors import UsageError
from leash_ray.files import parquet_files
from leash_ray.problems_file import read_problems
from leash_ray.run_dir import RunDir
from leash_ray.scoring.prompts import asked_prompts
from leash_ray.scoring.subject import Subject, given_subject, subject_of
from leash_ray.scoring.table import ScoresTable
from leash_ray.scoring.tally import Tally
from leash_ray.scoring.texts import Text, read_texts, short_hash
from leash_ray.scoring.unit import Unit, is_filled
from leash_ray.types import Problem

Say = Callable[[str], None]

TEXTS_A_UNIT = 256


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``leash score`` was asked for."""

    policies: tuple[str, ...] = ()
    """Whose completions; none: each scoring model's own."""
    under: tuple[str, ...] = ()
    """Under which policies; none: completions under their own, given texts under both."""
    model: str | None = None
    name: str | None = None
    texts: Path | None = None
    temperature: float = 1.0
    """Of scores tables; perplexities are those of the whole distribution at 1."""
    actors: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    accept_gap: bool = False


@dataclass(slots=True)
class Result:
    """What a command did under one model."""

    subject: Subject
    scored: Tally = field(default_factory=Tally)
    n_there: int = 0
    """Texts that had been scored before."""
    is_own: bool = False
    """Whether the scoring policy's own completions were among what was asked for."""
    in_table: bool = False
    """Whether what was asked for is in the policy's scores table."""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        tally = self.scored
        return {
            "model": self.subject.model,
            "scored": tally.texts,
            "there_before": self.n_there,
            "unscored": dict(tally.unscored),
            "tokens": tally.tokens,
            "token_entropy": tally.token_entropy if tally.with_steps else None,
            "largest_gap": tally.gap_max if tally.gap_tokens else None,
            "gap_a_token": tally.gap_a_token if tally.gap_tokens else None,
            "cut_a_token": tally.cut_a_token if tally.cut_tokens else None,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """A policy's completions in one shard."""

    shard: Path
    policy: str
    n: int
    metadata: Mapping[bytes, bytes]


def score_run(run: RunDir, config: RunConfig, asked: Asked, say: Say) -> dict[str, Result]:
    """Score a run's completions, or given texts, as ``asked``; the run must be held by the caller.

    Returns:
        By the scoring policy's name.

    Raises:
        UsageError: what was asked for cannot be scored; nothing was.
        RunFailed: scoring failed; what was finished stays.
    """
    problems = read_problems(run.problems_parquet)
    if not problems:
        raise UsageError(f"{run.path} has no problems.parquet, which has the prompts of its completions")
    held = [] if asked.texts else list(_completions(run))
    subjects = _subjects(run, config, asked, held)
    plans = [_plan(run, config, asked, subject, problems, held) for subject in subjects]
    results = {}
    for subject, plan in zip(subjects, plans, strict=True):
        results[subject.name] = _score(run, config, asked, subject, plan, say)
    run.mark_done("score", {name: result.to_json() for name, result in results.items()})
    return results


def _completions(run: RunDir) -> Iterator[_Part]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard in parquet_files(run.completions):
        try:
            with pq.ParquetFile(shard) as file:
                metadata = file.schema_arrow.metadata or {}
                counts = Counter(file.read(columns=["policy"])["policy"].to_pylist())
        except (pa.ArrowException, OSError) as e:
            raise UsageError(
                f"{shard} is damaged ({str(e).splitlines()[0]}): leash sample with --resume draws it again"
            ) from e
        yield from (_Part(shard.absolute(), policy, n, metadata) for policy, n in sorted(counts.items()))


def _subjects(run: RunDir, config: RunConfig, asked: Asked, held: Sequence[_Part]) -> list[Subject]:
    """The models that score.

    Raises:
        UsageError: options that do not go together, an unknown policy, or one without completions.
    """
    if (asked.model is None) != (asked.name is None):
        raise UsageError("give --model and --name together: the model's folder, and its name in tables")
    given = given_subject(config, asked.model, asked.name) if asked.model and asked.name else None
    there = sorted({part.policy for part in held})
    if asked.texts is None:
        if not held:
            raise UsageError(f"{run.path} has no completions to score: run leash sample first, or give --texts FILE")
        if unknown := [p for p in asked.policies if p not in there]:
            raise UsageError(f"the run has no completions of policy {unknown[0]!r}; it has those of {', '.join(there)}")
    elif asked.policies:
        raise UsageError("--policy says whose completions are scored: with --texts give --under, or leave it out")
    names = asked.under or ((given.name,) if given else ())
    if not names:
        names = (config.base, config.trained) if asked.texts else asked.policies or tuple(there)
    if given and not asked.texts and not asked.under and not asked.policies and given.name not in there:
        raise UsageError(
            f"the run has no completions of {given.name!r} itself: say with --policy whose to score under it (there is "
            f"{', '.join(there)}), or give --texts FILE"
        )
    return [given if given and name == given.name else subject_of(config, run, name) for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class _Plan:
    table: ScoresTable
    prompts: dict[str, str]
    units: list[Unit]
    n_todo: int
    n_there: int
    is_own: bool
    writes_table: bool


def _plan(
    run: RunDir, config: RunConfig, asked: Asked, subject: Subject, problems: Sequence[Problem], held: Sequence[_Part]
) -> _Plan:
    """What is left to do under one model."""
    table = ScoresTable(run.path.absolute(), subject.name, subject.identity, asked.temperature)
    prompts = asked_prompts(config, run, problems, subject)
    if asked.texts is not None:
        table.refuse_others()
        units, n_todo, n_there = _text_units(read_texts(asked.texts, problems), table, prompts)
        return _Plan(table, prompts, units, n_todo, n_there, False, True)
    crossed = bool(asked.under) or bool(asked.model and asked.policies)
    policies = asked.policies or (tuple(sorted({p.policy for p in held})) if asked.under else (subject.name,))
    if crossed:
        table.refuse_others()
        for policy in policies:
            _refuse_other_tokens(run, config, subject, policy)
    if subject.name in policies and config.sampling.temperature == 0:
        raise UsageError(
            f"the completions of {subject.name!r} were sampled at temperature 0, where every step is certain: there is "
            "no entropy to fill in. --texts scores texts under it"
        )
    done = table.units_done() if crossed else set()
    units, n_todo, n_there = [], 0, 0
    for part in held:
        if part.policy not in policies:
            continue
        own = part.policy == subject.name
        fill = own and not is_filled(part.metadata, part.policy, table.model, config.sampling.temperature)
        name = f"{part.policy}--{part.shard.relative_to(run.completions.absolute()).with_suffix('')}".replace("/", "--")
        to_write = name if crossed and name not in done else ""
        if fill or to_write:
            units.append(Unit(str(part.shard), part.policy, fill, to_write))
            n_todo += part.n
        else:
            n_there += part.n
    return _Plan(table, prompts, units, n_todo, n_there, subject.name in policies, crossed)


def _text_units(texts: Sequence[Text], table: ScoresTable, prompts: Mapping[str, str]) -> tuple[list[Unit], int, int]:
    done = table.texts_done()
    todo = []
    for text in texts:
        digest = text.digest(prompts[text.problem_id] if text.prompt is None else text.prompt)
        if done.get((text.source, text.problem_id, text.text_id)) != digest:
            todo.append(text)
    todo.sort(key=lambda text: len(text.text))  # neighbours pad each other little
    buckets = [tuple(todo[i : i + TEXTS_A_UNIT]) for i in range(0, len(todo), TEXTS_A_UNIT)]
    units = [
        Unit(part=f"texts--{short_hash(*(part for t in bucket for part in (t.problem_id, t.text)))}", texts=bucket)
        for bucket in buckets
    ]
    return units, len(todo), len(texts) - len(todo)


def _refuse_other_tokens(run: RunDir, config: RunConfig, subject: Subject, policy: str) -> None:
    """Refuse to score token ids under a model to which they mean other tokens."""
    if policy == subject.name or policy not in config.policies:
        return
    drew = subject_of(config, run, policy)
    if drew.model != subject.model and drew.tokenizer().get_vocab() != subject.tokenizer().get_vocab():
        raise UsageError(
            f"the models of {policy!r} and {subject.name!r} have different tokenizers, so the token ids of one mean "
            "nothing to the other: write the texts to JSONL and give --texts"
        )


def _score(run: RunDir, config: RunConfig, asked: Asked, subject: Subject, plan: _Plan, say: Say) -> Result:
    result = Result(subject, n_there=plan.n_there, is_own=plan.is_own)
    what = "texts" if asked.texts else "completions"
    if plan.units:
        from leash_ray import cluster
        from leash_ray.scoring.stream import Job, Pool, score_units

        # Of every pool of Ray Data's actors Ray warns that their arguments may get lost, which this process holds.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        cluster.connect(config.ray.address, config.ray.num_cpus)
        pool = Pool.of(subject, cluster.device(config.device), asked.actors)
        line = cluster.require([pool.claim], wait=config.ray.wait_for_nodes)
        cluster.require_shared(run.path)
        there = f" ({plan.n_there:,} are there)" if plan.n_there else ""
        say(f"{line}; scoring {plan.n_todo:,} {what}{there} under {subject.name}, {subject.model}")
        started_s = time.monotonic()
        job = Job(subject, plan.prompts, config.sampling.params, plan.table, dict(asked.limits), asked.accept_gap)
        for tally in score_units(plan.units, job, pool, plan.n_todo, say):
            result.scored.add(tally)
        result.seconds = time.monotonic() - started_s
        for text in lines_of(result, config, what):
            say(text)
    else:
        say(f"all {plan.n_there:,} {what} are scored under {subject.name} already")
    if plan.writes_table and (plan.units or plan.table.parts.is_dir()):
        plan.table.finish()
    result.in_table = plan.writes_table
    return result


def lines_of(result: Result, config: RunConfig, what: str) -> Iterator[str]:
    """What became of the texts under one model, for people."""
    tally, name = result.scored, result.subject.name
    rate = f"in {result.seconds:.0f} s ({tally.tokens / max(1e-9, result.seconds):,.0f} tokens/s)"
    of = "its own" if result.is_own else "the texts"
    entropy = f"; token entropy of {of} {tally.token_entropy:.4g} nats" if tally.with_steps else ""
    yield f"scored {tally.texts:,} {what} under {name}, {tally.tokens:,} tokens {rate}{entropy}"
    for reason, n in sorted(tally.unscored.items()):
        yield f"  {n:,} {what} could not be scored: {reason}"
    if tally.gap_tokens:
        yield (
            f"  ln p agrees with what sampling stored: largest gap {tally.gap_max:.2g} nats a completion, mean "
            f"{tally.gap_a_token:.2g} a token"
        )
    if tally.cut_tokens:
        share = f"about {-math.expm1(-tally.cut_a_token):.2%} of the probability"
        yield (
            f"  top_p, top_k or min_p took {tally.cut_a_token:.3g} nats a token, {share}, from what was sampled; the "
            "entropies are those of the whole distribution"
        )
