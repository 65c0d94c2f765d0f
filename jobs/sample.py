"""Sampling and verifying as a Ray job: completions of both policies, as Parquet in a run directory.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \\
        python jobs/sample.py --config jobs/configs/qwen-math-gpu.yaml --run /home/ubuntu/runs/first

What it takes to submit a job is said in jobs/run.py. Next: jobs/reduce.py, with the same --config and --run.
"""

from _entry import main

if __name__ == "__main__":
    main("sample", __doc__)
