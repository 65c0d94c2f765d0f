"""The scorer: one transformers model, tokens in, ln p of each and the exact entropy at each step out. Knows no Ray.

Why transformers and not vLLM's prompt_logprobs: those give ln p of the given token and of the few most likely ones, and
an entropy over those is no entropy of the whole vocabulary. Here every step's full distribution is summed, but never
all steps at once: the body of the model runs over whole sequences, and its head only over the positions that predict a
scored token, some at a time. So memory is bounded by :attr:`Scorer.logits_bytes` whatever the vocabulary and length:
32,768 positions of a vocabulary of 150,000 would be 20 GB of float32 logits in one piece, three times over.

Shapes: T scored tokens, L tokens of a sequence (prompt and scored), B sequences, N positions, H hidden, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from leash_ray.scoring.head import Head

BATCH_TOKENS = 16_384
LOGITS_BYTES = 2**28
_COPIES = 4
"""Of a chunk's logits that live at the same time: logits, logits / temperature, ln p, and p or p ln p."""

Ids = Sequence[int] | NDArray[np.int32]


class Tokens(NamedTuple):
    """What to score: ``token_ids`` [T], each given all that comes before it."""

    prompt_ids: Ids
    """At least one: nothing predicts the first token of a sequence."""
    token_ids: Ids

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.token_ids)


class Scored(NamedTuple):
    """Of T tokens, float32 [T] each, in nats."""

    logprobs: NDArray[np.float32]
    """ln p of each token under softmax(logits / temperature)."""
    entropies: NDArray[np.float32]
    """-sum over the vocabulary of p ln p, of the distribution that each token was drawn from."""

    @property
    def logprob_sum(self) -> float:
        return float(self.logprobs.sum(dtype=np.float64))

    @property
    def entropy_sum(self) -> float:
        return float(self.entropies.sum(dtype=np.float64))


