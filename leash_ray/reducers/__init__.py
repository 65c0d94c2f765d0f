"""Completions -> mergeable states -> one row per (policy, problem). No Ray."""

from leash_ray.reducers.reduced import Reduced
from leash_ray.reducers.registry import REDUCERS
from leash_ray.reducers.state import READ_COLUMNS, CompletionsState, state_of_block
from leash_ray.reducers.tokens import NATS_UNIT

__all__ = ["NATS_UNIT", "READ_COLUMNS", "REDUCERS", "CompletionsState", "Reduced", "state_of_block"]
