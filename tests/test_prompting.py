"""From problems to the texts that policies are sent: raw, chat, shots, templates, and what is kept and told of it.

The tokenizers are built here: one token a character, with a beginning-of-sequence token that they add or do not add.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_run import make_run
from rich.console import Console

from leash_ray.config import RunConfig, parse_config
from leash_ray.errors import UsageError
from leash_ray.prompting.record import keep, prompting_of, read_prompts, render_both
from leash_ray.prompting.render import Rendered, render
from leash_ray.prompting.settings import PromptingConfig, Shot
from leash_ray.prompting.template import without_bos
from leash_ray.report import print_report
from leash_ray.report.html import render_html
from leash_ray.report.prompts import difference, examples, summary
from leash_ray.sampling.draw import ShardMaker
from leash_ray.sampling.shard import Shard
from leash_ray.session import Session, open_run, problems_of, prompts_of, training_prompts
from leash_ray.stages import sample
from leash_ray.types import CompletionBatch, Problem, SampleRequest, SamplingParams, Verdict
from leash_ray.verify import Verification

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
BARE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
SHOTS = [Shot(question="1+1?", answer="2"), Shot(question="2+3?", answer="5")]


def problem(question: str, answer: str = "7") -> Problem:
    return Problem.make("sums", question, "math", answer)


PROBLEMS = [problem("3+4?"), problem("5+6?", "11")]


def make_tokenizer(template: Any = None, adds_bos: bool = True) -> Any:
    """One token a character of ASCII; ``<s>`` and ``</s>`` begin and end a sequence."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", *map(chr, range(10, 127))]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    if adds_bos:
        backend.post_processor = TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.chat_template = template
    return made


def asked(prompting: PromptingConfig, tokenizer: Any = None, **others: Any) -> Rendered:
    """The problems as policy ``base`` is asked them; ``others``: tokenizers of other policies."""
    return render(PROBLEMS, prompting, "base", {"base": tokenizer, **others}.__getitem__)


def first(prompting: PromptingConfig, tokenizer: Any = None, **others: Any) -> str:
    return asked(prompting, tokenizer, **others).problems[0].prompt


def chat(**settings: Any) -> PromptingConfig:
    return PromptingConfig(format="chat", **settings)


# Raw.


def test_raw_is_the_prompt_as_it_is_and_needs_no_tokenizer() -> None:
    def no_tokenizer(policy: str) -> Any:
        raise AssertionError(policy)

    rendered = render(PROBLEMS, PromptingConfig(), "base", no_tokenizer)
    assert rendered.problems == PROBLEMS
    assert rendered.facts["format"] == "raw" and rendered.facts["template"] is None


def test_raw_with_all_its_parts() -> None:
    prompting = PromptingConfig(system="Add.", shots=SHOTS, assistant_prefix="\nLet's think.")
    assert first(prompting) == "Add.\n\n1+1?\n2\n\n2+3?\n5\n\n3+4?\nLet's think."


def test_a_shot_has_the_form_that_the_template_says() -> None:
    prompting = PromptingConfig(shots=SHOTS[:1], shot_template="Q: {question}\nA: {answer}\n###\n")
    assert first(prompting) == "Q: 1+1?\nA: 2\n###\n3+4?"


def test_braces_in_a_shot_are_text() -> None:
    shots = [Shot(question=r"{answer} \frac{1}{2} {}", answer="{question}")]
    assert first(PromptingConfig(shots=shots)) == "{answer} \\frac{1}{2} {}\n{question}\n\n3+4?"


@pytest.mark.parametrize(
    ("few_shot", "text"), [(0, "3+4?"), (1, "1+1?\n2\n\n3+4?"), (None, "1+1?\n2\n\n2+3?\n5\n\n3+4?")]
)
def test_as_many_shots_as_asked_for(few_shot: int | None, text: str) -> None:
    assert first(PromptingConfig(shots=SHOTS, few_shot=few_shot)) == text


def test_only_the_prompt_changes() -> None:
    rendered = asked(PromptingConfig(system="Add.")).problems
    for before, after in zip(PROBLEMS, rendered, strict=True):
        assert after.prompt == f"Add.\n\n{before.prompt}"
        assert (after.id, after.verifier, after.reference) == (before.id, before.verifier, before.reference)