class Scorer:
    """Teacher forcing with one model.

    Args:
        network: a causal language model of transformers, on its device.
        batch_tokens: tokens of one forward pass, padding included; a longer sequence goes alone.
        logits_bytes: bound of what the logits of one chunk of positions take.
    """

    def __init__(self, network: Any, batch_tokens: int = BATCH_TOKENS, logits_bytes: int = LOGITS_BYTES):
        self._network = network.eval().requires_grad_(False)
        self._head = Head(network)
        self.batch_tokens, self.logits_bytes = batch_tokens, logits_bytes

    @property
    def context(self) -> int | None:
        """The longest sequence that the model was made for, in tokens; None: it does not say."""
        return getattr(self._network.config.get_text_config(), "max_position_embeddings", None)

    @classmethod
    def load(
        cls,
        model: str,
        device: str = "cpu",
        dtype: str = "auto",
        revision: str | None = None,
        trust_remote_code: bool = False,
        **limits: int,
    ) -> "Scorer":
        """The model of a folder or a hub name.

        Args:
            device: ``cpu`` or ``cuda``.
            dtype: of the model's body; ``auto``: as its weights are stored. The head is float32 at least.
            limits: ``batch_tokens`` and ``logits_bytes``.

        Raises:
            OSError, ValueError: it cannot be loaded.
        """
        from transformers import AutoModelForCausalLM

        network = AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        return cls(network.to(device), **limits)

    def score(self, prompt_ids: Ids, token_ids: Ids, temperature: float = 1.0) -> Scored:
        """One sequence's ``token_ids``. Arguments and errors as of :meth:`score_many`."""
        return self.score_many([Tokens(prompt_ids, token_ids)], [temperature])[0][0]

    def score_many(
        self,
        sequences: Sequence[Tokens],
        temperatures: Sequence[float] = (1.0,),
        on_batch: Callable[[Sequence[int]], None] = lambda rows: None,
    ) -> list[list[Scored]]:
        """Every sequence at every temperature: ``[sequence][temperature]``.

        top_p, top_k and min_p do not apply: the entropy is that of the model's whole distribution.

        Args:
            temperatures: each above 0. Several cost one forward pass.
            on_batch: told the sequences of each batch when it is done.

        Raises:
            ValueError: a sequence without a prompt, a token that is not in the vocabulary, or a temperature of 0.
        """
        if any(not t > 0 for t in temperatures):
            raise ValueError(f"temperatures must be above 0, not {list(temperatures)}")
        for tokens in sequences:
            self._check(tokens)
        found: list[list[Scored]] = [[] for _ in sequences]
        for rows in self._batches([tokens.length for tokens in sequences]):
            batch = [sequences[row] for row in rows]
            for row, scored in zip(rows, self._forward(batch, temperatures), strict=True):
                found[row] = scored
            on_batch(rows)
        return found

    def _check(self, tokens: Tokens) -> None:
        if not len(tokens.prompt_ids):
            raise ValueError("a prompt has no tokens, so nothing predicts the first token after it")
        for ids in tokens:
            if len(ids) and (min(ids) < 0 or max(ids) >= self._head.vocabulary):
                raise ValueError(
                    f"token id {max(ids) if min(ids) >= 0 else min(ids)} is not in this model's vocabulary of "
                    f"{self._head.vocabulary}: the tokens are another model's"
                )

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Sequences of about the same length together, the longest first: what does not fit shows at once."""
        batch: list[int] = []
        longest = 0
        for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
            if batch and (len(batch) + 1) * longest > self.batch_tokens:
                yield batch
                batch = []
            longest = longest if batch else lengths[row]
            batch.append(row)
        if batch:
            yield batch

    @torch.inference_mode()
    def _forward(self, batch: Sequence[Tokens], temperatures: Sequence[float]) -> list[list[Scored]]:
        """Padded on the right, where causal attention cannot see it: so there is no mask, whose [L, L] for each
        sequence would be the largest thing in memory, and id 0 is as good a padding as any."""
        device = self._network.device
        longest = max(tokens.length for tokens in batch)
        ids_BL = np.zeros((len(batch), longest), np.int64)
        for row, tokens in enumerate(batch):
            ids_BL[row, : len(tokens.prompt_ids)] = tokens.prompt_ids
            ids_BL[row, len(tokens.prompt_ids) : tokens.length] = tokens.token_ids
        # The position before each scored token predicts it; the last token predicts nothing that is scored.
        width = longest - 1
        positions_N = np.concatenate(
            [row * width + np.arange(len(t.prompt_ids) - 1, t.length - 1) for row, t in enumerate(batch)]
        )
        targets_N = np.concatenate([np.asarray(t.token_ids, np.int64) for t in batch])
        if not len(targets_N):
            empty = Scored(np.zeros(0, np.float32), np.zeros(0, np.float32))
            return [[empty for _ in temperatures] for _ in batch]
        hidden_BLH = self._head.body(input_ids=torch.from_numpy(ids_BL[:, :-1]).to(device), use_cache=False)[0]
        hidden_MH = hidden_BLH.reshape(-1, hidden_BLH.shape[-1])
        scored = self._positions(
            hidden_MH, torch.from_numpy(positions_N).to(device), torch.from_numpy(targets_N).to(device), temperatures
        )
        cuts = np.cumsum([len(tokens.token_ids) for tokens in batch])[:-1]
        split = [(np.split(lp, cuts), np.split(entropy, cuts)) for lp, entropy in scored]
        return [[Scored(lp[row], entropy[row]) for lp, entropy in split] for row in range(len(batch))]

    def _positions(
        self, hidden_MH: torch.Tensor, positions_N: torch.Tensor, targets_N: torch.Tensor, temperatures: Sequence[float]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """ln p and entropy [N] at each temperature, a chunk of positions at a time."""
        chunk = max(1, self.logits_bytes // (self._head.vocabulary * 4 * _COPIES))
        parts: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in temperatures]
        for start in range(0, len(positions_N), chunk):
            logits_CV = self._head.logits(hidden_MH[positions_N[start : start + chunk]])
            targets_C = targets_N[start : start + chunk]
            for part, temperature in zip(parts, temperatures, strict=True):
                part.append(logprobs_and_entropies(logits_CV, targets_C, temperature))
        return [
            (torch.cat([lp for lp, _ in part]).cpu().numpy(), torch.cat([entropy for _, entropy in part]).cpu().numpy())
            for part in parts
        ]


def logprobs_and_entropies(
    logits_CV: torch.Tensor, targets_C: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln p of each target and the entropy of each row, float32 [C], of softmax(logits / temperature).

    A logit of minus infinity is a token that cannot come: it adds nothing to the entropy.
    """
    logp_CV = torch.log_softmax(logits_CV / temperature, dim=-1)
    logp_C = logp_CV.gather(-1, targets_C.unsqueeze(-1)).squeeze(-1)
    return logp_C.float(), torch.special.entr(logp_CV.exp_()).sum(-1).float()
