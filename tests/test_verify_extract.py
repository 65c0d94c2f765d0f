"""Where in a completion its answer is."""

import time

import pytest

from leash_ray.verify.extract import (
    MAX_CHARS,
    Box,
    body,
    boxes,
    by_pattern,
    last_answer_tag,
    last_boxed,
    opens_thinking,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ("7", False)),
        ("<think>6</think>7", ("7", True)),
        ("<thinking>6</thinking> 7", (" 7", True)),
        ("a</think>b</think> c", (" c", True)),
        ("  <think>7", None),
        ("7 <think>", ("7 ", False)),
        ("<Think>6</Think>7", ("7", True)),
        ("\n<THINK>6", None),
        ("<think>a</think> 7 <think> or 8", (" 7 ", True)),  # it began to think again, and never ended
        ("<think>a <think>b</think> 7", (" 7", True)),
        ("<think>a</think> 6 <think>b</think> 7 <thinking> c <think> 8", (" 7 ", True)),
        ("<think>a</think>", ("", True)),
        ("</thinker> 7", ("</thinker> 7", False)),
    ],
)
def test_body_is_what_follows_thinking(text: str, expected: tuple[str, bool] | None) -> None:
    assert body(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("perhaps \\boxed{6}", None),
        ("perhaps 6</think> 7", (" 7", True)),
        ("perhaps 6</Thinking> 7", (" 7", True)),
        ("<think>perhaps 6", None),
        ("6</think> 7 <think> 8", (" 7 ", True)),
    ],
)
def test_where_the_prompt_opened_the_thinking_only_what_follows_its_end_is_said(
    text: str, expected: tuple[str, bool] | None
) -> None:
    assert body(text, thinking=True) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("Assistant: Let me think.\n<think>", True),
        ("<THINKING> ", True),
        ("<think>\n\n</think>\n\n", False),  # thinking is switched off
        ("Think within <think> and </think>. Question: 1+1?", False),
        ("", False),
    ],
)
def test_a_prompt_that_ends_in_the_tag_opens_the_thinking(prompt: str, expected: bool) -> None:
    assert opens_thinking(prompt) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\\boxed{1} \\boxed{2}", "2"),
        ("\\boxed{\\frac{a}{b}} \\boxed{c", "\\frac{a}{b}"),  # the last one never closes
        ("\\boxed{\\{1\\}}", "\\{1\\}"),
        ("\\fbox {7}", "7"),
        ("\\boxed{5 or \\boxed{6}}", "5 or \\boxed{6}"),
        ("\\boxed{5 or \\boxed{6}", "6"),  # only the inner one closes
        ("\\boxed{}", ""),
        ("boxed{1}", None),
        ("}\\boxed{1}", "1"),
    ],
)
def test_the_last_box_that_closes(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


def test_boxes_are_those_in_no_other() -> None:
    text = "\\boxed{a\\boxed{b}} \\fbox{c}"
    assert boxes(text) == [Box(0, 7, 17), Box(19, 25, 26)]
    assert [text[box.start : box.end] for box in boxes(text)] == ["a\\boxed{b}", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<answer>1</answer><answer>\n2 </answer>", "\n2 "),
        ("<answer>1", None),
        ("1</answer>", None),
        ("<ANSWER>1</ANSWER>", "1"),
        ("<answer>1</answer> <answer>2", "1"),
    ],
)
def test_the_last_tag(text: str, expected: str | None) -> None:
    assert last_answer_tag(text) == expected


def test_a_pattern_gives_its_first_group_or_all_and_is_given_up_when_it_takes_too_long() -> None:
    assert by_pattern("x=1 x=2", r"x=(\d)") == "2"
    assert by_pattern("x=1 x=2", r"x=\d") == "x=2"
    assert by_pattern("none", r"x=\d") is None
    started_s = time.monotonic()
    assert by_pattern("a" * 60, r"(a|a)*b|(a+)+$z") is None
    assert time.monotonic() - started_s < 5


def test_of_a_long_text_the_end_is_read() -> None:
    said = body("x" * MAX_CHARS + "y")
    assert said is not None
    assert len(said[0]) == MAX_CHARS
    assert said[0].endswith("y")
    assert body("<think>" + "x" * MAX_CHARS + "\\boxed{5}") is None  # where thinking begins is looked for in all of it
    said = body("</think>" + "x" * MAX_CHARS)
    assert said is not None and said[1]
