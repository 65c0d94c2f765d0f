"""Rollouts as padded tensors. Shapes: B completions, T tokens (prompt and completion, right-padded)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from leash_ray.types import CompletionBatch


@dataclass(frozen=True, slots=True)
class TrainBatch:
    """One worker's completions of one step. Row b of a tensor is completion b; groups are consecutive rows."""

    ids_BT: torch.Tensor
    """int64: prompt, completion, padding. Causal attention never looks right, so padding needs no mask."""
    mask_BT: torch.Tensor
    """float32, aligned with ``ids_BT[:, 1:]``: 1 where that id was sampled."""
    old_logp_BT: torch.Tensor
    """float32, aligned with ``mask_BT``: the sampler's ln p of each sampled token (nats), else 0."""
    advantages_B: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """Sampled tokens."""
        return int(self.mask_BT.sum())

    def micro_batches(self, size: int) -> Iterator["TrainBatch"]:
        """Slices of at most ``size`` rows, each as narrow as its longest row."""
        for start in range(0, len(self.ids_BT), size):
            rows = slice(start, start + size)
            mask_BT = self.mask_BT[rows]
            width = int(mask_BT.sum(0).nonzero().max()) + 1 if mask_BT.any() else 1
            yield TrainBatch(
                self.ids_BT[rows, : width + 1],
                mask_BT[:, :width],
                self.old_logp_BT[rows, :width],
                self.advantages_B[rows],
            )


def collate(groups: Sequence[CompletionBatch], advantages_GN: torch.Tensor, pad_id: int) -> TrainBatch:
    """Pad the completions of ``groups`` into one batch, with ``advantages_GN`` flattened in the same order."""
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
    old_logp_BT = torch.zeros(len(rows), width - 1)
    for b, (prompt, ids, logp) in enumerate(rows):
        start, end = len(prompt), len(prompt) + len(ids)
        ids_BT[b, :start] = torch.from_numpy(prompt.astype(np.int64))
        ids_BT[b, start:end] = torch.from_numpy(ids.astype(np.int64))
        mask_BT[b, start - 1 : end - 1] = 1.0
        old_logp_BT[b, start - 1 : end - 1] = torch.from_numpy(logp.astype(np.float32))
    return TrainBatch(ids_BT, mask_BT, old_logp_BT, advantages_GN.reshape(-1).float())
