"""Scoring a run's completions, or given texts, as a Ray job: exact token entropies and perplexities.

    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \\
        python jobs/score.py /home/ubuntu/runs/first --under base --under trained

What it takes to submit a job is said in jobs/run.py.
"""

from _entry import main

if __name__ == "__main__":
    main("score", __doc__)
