"""Units on Ray Data: a pool of actors, each with the model loaded once."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from leash_ray.cluster import Claim, Device
from leash_ray.errors import RunFailed, UsageError
from leash_ray.progress import EVERY_S
from leash_ray.sampling.causes import root_cause
from leash_ray.scoring.subject import Subject
from leash_ray.scoring.table import ScoresTable
from leash_ray.scoring.tally import Tally
from leash_ray.scoring.texts import Text
from leash_ray.scoring.unit import Unit, UnitScorer
from leash_ray.types import SamplingParams

CPUS = 0.5
"""Logical CPUs that an actor claims: on a laptop as much as one policy's replica."""


@dataclass(frozen=True)
class Job:
    """What an actor needs to know. Sent to the actors as it is."""

    subject: Subject
    prompts: dict[str, str]
    sampling: SamplingParams
    table: ScoresTable
    limits: dict[str, int]
    """``batch_tokens``, ``logits_bytes``."""
    accept_gap: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """The actors of one model."""

    device: Device
    size: int
    threads: int
    """Of torch, in each actor on CPU."""
    gpus: float

    @staticmethod
    def of(subject: Subject, device: Device, size: int | None) -> "Pool":
        """As many actors as there are GPUs, or nodes without GPUs, unless ``size`` says otherwise."""
        import ray

        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        gpus = min(1.0, subject.settings.gpus) if device == "gpu" else 0.0
        size = size or (max(1, int(ray.cluster_resources().get("GPU", 1))) if device == "gpu" else nodes)
        return Pool(device, size, max(1, (os.cpu_count() or 1) * nodes // size), gpus)

    @property
    def claim(self) -> Claim:
        return Claim(f"{self.size} x scorer", CPUS * self.size, self.gpus * self.size)


class ScoreActor:
    """One copy of the model; loads it for its first unit, so that what is wrong with it comes back as a value."""

    def __init__(self, job: Job, pool: Pool, meter: Any):
        self._job, self._pool, self._meter = job, pool, meter
        self._units: UnitScorer | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """One row a unit: its tally, or why it was refused. Ray Data would hand an error over as text."""
        rows: dict[str, list[str]] = {"tally": [], "refused": []}
        for unit in batch["unit"]:
            tally, refused = Tally(), ""
            try:
                self._units = self._units or self._load()
                tally = self._units.score(unit_of(unit))
            except UsageError as e:
                refused = str(e)
            rows["tally"].append(json.dumps(tally.to_json()))
            rows["refused"].append(refused)
        return rows

    def _load(self) -> UnitScorer:
        import torch

        from leash_ray.scoring.scorer import Scorer

        job, subject = self._job, self._job.subject
        if self._pool.device == "cpu":
            torch.set_num_threads(self._pool.threads)  # Ray gives an actor as many as it claims CPUs
        try:
            scorer = Scorer.load(
                subject.model,
                "cpu" if self._pool.device == "cpu" else "cuda",
                subject.settings.dtype,
                subject.revision,
                subject.trust_remote_code,
                **job.limits,
            )
        except (OSError, ValueError, KeyError, ImportError) as e:
            lines = str(e).strip().splitlines() or [type(e).__name__]
            raise UsageError(f"cannot load the model {subject.model}: {lines[0]}") from e
        return UnitScorer(
            scorer=scorer,
            tokenizer=subject.tokenizer(),
            table=job.table,
            prompts=job.prompts,
            sampling=job.sampling,
            context=subject.settings.max_model_len or scorer.context,
            accept_gap=job.accept_gap,
            on_texts=lambda texts, tokens: self._meter.add.remote(texts, tokens),
        )


def unit_of(text: str) -> Unit:
    """What a row of the stream holds, as :func:`score_units` writes it."""
    value = json.loads(text)
    return Unit(**{**value, "texts": tuple(Text(**row) for row in value["texts"])})


def score_units(units: Sequence[Unit], job: Job, pool: Pool, total: int, say: Callable[[str], None]) -> Iterator[Tally]:
    """Score every unit; yields each one's tally when it is written.

    Args:
        total: texts of all units, for progress.

    Raises:
        UsageError: as of :meth:`UnitScorer.score`, or the model cannot be loaded.
        RunFailed: scoring failed; what was finished stays.
    """
    import ray.data

    from leash_ray.cluster import quiet_ray_data

    quiet_ray_data()
    meter = ray.remote(num_cpus=0)(Meter).remote()
    rows = [{"unit": json.dumps(asdict(unit))} for unit in units]
    stream = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        ScoreActor,
        fn_constructor_args=(job, pool, meter),
        compute=ray.data.ActorPoolStrategy(size=min(pool.size, len(rows))),
        batch_size=1,
        num_cpus=CPUS,
        num_gpus=pool.gpus or None,
    )
    try:
        with _follow(meter, job.subject.name, total, say):
            for row in stream.iter_rows():
                if row["refused"]:
                    raise UsageError(row["refused"])
                yield Tally.from_json(json.loads(row["tally"]))
    except (ray.exceptions.RayError, OSError) as e:
        raise RunFailed(
            f"scoring stopped: {root_cause(e)}; what was finished is kept: run the same command again (where memory "
            "ran out, with a smaller --batch-tokens)"
        ) from e


class Meter:
    """Counts what all actors have scored: units may take minutes, and a person wants to see it move."""

    def __init__(self) -> None:
        self._texts = self._tokens = 0

    def add(self, texts: int, tokens: int) -> None:
        self._texts += texts
        self._tokens += tokens

    def read(self) -> tuple[int, int]:
        return self._texts, self._tokens


@contextmanager
def _follow(meter: Any, name: str, total: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say a line now and then."""
    import ray

    over = threading.Event()
    started_s = time.monotonic()

    def follow() -> None:
        said = 0
        while not over.wait(EVERY_S):
            try:
                texts, tokens = ray.get(meter.read.remote(), timeout=EVERY_S)
            except ray.exceptions.RayError:  # the cluster is on its way out, or busy
                continue
            if texts > said:
                said, elapsed_s = texts, time.monotonic() - started_s
                left_s = (total - texts) * elapsed_s / texts
                rate = f"{tokens / elapsed_s:,.0f} tokens/s"
                say(f"  under {name}: {texts:,}/{total:,} texts; {rate}, {left_s:.0f} s left")

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=2 * EVERY_S)
