"""Sums, largest values and gatherings over all training workers."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist


def all_sum(values: Mapping[str, float]) -> dict[str, float]:
    """Each value's sum over workers; every worker must have the same names."""
    return _reduced(values, dist.ReduceOp.SUM)


def all_max(values: Mapping[str, float]) -> dict[str, float]:
    """Each value's largest over workers; every worker must have the same names."""
    return _reduced(values, dist.ReduceOp.MAX)


def all_gather(value: Any) -> list[Any]:
    """Each worker's value, in the order of ranks: anything that can be pickled."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def _reduced(values: Mapping[str, float], op: Any) -> dict[str, float]:
    if not values:
        return {}
    names = sorted(values)  # the same order everywhere
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
    dist.all_reduce(total, op=op)
    return dict(zip(names, total.tolist(), strict=True))
