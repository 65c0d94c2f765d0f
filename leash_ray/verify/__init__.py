"""Verifying completions: extract an answer, make it canonical, judge it once, in a process that may be killed.

extract ▸ canonical ▸ judge (math-verify, reasoning-gym, your own function), behind VerifierPool
"""

from leash_ray.verify.canonical import canonical
from leash_ray.verify.extract import Extracted, extract
from leash_ray.verify.pool import Verification, VerifierPool, read_answer
from leash_ray.verify.verifiers import Judgement, check_verifier, judge

__all__ = [
    "Extracted", "Judgement", "Verification", "VerifierPool", "canonical", "check_verifier", "extract", "judge",
    "read_answer",
]  # fmt: skip