# Chat.


def test_chat_by_the_model_s_own_template() -> None:
    prompting = chat(system="Add.", shots=SHOTS[:1], assistant_prefix="<think>\n")
    text = first(prompting, make_tokenizer(TEMPLATE, adds_bos=False))
    assert text == "<s><system>Add.</s><user>1+1?</s><assistant>2</s><user>3+4?</s><assistant><think>\n"


@pytest.mark.parametrize("written", ["", "<think>", "<think>\n"])
@pytest.mark.parametrize("prefix", ["<think>", "<think>\n"])
def test_a_prefix_that_the_template_writes_itself_comes_once(written: str, prefix: str) -> None:
    tokenizer = make_tokenizer(BARE + "{{ '" + written.replace("\n", "\\n") + "' }}")
    assert first(chat(assistant_prefix=prefix), tokenizer) == f"user: 3+4?\nassistant:{prefix}"


@pytest.mark.parametrize("prefix", ["", "\n", "\nSo"])
def test_a_prefix_of_other_words_is_put_after_what_the_template_writes(prefix: str) -> None:
    tokenizer = make_tokenizer(BARE + "{{ '\\n' }}")
    assert first(chat(assistant_prefix=prefix), tokenizer) == f"user: 3+4?\nassistant:\n{prefix}"


def test_a_given_template_replaces_the_model_s_own(tmp_path: Path) -> None:
    tokenizer, text = make_tokenizer(TEMPLATE), "user: 3+4?\nassistant:"
    assert first(chat(chat_template=BARE), tokenizer) == text
    path = tmp_path / "mine.jinja"
    path.write_text(BARE)
    rendered = asked(chat(chat_template=str(path)), tokenizer)
    assert rendered.problems[0].prompt == text
    assert rendered.facts["template"] == "given" and rendered.facts["template_text"] == BARE


def test_a_borrowed_template_gives_both_policies_the_same_text() -> None:
    prompting = chat(chat_template_of="trained")
    tokenizers = {"base": make_tokenizer(None), "trained": make_tokenizer(TEMPLATE)}
    base, trained = (render(PROBLEMS, prompting, name, tokenizers.__getitem__) for name in ("base", "trained"))
    assert base.texts == trained.texts == [f"<s><user>{q}</s><assistant>" for q in ("3+4?", "5+6?")]
    assert (base.facts["template"], trained.facts["template"]) == ("of trained", "own")


def test_a_template_takes_further_variables() -> None:
    template = BARE + "{% if not enable_thinking %}<think></think>{% endif %}"
    text = first(chat(template_kwargs={"enable_thinking": False}), make_tokenizer(template))
    assert text == "user: 3+4?\nassistant:<think></think>"


def test_a_template_that_asks_for_the_day_gets_the_same_one_on_any_day() -> None:
    tokenizer = make_tokenizer("{{ strftime_now('%d %b %Y') }} {{ messages[-1].content }}")
    assert first(chat(), tokenizer) == "26 Jul 2024 3+4?"


def test_of_several_templates_the_default_is_taken() -> None:
    assert first(chat(), make_tokenizer({"default": BARE, "tool_use": TEMPLATE})) == "user: 3+4?\nassistant:"


