"""Groups in which some completions are of another origin than the policy's own draw from the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from leash_ray.rlvr.batch import TrainBatch, collate
from leash_ray.rlvr.rollouts import Rollouts
from leash_ray.types import CompletionBatch
from leash_ray.verify import Verification


@dataclass(frozen=True, slots=True)
class Piece:
    """A completion that takes the place of one that was drawn."""

    token_ids: Sequence[int]
    logprobs: Sequence[float]
    """Of each token, under whoever sampled it (nats); 0 where that is not known."""
    text: str
    finish_reason: str
    verification: Verification
    foreign: bool = False
    """Written by another policy: learnt from with the shaped ratio."""
    given: int = 0
    """Leading tokens that are part of what was asked, and not learnt from."""


class Mixture:
    """One worker's rollouts, and the pieces that replace some of their completions."""

    def __init__(self, own: Rollouts) -> None:
        self.own = own
        """As drawn: what the policy's rewards, lengths and records are of."""
        self._pieces: dict[int, list[Piece]] = {}

    def put(self, group: int, piece: Piece) -> None:
        """In the place of the group's last completion that was not replaced yet."""
        self._pieces.setdefault(group, []).append(piece)
        assert len(self._pieces[group]) < len(self.own.groups[group])

    def rollouts(self) -> Rollouts:
        """The mixed groups."""
        groups, verifications = list(self.own.groups), list(self.own.verifications)
        size = len(groups[0])
        for g, pieces in self._pieces.items():
            groups[g] = _replaced(groups[g], pieces)
            end = (g + 1) * size
            verifications[end - len(pieces) : end] = [p.verification for p in pieces]
        return replace(self.own, groups=groups, verifications=verifications)

    def batch(self, pad_id: int) -> TrainBatch:
        """The mixed groups, collated: what was given is not learnt from."""
        mixed = self.rollouts()
        size = len(mixed.groups[0])
        foreign, given = [False] * (size * len(mixed.groups)), [0] * (size * len(mixed.groups))
        for g, pieces in self._pieces.items():
            first = (g + 1) * size - len(pieces)
            for i, piece in enumerate(pieces, first):
                foreign[i], given[i] = piece.foreign, piece.given
        return without_given(collate(mixed.groups, pad_id, mixed.temperatures, foreign), given)


def _replaced(group: CompletionBatch, pieces: Sequence[Piece]) -> CompletionBatch:
    n_own = len(group) - len(pieces)
    end = group.offsets[n_own]
    lengths = [len(p.token_ids) for p in pieces]
    return replace(
        group,
        token_ids_T=np.concatenate([group.token_ids_T[:end], *(np.array(p.token_ids, np.int32) for p in pieces)]),
        logprobs_T=np.concatenate([group.logprobs_T[:end], *(np.array(p.logprobs, np.float32) for p in pieces)]),
        offsets=np.concatenate([group.offsets[: n_own + 1], end + np.cumsum(lengths)]),
        texts=[*group.texts[:n_own], *(p.text for p in pieces)],
        finish_reasons=[*group.finish_reasons[:n_own], *(p.finish_reason for p in pieces)],
    )


def without_given(batch: TrainBatch, given: Sequence[int]) -> TrainBatch:
    """The batch with a mask of 0 on each row's first ``given`` tokens."""
    mask_BT = batch.mask_BT.clone()
    for b, n in enumerate(given):
        if n:
            start = int(mask_BT[b].nonzero()[0])
            mask_BT[b, start : start + n] = 0.0
    return replace(batch, mask_BT=mask_BT, sampler_logp_BT=torch.where(mask_BT > 0, batch.sampler_logp_BT, 0.0))
