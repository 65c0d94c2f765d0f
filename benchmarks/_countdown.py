"""A config of the embedded model for the benchmarks that run the real command."""

CONFIG = """
name: benchmark
device: cpu
task:
  kind: reasoning_gym
  dataset: countdown
  config: {min_numbers: 3, max_numbers: 3, min_value: 1, max_value: 15, min_target: 10, max_target: 60}
  prompt: compact
  seed: 3
policies:
  base: {model: "embedded:countdown", dtype: float32, max_model_len: 64, cpus: 0.4}
  trained: {model: "embedded:countdown", dtype: float32, max_model_len: 64, cpus: 0.4}
sampling: {max_tokens: 12}
monitor: {wandb: "off"}
"""
"""Two policies, one model: what differs is their streams."""
