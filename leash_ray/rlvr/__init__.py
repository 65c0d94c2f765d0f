"""GRPO on Ray Train: advantages and losses are pure torch; the learner holds DeepSpeed; the loop holds Ray."""
