"""The prompts that a policy was asked, exactly: a token more or less before a completion gives all of it another score.

``prompts.json`` of a run keeps one prompt of each policy and a hash of all. Prompts that are rebuilt from the one
(:mod:`leash_ray.prompting.asked`) are used if the hash says that they are right, and are rendered anew otherwise.
"""

from collections.abc import Sequence

from leash_ray.config import RunConfig
from leash_ray.errors import UsageError
from leash_ray.prompting.asked import as_asked
from leash_ray.prompting.record import read_prompts, render_for
from leash_ray.prompting.render import digest
from leash_ray.run_dir import RunDir
from leash_ray.scoring.subject import Subject
from leash_ray.types import Problem


def asked_prompts(config: RunConfig, run: RunDir, problems: Sequence[Problem], subject: Subject) -> dict[str, str]:
    """Problem id -> the prompt as the policy was asked it. A checkpoint is asked as the policy it belongs to, and a
    model that is none of the run's as the base.

    Raises:
        UsageError: they no longer read as they did when the run sampled.
    """
    policy = next((n for n in (subject.name, subject.name.partition("@")[0]) if n in config.policies), config.base)
    facts = ((read_prompts(run.path) or {}).get("policies") or {}).get(policy)
    if facts is None:  # a run that is older than the record, or is about to sample more problems
        rendered = render_for(config, {policy: subject.model}, policy, problems)
        return {problem.id: problem.prompt for problem in rendered.problems}
    rebuilt = as_asked(run.path, problems)[policy]
    asked = [rebuilt[problem.id] for problem in problems]
    if _hash(asked) != facts["prompts_hash"]:
        asked = render_for(config, {policy: subject.model}, policy, problems).problems
    if _hash(asked) != facts["prompts_hash"]:
        raise UsageError(
            f"the prompts of policy {policy!r} are not those that {run.path} sampled with: its shots_file, its "
            "chat_template or its model's own template has changed; put them back"
        )
    return {problem.id: problem.prompt for problem in asked}


def _hash(asked: Sequence[Problem]) -> str:
    return digest([part for problem in asked for part in (problem.id, problem.prompt)])
