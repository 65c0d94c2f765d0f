"""Several recipes from one base, side by side: what each keeps, loses and gains, and whether they differ.

    runs ▸ recipes (runs that differ in their seed alone) ▸ fair? ▸ estimates over seeds and problems ▸ pairs ▸ JSON

>>> compare_runs(["runs/grpo-seed0", "runs/grpo-seed1", "runs/dapo-seed0", "runs/dapo-seed1"])

Every number of a single run is that of its ``support.json``; here is only what several runs need. No Ray.
"""

from leash_ray.compare.comparison import Asked, compare_runs

__all__ = ["Asked", "compare_runs"]
