"""Reference resets: every so often the policy becomes the reference, and the optimizer starts anew (ProRL,
arXiv 2505.24864, §2.3).

KL to where training began comes to rule the loss as the policy moves away from it; KL to a recent policy lets training
go on, and still bounds each stretch of it.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from leash_ray.rlvr import network

REFERENCE = "reference"
"""Its folder in a checkpoint, from the first reset on."""


@torch.no_grad()
def become(reference: Any, policy: Any, sharded: bool) -> None:
    """Give ``reference`` the weights of ``policy``. Every worker must call this.

    Args:
        sharded: ZeRO 3 has cut the policy's parameters up.
    """
    state = network.whole_state(policy, sharded)
    for name, parameter in reference.named_parameters():
        if dist.get_rank() == 0:
            parameter.copy_(state[name])
        dist.broadcast(parameter.data, src=0)


def start_anew(optimizer: torch.optim.Optimizer) -> None:
    """Forget all moments, and that there were steps: what AdamW starts with.

    In place, since DeepSpeed's wrappers and checkpoints expect the entries to be there.
    """
    for state in optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, torch.Tensor):
                value.zero_()
            elif isinstance(value, int):
                state[name] = 0


def save(reference: Any, folder: Path) -> None:
    """Write it into a checkpoint."""
    reference.save_pretrained(folder / REFERENCE)
