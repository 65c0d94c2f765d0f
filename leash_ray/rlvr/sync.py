"""Weights from the learner to every replica of the policy, through a folder that all nodes see."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leash_ray.rlvr.trainer import TrainJob


class WeightSync:
    """Hands the learner's weights to every replica of the policy."""

    def __init__(self, job: "TrainJob", learner: Any, rank: int):
        self._root = job.run_path / "weights"
        self._policy = job.policy
        self._learner, self._rank = learner, rank
        if rank == 0:  # what a run that was cut off left behind
            shutil.rmtree(self._root, ignore_errors=True)

    def __call__(self, version: int) -> None:
        """Every worker must call this; when it returns, every replica answers with ``version``."""
        import torch.distributed as dist

        dist.barrier()  # no folder is written before worker 0 has cleared the old ones
        self._learner.export(self.folder(version))
        if self._rank == 0:
            self._policy.load_weights(str(self.folder(version)), version)
            # The one before may still be handed to a replica by a worker that is behind.
            for old in self._root.iterdir():
                if old not in (self.folder(version), self.folder(version - 1)):
                    shutil.rmtree(old, ignore_errors=True)
        dist.barrier()

    def folder(self, version: int) -> Path:
        return self._root / f"v{version:06d}"

    def end(self) -> None:
        """Remove the folders: the last checkpoint has the weights."""
        if self._rank == 0:
            shutil.rmtree(self._root, ignore_errors=True)
