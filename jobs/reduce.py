"""Measuring as a Ray job: support, pass@k and entropies from a run, or from completions tables of any origin.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \\
        python jobs/reduce.py --config jobs/configs/qwen-math-gpu.yaml --run /home/ubuntu/runs/first
    ... python jobs/reduce.py /shared/completions --base qwen --trained qwen-rl --json

What it takes to submit a job is said in jobs/run.py.
"""

from _entry import main

if __name__ == "__main__":
    main("reduce", __doc__, config="--config")
