"""The weight of the token entropy in the loss: fixed, or driven to a target."""

from leash_ray.rlvr.sections import LossConfig


class EntropyBonus:
    """``coef`` is the weight of the next step.

    With a target (Skywork-OR1, arXiv 2505.22312, §4): a step below it adds ``entropy_rate``, one above it takes as
    much away, never below 0; and the bonus acts only while the entropy is at or below the target.
    """

    def __init__(self, loss: LossConfig) -> None:
        self._loss = loss
        self._coef = loss.entropy_coef
        self._is_below = True

    @property
    def coef(self) -> float:
        return self._coef if self._is_below else 0.0

    @property
    def in_use(self) -> bool:
        """Whether the entropy may ever need a gradient."""
        return bool(self._loss.entropy_coef) or self._loss.entropy_target is not None

    def observe(self, entropy_nats: float) -> None:
        """Mean token entropy of a step, over all workers."""
        target = self._loss.entropy_target
        if target is None or entropy_nats != entropy_nats:
            return
        self._is_below = entropy_nats <= target
        above = (entropy_nats > target) - (entropy_nats < target)
        self._coef = max(0.0, self._coef - above * self._loss.entropy_rate)

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {"coef": self._coef, "is_below": float(self._is_below)}

    def restore(self, state: dict[str, float]) -> None:
        self._coef, self._is_below = state["coef"], bool(state["is_below"])
