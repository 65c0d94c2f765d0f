"""RLVR as a Ray job: a trained policy and its checkpoints, in a run directory.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \\
        python jobs/train.py --config jobs/configs/train-gpu.yaml --run /home/ubuntu/runs/first

What it takes to submit a job is said in jobs/run.py. Next: jobs/sample.py, with the same --config, --run and --resume.
"""

from _entry import main

if __name__ == "__main__":
    main("train", __doc__)