@pytest.mark.parametrize(
    ("template", "what"), [(None, "has no chat template"), ({"rag": BARE}, "has several chat templates and no default")]
)
def test_no_template_names_what_to_do(template: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what) as e:
        asked(chat(), make_tokenizer(template))
    for fix in ("prompting.chat_template to", "prompting.chat_template_of", "prompting.format to raw"):
        assert fix in str(e.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no system role') }}", "cannot write the turns system → user: no system role"),
        ("{% for %}", "cannot write the turns"),
        ("{{ messages[9].content.x }}", "cannot write the turns"),
        ("{{ 1 + 'a' }}", "cannot write the turns"),
        ("{% if 0 %}{% endif %}Hello", "writes no question"),
        ("no-such-file.jinja", "is no Jinja text, and cannot be read as a file"),
    ],
)
def test_a_template_that_cannot_be_used(template: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked(chat(chat_template=template, system="Add."), make_tokenizer())


@pytest.mark.parametrize("name", ["tokenize", "add_generation_prompt", "messages"])
def test_a_variable_that_is_not_the_template_s(name: str) -> None:
    with pytest.raises(UsageError, match=f"template_kwargs cannot set {name}"):
        asked(chat(template_kwargs={name: True}), make_tokenizer(TEMPLATE))


# The beginning of a sequence.


@pytest.mark.parametrize("adds_bos", [True, False])
@pytest.mark.parametrize("template", [TEMPLATE, BARE])
def test_the_beginning_of_sequence_comes_at_most_once(template: str, adds_bos: bool) -> None:
    tokenizer = make_tokenizer(template, adds_bos)
    ids = tokenizer(first(chat(), tokenizer))["input_ids"]  # as leash_ray.serving tokenizes a prompt
    assert ids.count(tokenizer.bos_token_id) == (1 if adds_bos or template == TEMPLATE else 0)


def test_whether_the_tokenizer_adds_it_does_not_make_two_prompts_differ() -> None:
    adds, leaves = (asked(chat(), make_tokenizer(TEMPLATE, adds_bos)) for adds_bos in (True, False))
    assert adds.texts == leaves.texts
    assert adds.problems[0].prompt == "<user>3+4?</s><assistant>"
    assert leaves.problems[0].prompt == "<s><user>3+4?</s><assistant>"


def test_a_beginning_that_the_user_wrote_into_a_raw_prompt_stays() -> None:
    assert first(PromptingConfig(system="<s>"), make_tokenizer()) == "<s>\n\n3+4?"


def test_a_tokenizer_without_such_a_token_takes_nothing_away() -> None:
    from transformers import AutoTokenizer

    from leash_ray.deploy import resolve_model

    tokenizer = AutoTokenizer.from_pretrained(resolve_model("embedded:countdown"))
    assert tokenizer.bos_token is None and tokenizer.chat_template is None
    assert without_bos("2 3 9=21:", tokenizer) == "2 3 9=21:"


# Shots.


def write_lines(path: Path, *rows: Any) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def test_shots_from_a_file(tmp_path: Path) -> None:
    rows = [{"question": "1+1?", "answer": "2", "source": "a book"}, "", {"question": "2+3? ", "answer": "5"}]
    prompting = PromptingConfig(shots_file=write_lines(tmp_path / "shots.jsonl", *rows), few_shot=2)
    assert first(prompting) == "1+1?\n2\n\n2+3? \n5\n\n3+4?"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], "line 1: not JSON"),
        ([{"question": "1+1?", "answer": "2"}, {"question": "2+3?"}], "line 2: a shot is"),
        ([{"question": "1+1?", "answer": 2}], "line 1: a shot is"),
        (["[1]"], "line 1: a shot is"),
        ([""], "is empty"),
        ([{"question": "1+1?", "answer": "2"}], r"few_shot is 3, and there are 1 shots"),
    ],
)
def test_a_file_of_shots_that_cannot_be_used(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked(PromptingConfig(shots_file=write_lines(tmp_path / "shots.jsonl", *rows), few_shot=3))


def test_no_file_of_shots() -> None:
    with pytest.raises(UsageError, match=r"shots_file nowhere\.jsonl cannot be read"):
        asked(PromptingConfig(shots_file="nowhere.jsonl"))


@pytest.mark.parametrize(
    ("prompt", "shot", "leaks"),
    [
        ("1+1?", "1+1?", True),
        ("What  is\n1+1?", "what is 1+1?", True),  # case and spaces
        ("1+1?\nPlease reason step by step.", "1+1?", True),  # the task's wording around the question
        ("1+1?", "Q: 1+1?\nAnswer with a number.", True),  # the shot's wording around it
        ("What is 21+1?", "1+1?", False),  # within a number
        ("1+12", "1+1", False),
        ("21+1, then 1+1?", "1+1?", True),  # not the first place where it could be
        ("1+2?", "1+1?", False),
    ],
)
def test_a_shot_that_is_also_a_problem_is_refused(prompt: str, shot: str, leaks: bool) -> None:
    prompting = PromptingConfig(shots=[Shot(question=shot, answer="2")])
    measured = [problem("9+9?"), problem(prompt)]
    if leaks:
        with pytest.raises(UsageError, match=rf"shot 1 of prompting is also a problem of the run \({measured[1].id}\)"):
            render(measured, prompting, "base", {}.__getitem__)
    else:
        render(measured, prompting, "base", {}.__getitem__)


def test_a_shot_that_is_not_shown_gives_nothing_away() -> None:
    shots = [Shot(question="1+1?", answer="2"), Shot(question="3+4?", answer="7")]
    assert first(PromptingConfig(shots=shots, few_shot=1)) == "1+1?\n2\n\n3+4?"


# The config.


def config(tmp_path: Path | None = None, **sections: Any) -> RunConfig:
    """A run of two policies on the two problems."""
    rows = [{"problem": "3+4?", "answer": "7"}, {"problem": "5+6?", "answer": "11"}]
    path = write_lines(tmp_path / "problems.jsonl", *rows) if tmp_path else "unused.jsonl"
    raw = {
        "task": {"kind": "jsonl", "path": path, "prompt": "{question}"},
        "policies": {"base": {"model": "embedded:countdown"}, "trained": {"model": "embedded:countdown"}},
        **sections,
    }
    return parse_config(raw, "test")


def policies(**prompting: Any) -> dict[str, Any]:
    return {name: {"model": "embedded:countdown", "prompting": prompting.get(name)} for name in ("base", "trained")}


def test_a_policy_s_own_prompting_replaces_the_whole_of_the_run_s() -> None:
    found = config(prompting={"system": "Add."}, policies=policies(trained={"assistant_prefix": "So"}))
    assert prompting_of(found, "base") == (PromptingConfig(system="Add."), "prompting")
    assert prompting_of(found, "trained") == (PromptingConfig(assistant_prefix="So"), "policies.trained.prompting")


@pytest.mark.parametrize(
    ("prompting", "message"),
    [
        ({"fewshot": 1}, "unknown key 'prompting.fewshot'; did you mean 'few_shot'?"),
        ({"shots": [{"qestion": "1", "answer": "2"}]}, "'prompting.shots.0.qestion'; did you mean 'question'?"),
        ({"format": "chatml"}, "prompting.format"),
        ({"few_shot": 1}, "there are no shots"),
        ({"shots": [{"question": "1", "answer": "2"}], "shots_file": "a"}, "either shots or shots_file"),
        ({"format": "chat", "chat_template": "a", "chat_template_of": "base"}, "either chat_template or"),
        ({"chat_template": "a.jinja"}, "chat_template would have no effect with format: raw"),
        ({"template_kwargs": {"a": 1}}, "template_kwargs would have no effect with format: raw"),
        ({"format": "chat", "shot_template": "{question}{answer}"}, "no effect with format: chat"),
        ({"shot_template": "{question}"}, r"must contain {question} and {answer}"),
        ({"format": "chat", "chat_template_of": "triained"}, "prompting.chat_template_of is 'triained'"),
    ],
)
def test_a_section_that_cannot_be(prompting: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as e:
        config(prompting=prompting)
    assert message in str(e.value)


def test_a_policy_s_section_that_cannot_be() -> None:
    with pytest.raises(UsageError, match=r"unknown key 'policies.base.prompting.sistem'; did you mean 'system'\?"):
        config(policies=policies(base={"sistem": "Add."}))


# What is kept.


def model_folder(path: Path, template: str | None) -> str:
    """Enough of a model for what does not run it."""
    make_tokenizer(template).save_pretrained(path)
    (path / "config.json").write_text('{"model_type": "llama"}')
    return str(path)


def test_both_policies_are_asked_the_same_unless_the_config_says_otherwise(tmp_path: Path) -> None:
    found = config(tmp_path, prompting={"system": "Add."})
    run = open_run(found, tmp_path / "run", resume=False)
    record = read_prompts(run.path)
    assert record is not None and record["same"] is True
    assert record["policies"]["base"] == record["policies"]["trained"]
    assert record["policies"]["base"]["example"]["prompt"] == "Add.\n\n3+4?"
    both = prompts_of(found, run, problems_of(found, run))
    assert both["base"] == both["trained"]
    assert [p.prompt for p in problems_of(found, run)] == ["3+4?", "5+6?"]  # what reports show


def test_a_policy_of_its_own_template_is_told(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model", TEMPLATE)
    mixed = {"base": {"model": model}, "trained": {"model": model, "prompting": {"format": "chat"}}}
    found = config(tmp_path, policies=mixed)
    run = open_run(found, tmp_path / "run", resume=False)
    record = read_prompts(run.path)
    assert record is not None and record["same"] is False
    facts = record["policies"]["trained"]
    assert (facts["format"], facts["template"], facts["template_text"]) == ("chat", "own", TEMPLATE)
    both = prompts_of(found, run, problems_of(found, run))
    assert [p.prompt for p in both["base"]] == ["3+4?", "5+6?"]
    assert [p.prompt for p in both["trained"]] == [f"<user>{q}</s><assistant>" for q in ("3+4?", "5+6?")]
    assert [p.id for p in both["base"]] == [p.id for p in both["trained"]]


def test_the_same_text_by_two_ways_is_the_same(tmp_path: Path) -> None:
    """A base without a template borrows the trained model's."""
    models = {
        "base": {"model": model_folder(tmp_path / "base", None)},
        "trained": {"model": model_folder(tmp_path / "trained", TEMPLATE)},
    }
    with pytest.raises(UsageError, match="the model of policy 'base' has no chat template"):
        open_run(config(tmp_path, policies=models, prompting={"format": "chat"}), tmp_path / "run", resume=False)
    assert not (tmp_path / "run").exists()
    borrowed = config(tmp_path, policies=models, prompting={"format": "chat", "chat_template_of": "trained"})
    record = read_prompts(open_run(borrowed, tmp_path / "run", resume=False).path)
    assert record is not None and record["same"] is True


def test_the_engine_s_tokenizer_is_the_one_that_counts(tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", BARE)
    model = model_folder(tmp_path / "model", TEMPLATE)
    mixed = {"base": {"model": model, "engine": {"tokenizer": other}}, "trained": {"model": model}}
    both, record = render_both(
        config(policies=mixed, prompting={"format": "chat"}), {"base": model, "trained": model}, PROBLEMS
    )
    assert both["base"][0].prompt == "user: 3+4?\nassistant:" and record["same"] is False


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    models = dict.fromkeys(("base", "trained"), str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot load the tokenizer of .*, which format: chat needs"):
        render_both(config(prompting={"format": "chat"}), models, PROBLEMS)


def test_a_resumed_run_refuses_other_prompting(tmp_path: Path) -> None:
    open_run(config(tmp_path), tmp_path / "run", resume=False)
    with pytest.raises(UsageError, match=r'prompting.system: null -> "Add."'):
        open_run(config(tmp_path, prompting={"system": "Add."}), tmp_path / "run", resume=True)


def test_a_resumed_run_refuses_shots_that_were_changed_in_their_file(tmp_path: Path) -> None:
    shots = write_lines(tmp_path / "shots.jsonl", {"question": "1+1?", "answer": "2"})
    found = config(tmp_path, prompting={"shots_file": shots})
    run = open_run(found, tmp_path / "run", resume=False)
    prompts_of(found, run, problems_of(found, run))
    write_lines(tmp_path / "shots.jsonl", {"question": "1+1?", "answer": "two"})
    run = open_run(found, tmp_path / "run", resume=True)
    with pytest.raises(UsageError, match=r"the prompts of policy 'base' are not those that .* was begun with"):
        prompts_of(found, run, problems_of(found, run))


def test_a_run_that_is_older_than_the_file_gets_one(tmp_path: Path) -> None:
    found = config(tmp_path)
    run = open_run(found, tmp_path / "run", resume=False)
    before = read_prompts(run.path)
    (run.path / "prompts.json").unlink()
    assert read_prompts(run.path) is None
    prompts_of(found, run, problems_of(found, run))
    assert read_prompts(run.path) == before


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(UsageError, match="is damaged"):
        keep(tmp_path, {"same": True, "policies": {}})


def test_training_asks_as_the_trained_policy_is_asked(tmp_path: Path) -> None:
    rows = [{"problem": "8+9?", "answer": "17"}]
    task = {"kind": "jsonl", "path": write_lines(tmp_path / "train.jsonl", *rows), "prompt": "{question}"}
    pair = {"base": {"model": "embedded:countdown"}, "trained": {"prompting": {"assistant_prefix": "\nSo"}}}
    found = config(tmp_path, policies=pair, train={"task": task})
    run = open_run(found, tmp_path / "run", resume=False)
    assert [p.prompt for p in training_prompts(found, run)] == ["8+9?\nSo"]
    leak = {"shots": [{"question": "8+9?", "answer": "17"}]}
    with pytest.raises(UsageError, match="is also a problem of the run"):
        open_run(config(tmp_path, policies={**pair, "trained": {"prompting": leak}}, train={"task": task}),
                 tmp_path / "other", resume=False)  # fmt: skip


# Sampling.


class Scripted:
    """Answers every request with what it was asked."""

    def sample(self, requests: Sequence[SampleRequest], params: SamplingParams) -> list[CompletionBatch]:
        return [
            CompletionBatch(
                prompt_ids=np.zeros(1, np.int32),
                token_ids_T=np.zeros(r.n, np.int32),
                logprobs_T=np.zeros(r.n, np.float32),
                offsets=np.arange(r.n + 1),
                texts=[r.prompt] * r.n,
                finish_reasons=["stop"] * r.n,
                version=0,
            )
            for r in requests
        ]


class Unread:
    """Verifies nothing, and keeps the problems that it was shown."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def verify(self, items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        self.problems += [item[0] for item in items]
        return [Verification(Verdict.NO_ANSWER, None) for _ in items]


IDS = tuple(problem.id for problem in PROBLEMS)


def test_each_policy_s_shards_get_its_own_prompts(tmp_path: Path) -> None:
    verifier: Any = Unread()
    served: Any = {"base": Scripted(), "trained": Scripted(), "third": Scripted()}
    prompts = {"base": ["b0", "b1"], "trained": ["t0", "t1"]}
    maker = ShardMaker(tmp_path, PROBLEMS, SamplingParams(), 0, served, verifier, prompts)
    for policy, texts in {**prompts, "third": ["3+4?", "5+6?"]}.items():
        for shard in (Shard(policy, IDS, 0, 2), Shard(policy, IDS[1:], 2, 3)):
            maker.make(shard)
            rows = pq.read_table(tmp_path / shard.path).to_pylist()
            wanted = [(i, texts[IDS.index(i)]) for i in shard.problems]
            assert [(r["problem_id"], r["text"]) for r in rows] == [
                row for row in wanted for _ in range(shard.n_samples)
            ]
    # Reading depends on what was asked (a prompt may open the thinking); the id, and so the cache's key, stays.
    assert {p.prompt for p in verifier.problems} == {"b0", "b1", "t0", "t1", "3+4?", "5+6?"}
    assert {p.id for p in verifier.problems} == {p.id for p in PROBLEMS}


class Room:
    """A served policy that only says what it was asked to make room for."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    def check_prompts(self, problems: Sequence[Problem], max_tokens: int) -> None:
        self.checked = [p.prompt for p in problems]

    def at(self, version: int, weights: str | None = None) -> "Room":
        return self


def test_the_stage_checks_and_draws_what_each_policy_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, Any] = {}

    def sample_shards(shards: Any, folder: Path, problems: Sequence[Problem], *others: Any) -> Any:
        drawn.update(problems=[p.prompt for p in problems], prompts=others[-2])
        for shard in shards:
            counts = {"completions": shard.n_rows, "tokens": 0, "CORRECT": 0, "ERROR": 0}
            yield {"shard": shard.to_json(), "policy": shard.policy, "correct": {}, "dead": [], **counts}

    monkeypatch.setattr("leash_ray.sampling.stream.sample_shards", sample_shards)
    monitor = {"wandb": "off"}
    found = config(tmp_path, policies=policies(trained={"system": "Add."}), monitor=monitor, sampling={"n": 2})
    run = open_run(found, tmp_path / "run", resume=False)
    current = Session(found, run, lambda line: None, _verifier="not used")
    rooms = {"base": Room(), "trained": Room()}
    monkeypatch.setattr(current, "serve", lambda models, training: rooms)
    sample(current)
    asked = {"base": ["3+4?", "5+6?"], "trained": ["Add.\n\n3+4?", "Add.\n\n5+6?"]}
    assert drawn == {"problems": ["3+4?", "5+6?"], "prompts": asked}
    assert {name: room.checked for name, room in rooms.items()} == asked


# The report.


def facts(**settings: Any) -> dict[str, Any]:
    tokenizer = make_tokenizer(TEMPLATE)
    return render(PROBLEMS, PromptingConfig(**settings), "base", lambda policy: tokenizer).facts


SUPPORT = {"base": "base", "trained": "trained", "support": {}, "policies": {}}


def differing(base: dict[str, Any], trained: dict[str, Any]) -> dict[str, Any]:
    return {"same": False, "policies": {"base": base, "trained": trained}}


def test_the_difference_in_words() -> None:
    assert difference(SUPPORT, differing(facts(), facts(format="chat"))) == (
        "prompts differ between policies: base raw, trained chat (own template)"
    )
    shots = [{"question": "1+1?", "answer": "2"}]
    full = facts(format="chat", chat_template=BARE, system="Add.", shots=shots, assistant_prefix="So\n")
    said = difference(SUPPORT, differing(full, facts(shots=[*shots, {"question": "2+3?", "answer": "5"}])))
    assert said == (
        r"prompts differ between policies: base chat (given template, system text, 1 shot, prefix 'So\n'), "
        "trained raw (2 shots)"
    )


def test_the_difference_of_what_looks_alike() -> None:
    two, other = facts(system="Add."), facts(system="Add up.")
    assert difference(SUPPORT, differing(two, other)) == (
        "prompts differ between policies: both raw (system text), with different system texts"
    )


@pytest.mark.parametrize("prompts", [None, {}, {"same": True}, {"same": True, "policies": {"base": {}}}])
def test_nothing_is_said_where_nothing_differs_or_nothing_is_known(prompts: dict[str, Any] | None) -> None:
    assert difference(SUPPORT, prompts) is None


def test_where_both_are_the_same_it_is_one_line_and_one_example() -> None:
    same = {"same": True, "policies": {"base": facts(system="Add."), "trained": facts(system="Add.")}}
    assert summary(SUPPORT, same) == "raw (system text), the same for both policies"
    assert examples(SUPPORT, same) == [("both policies", "Add.\n\n3+4?")]
    assert summary(SUPPORT, None) is None and examples(SUPPORT, None) == []


def test_the_terminal_warns() -> None:
    def printed(prompts: dict[str, Any] | None) -> str:
        console = Console(width=200, record=True, file=open("/dev/null", "w"), color_system=None)  # noqa: SIM115
        print_report(SUPPORT, console, prompts=prompts)
        console.file.close()
        return console.export_text()

    said = "prompts differ between policies: base raw, trained chat (own template)"
    assert f"Caution: {said}" in printed(differing(facts(), facts(format="chat")))
    assert "prompts" not in printed(None)
    assert "prompts" not in printed({"same": True, "policies": {"base": facts(), "trained": facts()}})


def page(prompts: dict[str, Any] | None) -> str:
    return render_html(SUPPORT, None, [], {}, {"prompts": prompts})


def test_the_page_warns_and_shows_both_prompts() -> None:
    text = page(differing(facts(), facts(format="chat", system="<script>alert(1)</script>")))
    assert "Prompts differ between policies: base raw, trained chat (own template, system text)" in text
    assert "One prompt, as base read it" in text and "One prompt, as trained read it" in text
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text


def test_the_page_is_quiet_where_prompts_are_the_same() -> None:
    text = page({"same": True, "policies": {"base": facts(), "trained": facts()}})
    assert "Prompts: raw, the same for both policies." in text and "differ" not in text.partition("<main>")[2][:2000]


def test_a_run_without_the_file_is_reported_as_before() -> None:
    assert "Prompts" not in page(None)


def test_a_run_s_report_reads_the_file(tmp_path: Path) -> None:
    from leash_ray.report import write_report

    def verified(items: Sequence[tuple[Problem, str, str]]) -> list[Verification]:
        return [Verification(Verdict.CORRECT, text) for _, text, _ in items]

    run = make_run(tmp_path / "run", PROBLEMS, {"base": [["7"], ["11"]], "trained": [["7"], ["11"]]}, verified)
    run.support_json.write_text(json.dumps(SUPPORT))
    assert "Prompts differ" not in write_report(run.path).read_text()
    keep(run.path, differing(facts(), facts(format="chat")))
    assert "Prompts differ between policies: base raw" in write_report(run.path).read_text()
