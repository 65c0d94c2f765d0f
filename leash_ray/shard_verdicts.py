"""The verdict columns of a shard: what the verifier said, and over it what a person's marks make of it.

Where a mark overrules the verifier, the columns hold the mark, and the shard's own metadata what the verifier said: so
a mark can be changed or withdrawn without verifying again, and both are replaced together or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from leash_ray.marks import Key, Marks
from leash_ray.sampling.manifest import write_again
from leash_ray.sampling.table import verdict_columns
from leash_ray.types import COMPLETIONS_SCHEMA, VERDICT_COLUMNS, Verdict
from leash_ray.verify import Verification

KEY = ("policy", "problem_id", "sample_index")
VERDICT_OF_KEY = (*KEY, *VERDICT_COLUMNS)
_OVERRULED = b"leash_overruled"


def keys_of(table: pa.Table) -> list[Key]:
    """Which completions the rows are."""
    return list(zip(*(table[name].to_pylist() for name in KEY), strict=True))


def overruled(table: pa.Table) -> dict[Key, Verification]:
    """What the verifier said of the completions whose mark says otherwise."""
    held = json.loads((table.schema.metadata or {}).get(_OVERRULED, b"[]"))
    return {tuple(key): Verification(Verdict(verdict), *rest) for key, (verdict, *rest) in held}


def own_verifications(table: pa.Table) -> list[Verification]:
    """What the verifier said of each completion, whatever its mark."""
    n = len(table)
    columns = (table[name].to_pylist() if name in table.column_names else [None] * n for name in VERDICT_COLUMNS)
    every = [Verification(Verdict(verdict), *rest) for verdict, *rest in zip(*columns, strict=True)]
    if held := overruled(table):
        every = [held.get(key, said) for key, said in zip(keys_of(table), every, strict=True)]
    return every


def with_verifications(table: pa.Table, own: Sequence[Verification], marks: Marks) -> pa.Table:
    """The table with ``own`` for what the verifier said, and the marks over it."""
    shown, held = list(own), []
    if marks.verdicts:
        for row, key in enumerate(keys_of(table)):
            shown[row] = marks.apply(key, own[row])
            if shown[row] != own[row]:
                held.append((key, own[row]))
    for name, column in verdict_columns(shown).items():
        field = COMPLETIONS_SCHEMA.field(name)
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), field, column)
        else:
            table = table.append_column(field, column)
    metadata = {**(table.schema.metadata or {})}
    metadata.pop(_OVERRULED, None)
    if held:
        metadata[_OVERRULED] = json.dumps(held).encode()
    return table.replace_schema_metadata(metadata)


def write_shard(path: Path, table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Replace a shard's file whole, with ``metadata`` on top of the table's own."""
    write_again(path, table.replace_schema_metadata({**(table.schema.metadata or {}), **(metadata or {})}))
