"""How often answers came, in bounded memory: for so many distinct answers that not all of them can be kept.

Every answer to a problem has a hash, as good as a uniform draw from [0, 2**64), the same in every process, on every
machine and for both policies. Of each (policy, problem) are kept, with N the reducer's size,

- the N + 1 answers with the smallest hashes, and how often each came. Whoever is among the smallest of all has been
  among the smallest at any time, so these counts are exact, and while there are no more than N answers they are all of
  them. Else the N below the largest kept hash h are a random sample of all answers, with the known share h / 2**64
  (bottom-k sampling: Bar-Yossef et al., RANDOM 2002; Gibbons, VLDB 2001; Cohen and Kaplan, PODC 2007);
- the same of the CORRECT answers alone, with the smallest sample index of each: where there are no more than N correct
  ones, whatever rests on them stays exact;
- how many completions of the other answers fall into each of 2 N or more buckets, by other bits of the hash, and how
  many have no answer. All of a frequent answer is in one bucket: the entropy of the buckets is a lower bound that holds
  always, and what it lacks is estimated from the sample (:mod:`leash_ray.stats.bottom_k`).

A state is a function of the multiset of rows alone, whatever their order and split. Hashes are xxHash (XXH3, 64 bits),
whose values its specification fixes; two answers of one problem share one with a chance of 2**-64.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from leash_ray.reducers.answers import AnswerCounts
from leash_ray.reducers.block import Block, Ints
from leash_ray.reducers.hashes import Hashes, mixed
from leash_ray.reducers.reducer import ints

NAME: Final = "bounded_answers"
SAMPLE, CORRECT, BUCKET = 0, 1, 2
"""Kinds of rows."""


class BoundedAnswers:
    """(pair, kind, hash) -> answer, ``count`` and, of correct ones, ``first``; of buckets, hash is their number, and
    that of the completions without an answer is ``n_buckets``."""

    version = 1
    columns = ("answer",)
    schema = pa.schema(
        [
            ("pair", pa.int32()),
            ("answer", pa.int32()),
            ("kind", pa.int8()),
            ("hash", pa.uint64()),
            ("count", pa.int64()),
            ("first", pa.int64()),
        ]
    )

    def __init__(self, size: int) -> None:
        """Keeps ``size`` answers of a pair, and as many correct ones."""
        self.size = size
        self.name = f"{NAME}@{size}"
        self.n_buckets = 1 << (2 * size - 1).bit_length()

    def measures(self, table: pa.Table) -> Mapping[str, Ints]:
        return {}

    def update(self, block: Block) -> pa.Table:
        return self.of(AnswerCounts().update(block), block.pairs, block.words)

    def of(self, answers: pa.Table, pairs: pa.Table, words: Mapping[str, pa.Array]) -> pa.Table:
        """From the state of :class:`AnswerCounts`."""
        pair, answer = ints(answers, "pair"), ints(answers, "answer")
        of_problem, of_answer = (np.append(_hashes(words[w]), np.uint64(0)) for w in ("problem_id", "answer"))
        hashed = mixed(of_answer[answer] ^ mixed(of_problem[ints(pairs, "problem")][pair]))
        frame = pl.DataFrame(pl.from_arrow(answers)).with_columns(hash=pl.Series(hashed))
        known, right, none = pl.col("answer") >= 0, pl.col("correct") > 0, pl.lit(None, pl.Int64).alias("first")
        key = ("pair", "answer")
        rows = [
            frame.filter(known).select(*key, _kind(SAMPLE), "hash", "count", none),
            frame.filter(known, right).select(*key, _kind(CORRECT), "hash", pl.col("correct").alias("count"), "first"),
            frame.filter(~known).select(
                *key, _kind(BUCKET), pl.lit(self.n_buckets, pl.UInt64).alias("hash"), "count", none
            ),
        ]
        return self._kept(pl.concat(rows))

    def merge(self, states: pa.Table, n_pairs: int) -> pa.Table:
        return self._kept(pl.DataFrame(pl.from_arrow(states)))

    def finalize(self, state: pa.Table, n_pairs: int) -> pl.DataFrame:
        """The state."""
        return pl.DataFrame(pl.from_arrow(state))

    def _kept(self, rows: pl.DataFrame) -> pa.Table:
        total = _summed(rows)
        group = total["pair"].to_numpy().astype(np.int64) * 4 + total["kind"].to_numpy()
        start = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(group)) - np.repeat(start, np.diff(start, append=len(group)))
        beyond = pl.Series(rank > self.size, dtype=pl.Boolean) & (total["kind"] != BUCKET)
        if beyond.any():
            dropped = total.filter(beyond & (total["kind"] == SAMPLE)).with_columns(
                _kind(BUCKET), answer=pl.lit(-1, pl.Int32), hash=pl.col("hash") % self.n_buckets
            )
            total = _summed(pl.concat([total.filter(~beyond), dropped]))
        return total.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(self.schema)


def _kind(kind: int) -> pl.Expr:
    return pl.lit(kind, pl.Int8).alias("kind")


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    key = ["pair", "kind", "hash"]
    total = rows.group_by(key).agg(pl.col("answer").max(), pl.col("count").sum(), pl.col("first").min()).sort(key)
    return total.select(BoundedAnswers.schema.names)


def _hashes(words: pa.Array) -> Hashes:
    """xxHash of each word, [words]."""
    import xxhash

    texts = words.cast(pa.large_binary()).to_pylist()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), dtype=np.uint64, count=len(texts))
