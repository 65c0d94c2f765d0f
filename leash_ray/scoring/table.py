"""A scores table, ``RUN/scores/POLICY.parquet``: one row for each (policy, text), what ``leash reduce`` reads for
perplexities (:mod:`leash_ray.measure.scores`).

While texts are scored, rows lie in parts beside it, under a hidden name that nothing else reads; at the end they join
the table, in which a text that was scored again replaces its old row. The file says which model scored it and at which
temperature, and takes no rows of another.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leash_ray.errors import UsageError
from leash_ray.files import atomic_path, parquet_files
from leash_ray.scoring.texts import short_hash

SCORES_SCHEMA = pa.schema(
    [
        pa.field("policy", pa.string(), nullable=False),
        pa.field("problem_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("n_tokens", pa.int32()),
        pa.field("logprob_sum", pa.float64()),
        pa.field("entropy_sum", pa.float64()),
        pa.field("text_hash", pa.string()),
    ]
)
"""Sums in nats, over n_tokens; null where a text is longer than the model's context. Key: all up to text_id."""

KEY = ("source", "problem_id", "text_id")
_FACTS = b"leash_scores"


@dataclass(frozen=True)
class ScoresTable:
    """The table of one policy of one run."""

    run: Path
    policy: str
    model: str
    """Identity of the model."""
    temperature: float

    @property
    def path(self) -> Path:
        return self.run / "scores" / f"{self.policy}.parquet"

    @property
    def parts(self) -> Path:
        return self.path.parent / f".parts-{self.policy}-{short_hash(self.model, str(self.temperature))}"

    def part(self, name: str) -> Path:
        return self.parts / f"{name}.parquet"

    def refuse_others(self) -> None:
        """Refuse to mix scores that cannot be compared.

        Raises:
            UsageError: the table is of another model or temperature or was not written by ``leash score``, or the
                table of another policy has another temperature.
        """
        for path in parquet_files(self.path.parent) if self.path.parent.is_dir() else []:
            facts = _facts(path)
            if path == self.path and (facts is None or facts["model"] != self.model):
                by = "was not written by leash score" if facts is None else "is of another model"
                raise UsageError(f"{path} {by}: move it away, or give the model another name with --model and --name")
            if facts is not None and facts["temperature"] != self.temperature:
                there = f"{facts['temperature']:g}"
                raise UsageError(
                    f"{path} has scores at temperature {there}, which cannot be compared with those at "
                    f"{self.temperature:g}: give --temperature {there}, or move that file away"
                )

    def units_done(self) -> set[str]:
        """Names of the parts that are there, in the table or beside it."""
        facts = _facts(self.path) if self.path.is_file() else None
        return {*(facts["parts"] if facts else ()), *(path.stem for path in self._parts())}

    def texts_done(self) -> dict[tuple[str, str, str], str]:
        """Key -> hash of the text, of all rows that are there."""
        table = self._rows()
        keys = zip(*(table[name].to_pylist() for name in KEY), strict=True)
        return dict(zip(keys, table["text_hash"].to_pylist(), strict=True))

    def write_part(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows without the policy's name, as a part; whole or not at all."""
        table = pa.Table.from_pylist([{"policy": self.policy, **row} for row in rows], schema=SCORES_SCHEMA)
        with atomic_path(self.part(name)) as tmp:
            pq.write_table(table, tmp, compression="zstd")

    def finish(self) -> int:
        """Let the parts join the table; returns its rows."""
        import polars as pl

        names = sorted(self.units_done())
        merged = pl.DataFrame(pl.from_arrow(self._rows())).unique(KEY, keep="last").sort(KEY).to_arrow()
        facts = {"model": self.model, "temperature": self.temperature, "parts": names}
        table = merged.cast(SCORES_SCHEMA).replace_schema_metadata({_FACTS: json.dumps(facts)})
        with atomic_path(self.path) as tmp:
            pq.write_table(table, tmp, compression="zstd")
        shutil.rmtree(self.parts, ignore_errors=True)
        return len(table)

    def _parts(self) -> list[Path]:
        return sorted(path for path in self.parts.glob("*.parquet") if not path.name.startswith("."))

    def _rows(self) -> pa.Table:
        """The table's rows, then those of the parts in the order of their making."""
        parts = sorted(self._parts(), key=lambda path: path.stat().st_mtime_ns)
        files = [*([self.path] if self.path.is_file() else []), *parts]
        tables = [pq.read_table(file, partitioning=None, schema=SCORES_SCHEMA) for file in files]
        return pa.concat_tables([SCORES_SCHEMA.empty_table(), *(t.replace_schema_metadata(None) for t in tables)])


def _facts(path: Path) -> dict[str, Any] | None:
    try:
        held = (pq.read_schema(path).metadata or {}).get(_FACTS)
    except (pa.ArrowException, OSError) as e:
        raise UsageError(f"cannot read {path} as a scores table ({str(e).splitlines()[0]}): move it away") from e
    return None if held is None else dict(json.loads(held))
