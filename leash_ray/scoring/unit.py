"""Units of work: a shard of stored completions, or some given texts, scored by one model and written. Knows no Ray.

A unit writes whole files or none, so one that was stopped is done again and one that is done is there.

Completions are scored by their own token ids, never by their text, which may read as other tokens. The prompt's tokens
are those that sampling gave the engine. A given text has no ids: it is tokenised apart from its prompt and put after
it, so that the same tokens are scored under every prompt, even where a tokenizer would join the two at the seam; no
end of sequence is added.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from leash_ray.errors import UsageError
from leash_ray.scoring.cut import SCORED, is_cut, most_cut_nats
from leash_ray.scoring.table import ScoresTable
from leash_ray.scoring.tally import MAX_GAP_A_TOKEN, Tally
from leash_ray.scoring.texts import Text, short_hash
from leash_ray.shard_verdicts import write_shard
from leash_ray.types import COMPLETIONS_SCHEMA, SamplingParams

OnTexts = Callable[[int, int], None]
"""Told of scored texts and their tokens."""


class Scores(Protocol):
    """:class:`~leash_ray.scoring.scorer.Scored`."""

    @property
    def logprob_sum(self) -> float: ...
    @property
    def entropy_sum(self) -> float: ...


class TextScorer(Protocol):
    """:class:`~leash_ray.scoring.scorer.Scorer`."""

    def score_many(
        self, sequences: Any, temperatures: Sequence[float], on_batch: Any
    ) -> Sequence[Sequence[Scores]]: ...


class _Item(NamedTuple):
    """A completion in a shard."""

    row: int
    problem: str
    ids: list[int] | None
    """None: missing, or not as many as n_tokens says."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The completions of one policy in one shard, or some given texts."""

    shard: str = ""
    policy: str = ""
    fill: bool = False
    """Write their entropies into the shard: these completions are the scoring policy's own."""
    part: str = ""
    """Name of the part of the scores table to write; none: no scores."""
    texts: tuple[Text, ...] = ()


