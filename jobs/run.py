"""The whole path as a Ray job: train (where the config says so), sample, verify, reduce, report.

    export RAY_AUTH_MODE=token          # the token: ~/.ray/auth_token, RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH
    ray job submit --address http://127.0.0.1:8265 --working-dir . -- \\
        python jobs/run.py --config jobs/configs/countdown.yaml --run /home/ubuntu/runs/first

The same here, without a cluster: `leash run jobs/configs/countdown.yaml --run runs/first`.

--working-dir is copied to the cluster. Ray leaves out .git, .venv and what .gitignore names (runs, caches), so the
root of this repository is about 4 MB of Ray's limit of 500 MiB; a problems file that .gitignore names does not travel.
A job works in that copy, which Ray deletes: a run directory that is not absolute lies under the head's home directory
instead. Give one that all nodes see. A job that was lost goes on with the same command and --resume.

W&B: add --runtime-env-json '{"env_vars": {"WANDB_API_KEY": "..."}}' before the `--`.
"""

from _entry import main

if __name__ == "__main__":
    main("run", __doc__)
