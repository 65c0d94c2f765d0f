"""A state of some policies, pairs or reducers alone."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leash_ray.reducers.arrays import arrow
from leash_ray.reducers.block import wanted
from leash_ray.reducers.reducer import ints
from leash_ray.reducers.registry import bounded
from leash_ray.reducers.state import CompletionsState


def of_policies(state: CompletionsState, policies: Sequence[str] | None) -> CompletionsState:
    """The state as if only rows of these policies had been kept (with ``name@*``, the checkpoints of one); how many
    rows the others have is still known."""
    names = state.words["policy"].to_pylist()
    if policies is None or all(wanted(name, policies) for name in names):
        return state
    keep_policy = np.array([wanted(name, policies) for name in names], dtype=bool)
    return of_pairs(state, keep_policy[ints(state.pairs, "policy")])


def of_reducers(state: CompletionsState, reducers: Sequence[str]) -> CompletionsState:
    """The state as if it had been made by these reducers: some of its own, or bounded answers in place of all."""
    wanted_bounded = bounded(reducers)
    if wanted_bounded is None or "answers" not in state.tables:
        return state.only(reducers)
    tables = {name: table for name, table in state.tables.items() if name in reducers}
    tables[wanted_bounded.name] = wanted_bounded.of(state.tables["answers"], state.pairs, state.words)
    return replace(state, tables=tables).without_unused_words()


def of_pairs(state: CompletionsState, keep: NDArray[np.bool_]) -> CompletionsState:
    """The state of some pairs. keep: [pairs]."""
    if keep.all():
        return state
    number = np.cumsum(keep, dtype=np.int32) - np.int32(1)
    tables = {}
    for name, table in state.tables.items():
        kept = table.filter(arrow(keep[ints(table, "pair")])).combine_chunks()
        tables[name] = kept.set_column(0, kept.schema.field(0), arrow(number[ints(kept, "pair")]))
    return CompletionsState(
        state.words, state.pairs.filter(arrow(keep)).combine_chunks(), tables, state.policies, state.is_canonical
    )
