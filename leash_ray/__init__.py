"""leash_ray: does RLVR widen what a language model can reach, or only sharpen it?"""

__version__ = "0.1.0"
