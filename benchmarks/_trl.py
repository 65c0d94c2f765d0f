"""TRL's side of ``rlvr_step.py``: a process of its own that trains with GRPOTrainer, so many steps at a time.

Plain GRPOTrainer with generation by transformers: float32, no gradient checkpointing, no reference policy where the KL
weight is 0, no evaluation, no logging, no checkpoints; ``--batch`` completions in one forward and backward pass.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from typing import Any

MARK = "trl: "


def main() -> None:
    """For each number on standard input: so many steps, and a line of JSON for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("setting", help="JSON of a Setting")
    parser.add_argument("--batch", type=int, required=True, help="completions in one forward and backward pass")
    args = parser.parse_args()
    out, sys.stdout = sys.stdout, sys.stderr  # TRL's own words must not be taken for rows

    import torch
    from _grpo import Setting
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from leash_ray.types import Verdict
    from leash_ray.verify import VerifierPool
    from leash_ray.verify.settings import VerifyConfig

    torch.set_num_threads(os.cpu_count() or 1)
    setting = Setting(**json.loads(args.setting))
    completions = setting.prompts_per_step * setting.group_size
    tokenizer = AutoTokenizer.from_pretrained(setting.folder)
    problems = setting.problems()
    by_id = {problem.id: problem for problem in problems}
    pool = VerifierPool(VerifyConfig())

    def reward(prompts: list[str], completions: list[str], completion_ids: list, problem: list[str], **_: Any) -> list:
        items = [
            (by_id[id_], text, "stop" if ids[-1] == tokenizer.eos_token_id else "length")
            for id_, text, ids in zip(problem, completions, completion_ids, strict=True)
        ]
        return [float(v.verdict == Verdict.CORRECT) for v in pool.verify(items)]

    class Timed(GRPOTrainer):
        """Notes when each phase begins and ends; changes nothing."""

        def _generate(self, prompts: list) -> Any:
            began_s = time.perf_counter()
            made = super()._generate(prompts)
            row["rollout_s"] = time.perf_counter() - began_s
            row["tokens"] = sum(map(len, made[1]))
            return made

        def _calculate_rewards(self, *given: Any) -> Any:
            began_s = time.perf_counter()
            rewards = super()._calculate_rewards(*given)
            row["verification_s"] = time.perf_counter() - began_s
            return rewards

    row: dict[str, float] = {}

    class OnDemand(TrainerCallback):
        left = 0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not self.left:
                line = sys.stdin.readline()
                if not line:
                    os._exit(0)
                self.left = json.loads(line)
            row.clear()
            self.began_s = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            row["step_s"] = time.perf_counter() - self.began_s
            row["training_s"] = row["step_s"] - row["rollout_s"] - row["verification_s"]
            self.left -= 1
            print(MARK + json.dumps({**row, "completions": completions}), file=out, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=args.batch,
            gradient_accumulation_steps=completions // args.batch,
            num_generations=setting.group_size,
            max_completion_length=setting.max_tokens,
            temperature=1.0,
            beta=setting.kl_coef,
            learning_rate=setting.lr,
            lr_scheduler_type="constant",
            weight_decay=0.0,
            max_grad_norm=1.0,
            shuffle_dataset=False,
            max_steps=10**6,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
            seed=setting.seed,
        )
        steps = 1 + len(problems) // setting.prompts_per_step
        rows = [{"prompt": p.prompt, "problem": p.id} for p in setting.of_steps(steps)]
        Timed(
            model=setting.folder,
            reward_funcs=reward,
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=[OnDemand()],
        ).train()


if __name__ == "__main__":
    main()
