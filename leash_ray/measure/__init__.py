"""What the statistics of :mod:`leash_ray.stats` say of a base and a trained policy, as parts of a support object.

pair ▸ columns ▸ support, curves, answers, tilting, series ▸ JSON. No Ray.
"""
