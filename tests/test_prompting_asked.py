"""What was asked, from what a run keeps of it: the same prompts as were rendered, without tokenizers and shots."""

from pathlib import Path

import pytest
from test_prompting import BARE, SHOTS, TEMPLATE, chat, make_tokenizer

from leash_ray.files import write_json
from leash_ray.prompting.asked import as_asked
from leash_ray.prompting.record import PROMPTS_JSON
from leash_ray.prompting.render import render
from leash_ray.prompting.settings import PromptingConfig
from leash_ray.types import Problem
from leash_ray.verify.extract import opens_thinking

PROBLEMS = [Problem.make("t", prompt, "math", "7") for prompt in ("3+4?", "think: 5+6?\nSay it.", "a", "assistant")]


def kept(folder: Path, prompting: PromptingConfig, template: str | None = None) -> list[Problem]:
    """What policy ``base`` is asked, after it was written down."""
    tokenizer = make_tokenizer(template) if template else None
    rendered = render(PROBLEMS, prompting, "base", {"base": tokenizer}.__getitem__)
    write_json(folder / PROMPTS_JSON, {"same": True, "policies": {"base": rendered.facts}})
    return rendered.problems


@pytest.mark.parametrize(
    ("prompting", "template"),
    [
        (PromptingConfig(), None),
        (PromptingConfig(assistant_prefix="\n<think>\n"), None),
        (PromptingConfig(system="Be brief.", shots=SHOTS), None),
        (chat(), TEMPLATE),
        (chat(system="Be brief.", shots=SHOTS, assistant_prefix="<think>\n"), BARE),
        (chat(), BARE + "{{ '<think>\\n' }}"),
        (chat(), "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}<think>"),
    ],
)
def test_the_prompts_are_those_that_were_rendered(
    tmp_path: Path, prompting: PromptingConfig, template: str | None
) -> None:
    asked = kept(tmp_path, prompting, template)
    found = as_asked(tmp_path, PROBLEMS)
    assert [found["base"][problem.id] for problem in PROBLEMS] == asked
    assert [found[""][problem.id] for problem in PROBLEMS] == PROBLEMS


def test_a_template_that_changes_the_question_keeps_its_end(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content | upper | replace('+', ' plus ') }}{% endfor %}<think>\n"
    kept(tmp_path, chat(), template)
    assert all(opens_thinking(problem.prompt) for problem in as_asked(tmp_path, PROBLEMS)["base"].values())


def test_where_nothing_is_kept_it_is_as_the_task_has_it(tmp_path: Path) -> None:
    assert as_asked(tmp_path, PROBLEMS) == {"": {problem.id: problem for problem in PROBLEMS}}
    others = [Problem.make("t", "other", "math", "7")]
    kept(tmp_path, PromptingConfig(assistant_prefix="<think>"))
    assert list(as_asked(tmp_path, others)["base"].values()) == others  # the one that is kept is none of these
