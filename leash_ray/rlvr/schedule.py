"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

import math


def learning_rate(step: int, *, lr: float, steps: int, warmup_steps: int, schedule: str) -> float:
    """Learning rate of optimizer step ``step`` (0-based): linear warm-up, then constant, linear or cosine to 0."""
    if step < warmup_steps:
        return lr * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    if schedule == "linear":
        return lr * (1.0 - done)
    if schedule == "cosine":
        return lr * 0.5 * (1.0 + math.cos(math.pi * done))
    return lr
