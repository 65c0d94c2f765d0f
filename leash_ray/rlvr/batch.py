"""Rollouts as padded tensors. Shapes: B completions, T tokens (prompt and completion, right-padded)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from leash_ray.types import CompletionBatch


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """One worker's completions of one step. Row b of every tensor is completion b; groups are consecutive rows."""

    ids_BT: torch.Tensor
    """int64: prompt, completion, padding. Causal attention never looks right, so padding needs no mask."""
    mask_BT: torch.Tensor
    """float32, aligned with ``ids_BT[:, 1:]``: 1 where that id was sampled, and is to be learnt from."""
    sampler_logp_BT: torch.Tensor
    """float32, aligned with ``mask_BT``: the sampler's ln p of each sampled token (nats), else 0."""
    advantages_B: torch.Tensor
    temperature_B: torch.Tensor
    """What the completion was sampled at."""
    foreign_B: torch.Tensor
    """bool: written by another policy, so the sampler's ln p says nothing of it (off-policy seeding)."""

    def __len__(self) -> int:
        return len(self.ids_BT)

    @property
    def n_tokens(self) -> int:
        """Tokens to learn from."""
        return int(self.mask_BT.sum())

    @property
    def n_used(self) -> int:
        """Tokens that are no padding, up to each row's last one to learn from."""
        return int((self._ends() + 1).sum())

    def rows(self, index: torch.Tensor | slice) -> "TrainBatch":
        """Some of the rows, as narrow as their longest."""
        ids_BT, mask_BT, sampler_logp_BT, *of_rows = (getattr(self, f.name)[index] for f in fields(self))
        width = int(mask_BT.sum(0).nonzero().max()) + 1 if mask_BT.any() else 1
        return TrainBatch(ids_BT[:, : width + 1], mask_BT[:, :width], sampler_logp_BT[:, :width], *of_rows)

    def minibatches(self, n: int) -> Iterator["TrainBatch"]:
        """``n`` cuts of about as many rows each, in order."""
        for index in torch.arange(len(self)).tensor_split(n):
            yield self.rows(index)

    def micro_batches(self, tokens: int) -> Iterator[tuple[torch.Tensor, "TrainBatch"]]:
        """(row numbers, their batch) of rows of about one length, longest first: rows · width is at most ``tokens``, or
        it is one row."""
        ends_B = self._ends()
        order = torch.argsort(ends_B, descending=True, stable=True)
        start = 0
        while start < len(order):
            size = max(1, tokens // (int(ends_B[order[start]]) + 1))
            index = order[start : start + size]
            yield index, self.rows(index)
            start += size

    def _ends(self) -> torch.Tensor:
        """How far each row has to be computed [B]: past its last token to learn from; at least 1."""
        width = self.mask_BT.shape[1]
        at_T = torch.arange(1, width + 1)
        return (self.mask_BT.gt(0) * at_T).amax(1).clamp(min=1)


def collate(
    groups: Sequence[CompletionBatch], pad_id: int, temperatures: Sequence[float], foreign: Sequence[bool] = ()
) -> TrainBatch:
    """Pad the completions of ``groups`` into one batch, group after group, with advantages of 0.

    Args:
        temperatures: of each group.
        foreign: of each completion; empty: none is.
    """
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [
        (
            group.prompt_ids,
            group.token_ids_T[group.offsets[i] : group.offsets[i + 1]],
            group.logprobs_T[group.offsets[i] : group.offsets[i + 1]],
        )
        for group in groups
        for i in range(len(group))
    ]
    width = max(len(prompt) + len(ids) for prompt, ids, _ in rows)
    ids_BT = torch.full((len(rows), width), pad_id, dtype=torch.int64)
    mask_BT = torch.zeros(len(rows), width - 1)
    sampler_logp_BT = torch.zeros(len(rows), width - 1)
    for b, (prompt, ids, logp) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(ids)
        ids_BT[b, :start] = torch.from_numpy(prompt.astype(np.int64))
        ids_BT[b, start:end] = torch.from_numpy(ids.astype(np.int64))
        mask_BT[b, start - 1 : end - 1] = 1.0
        sampler_logp_BT[b, start - 1 : end - 1] = torch.from_numpy(logp.astype(np.float32))
    return TrainBatch(
        ids_BT,
        mask_BT,
        sampler_logp_BT,
        advantages_B=torch.zeros(len(rows)),
        temperature_B=torch.tensor(
            [t for t, group in zip(temperatures, groups, strict=True) for _ in range(len(group))]
        ),
        foreign_B=torch.tensor(list(foreign) or [False] * len(rows)),
    )
