"""Sampling: shards of (policy, problems, samples) through the policy and the verifiers to Parquet, exactly once.

A completion's key is (policy, problem id, sample index), and its random stream is named by the same, so what is drawn
depends neither on how it is cut into shards nor on what was drawn before. What a run still lacks is found from what it
holds (:mod:`~leash_ray.sampling.held`) and what it wants (:mod:`~leash_ray.sampling.budget`): going on after a
failure, adaptive rounds, and topping a finished run up are one and the same thing.
"""