@dataclass(frozen=True)
class UnitScorer:
    """Scores units under one model."""

    scorer: TextScorer
    tokenizer: Any
    table: ScoresTable
    prompts: Mapping[str, str]
    """Problem id -> what the model is asked."""
    sampling: SamplingParams
    """How the run sampled: entropies in shards are at its temperature, which is above 0 where any are asked for."""
    context: int | None
    """Longest sequence in tokens; None: any."""
    accept_gap: bool = False
    """Fill entropies even where ln p is not what sampling stored."""
    on_texts: OnTexts = lambda texts, tokens: None
    _prompt_ids: dict[str, list[int]] = field(default_factory=dict)

    def score(self, unit: Unit) -> Tally:
        """Score the unit and write what it asks for.

        Raises:
            UsageError: the shard has no token ids, tokens are not this model's, or ln p is not what sampling stored.
        """
        try:
            return self._shard(unit) if unit.shard else self._texts(unit)
        except ValueError as e:
            raise UsageError(f"{unit.shard or 'given texts'}: {e}") from e

    def _shard(self, unit: Unit) -> Tally:
        path = Path(unit.shard)
        table = pq.read_table(path, partitioning=None)
        if "token_ids" not in table.column_names:
            raise UsageError(
                f"{path} has no column token_ids, which is what is scored; texts without ids are scored with --texts"
            )
        table = table.combine_chunks()
        tally, items = Tally(), _completions(table, unit.policy)
        temperatures = [self.sampling.temperature] if unit.fill else []
        temperatures += [self.table.temperature] if unit.part else []
        scored = self._score([(i.problem, i.ids) for i in items], temperatures, tally, is_own=unit.fill)
        done = [(item, found) for item, found in zip(items, scored, strict=True) if not isinstance(found, str)]
        if unit.fill:
            self._compare(path, table, done, tally)  # before anything is written
        if unit.part:
            index = table["sample_index"].to_pylist()
            rows = []
            for item, found in done:
                digest = short_hash(self.prompts[item.problem], *map(str, item.ids or ()))
                rows.append((item.problem, unit.policy, str(index[item.row]), digest, len(item.ids or ()), found[-1]))
            self._write_part(unit, rows)
        if unit.fill:
            marks = json.loads((table.schema.metadata or {}).get(SCORED, b"{}"))
            marks[unit.policy] = mark_of(self.table.model, self.sampling.temperature)
            if tally.cut_tokens:
                marks[unit.policy] |= {"cut_nats": tally.cut_nats, "cut_tokens": tally.cut_tokens}
            filled = _filled(table, items, {item.row: found[0].entropy_sum for item, found in done})
            write_shard(path, filled, {SCORED: json.dumps(marks).encode()})
        return tally

    def _texts(self, unit: Unit) -> Tally:
        tally = Tally()
        prompts = [self.prompts[t.problem_id] if t.prompt is None else t.prompt for t in unit.texts]
        ids = [self.tokenizer(text.text, add_special_tokens=False)["input_ids"] for text in unit.texts]
        scored = self._score(list(zip(prompts, ids, strict=True)), [self.table.temperature], tally, by_prompt=True)
        rows = []
        for text, prompt, own, found in zip(unit.texts, prompts, ids, scored, strict=True):
            last = None if isinstance(found, str) else found[-1]
            rows.append((text.problem_id, text.source, text.text_id, text.digest(prompt), len(own), last))
        self._write_part(unit, rows)
        return tally

    def _score(
        self,
        items: Sequence[tuple[str, Any]],
        temperatures: Sequence[float],
        tally: Tally,
        by_prompt: bool = False,
        is_own: bool = True,
    ) -> "list[Sequence[Scores] | str]":
        """Of each (problem id, or prompt; token ids) its scores at each temperature, or why there are none.

        The same tokens after the same prompt are scored once: a sharp policy repeats itself.
        """
        from leash_ray.scoring.scorer import Tokens

        found: list[Sequence[Scores] | str] = [""] * len(items)
        places: dict[tuple[str, tuple[int, ...]], list[int]] = {}
        for place, (name, ids) in enumerate(items):
            prompt = name if by_prompt else self.prompts.get(name)
            if ids is None:
                found[place] = "its token_ids are missing, or are not n_tokens many"
            elif prompt is None:
                found[place] = "its problem is not in problems.parquet"
            elif self.context is not None and len(self._ids_of(prompt)) + len(ids) > self.context:
                found[place] = f"it is longer than the model's context of {self.context} tokens"
            else:
                places.setdefault((prompt, tuple(ids)), []).append(place)
        tally.unscored += Counter(reason for reason in found if reason)  # type: ignore[misc]
        keys = list(places)

        def on_batch(batch: Sequence[int]) -> None:
            n = [len(places[keys[i]]) for i in batch]
            self.on_texts(sum(n), sum(k * len(keys[i][1]) for k, i in zip(n, batch, strict=True)))

        sequences = [Tokens(self._ids_of(prompt), ids) for prompt, ids in keys]
        for key, scores in zip(keys, self.scorer.score_many(sequences, temperatures, on_batch), strict=True):
            n, length = len(places[key]), len(key[1])
            tally.texts += n
            tally.tokens += n * length
            if length and is_own:
                tally.with_steps += n
                tally.entropy_means += n * scores[0].entropy_sum / length
            for place in places[key]:
                found[place] = scores
        return found

    def _ids_of(self, prompt: str) -> list[int]:
        """As :meth:`leash_ray.serving.PolicyServer.sample` tokenizes it."""
        if prompt not in self._prompt_ids:
            self._prompt_ids[prompt] = self.tokenizer(prompt)["input_ids"]
        return self._prompt_ids[prompt]

    def _write_part(self, unit: Unit, rows: Sequence[tuple[str, str, str, str, int, Scores | None]]) -> None:
        names = ("problem_id", "source", "text_id", "text_hash", "n_tokens")
        found = []
        for *values, scores in rows:
            sums = (None, None) if scores is None else (scores.logprob_sum, scores.entropy_sum)  # type: ignore[union-attr]
            found.append({**dict(zip(names, values, strict=True)), "logprob_sum": sums[0], "entropy_sum": sums[1]})
        self.table.write_part(unit.part, found)

    def _compare(
        self, path: Path, table: pa.Table, done: "Sequence[tuple[_Item, Sequence[Scores]]]", tally: Tally
    ) -> None:
        """Set ln p beside what sampling stored: that of the same distribution, or of what it was cut to."""
        if "logprob_sum" not in table.column_names:
            return
        stored = table["logprob_sum"].to_pylist()
        here, was_cut = Tally(), is_cut(self.sampling)
        for item, found in done:
            if stored[item.row] is not None:
                n, more = len(item.ids or ()), stored[item.row] - found[0].logprob_sum
                gap = Tally(gap_sum=abs(more), gap_tokens=n, gap_max=abs(more))
                here.add(Tally(cut_nats=more, cut_tokens=n) if was_cut else gap)
        off = here.gap_a_token
        if was_cut:
            off = max(-here.cut_a_token, here.cut_a_token - most_cut_nats(self.sampling))
        if not off <= MAX_GAP_A_TOKEN and not self.accept_gap:
            raise UsageError(
                f"the completions of {path} were not drawn by this model from these prompts at temperature "
                f"{self.sampling.temperature:g}: ln p differs from the stored by {off:.2g} nats a token"
                f"{' more than the cut explains' * was_cut}. Give the model that drew them with --model and --name; "
                "--accept-gap fills the entropies in anyway"
            )
        tally.add(here)


def _completions(table: pa.Table, policy: str) -> list[_Item]:
    """A policy's completions in a shard."""
    rows = np.flatnonzero(pc.equal(table["policy"].cast(pa.string()), policy).to_numpy())
    problems = table["problem_id"].cast(pa.string()).take(rows).to_pylist()
    ids = table["token_ids"].take(rows).to_pylist()
    counts = table["n_tokens"].take(rows).to_pylist() if "n_tokens" in table.column_names else [None] * len(rows)
    return [
        _Item(int(row), problem, one if one is not None and n in (None, len(one)) else None)
        for row, problem, one, n in zip(rows, problems, ids, counts, strict=True)
    ]


def mark_of(model: str, temperature: float) -> dict[str, Any]:
    """What a shard says of its entropies."""
    return {"model": model, "temperature": temperature}


def is_filled(metadata: Mapping[bytes, bytes] | None, policy: str, model: str, temperature: float) -> bool:
    """Whether a shard with this metadata has the policy's entropies by this model at this temperature."""
    mark = json.loads((metadata or {}).get(SCORED, b"{}")).get(policy)
    return mark is not None and mark_of(model, temperature).items() <= mark.items()


def _filled(table: pa.Table, items: Sequence[_Item], entropies: Mapping[int, float]) -> pa.Table:
    """The table with ``entropies`` by row, and null where the other ``items`` are; further rows keep theirs."""
    kind = COMPLETIONS_SCHEMA.field("entropy_sum")
    there = "entropy_sum" in table.column_names
    values = table["entropy_sum"].to_pylist() if there else [None] * len(table)
    for item in items:
        values[item.row] = entropies.get(item.row)
    column = pa.array(values, kind.type)
    if there:
        return table.set_column(table.column_names.index("entropy_sum"), kind, column)
    return table.append_column(kind, column)
