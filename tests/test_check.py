"""``leash check``: what it asks of its arguments and lines. What it answers is the verifiers' affair."""

import io
import json
import sys

import pytest

from leash_ray.cli import _run as leash

BOX = "so \\boxed{5}"


def check(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
    lines: list[object] | None = None,
) -> tuple[int, list[dict], str]:
    """Status, what was printed, and the message."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines or [])))
    status = leash(["check", *arguments], False)
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


def test_a_text_that_was_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    one = ("--task", "math", "--reference", "5", "--text")
    for arguments, verdict in (
        ((*one, "The answer is 5", "--finish-reason", "length"), "TRUNCATED"),
        ((*one, BOX, "--prompt", "What is 2 + 3?<think>\n"), "NO_ANSWER"),
        ((*one, f"so </think>{BOX}", "--prompt", "What is 2 + 3?<think>\n"), "CORRECT"),
    ):
        status, found, err = check(monkeypatch, capsys, *arguments)
        assert (status, err, [row["verdict"] for row in found]) == (0, "", [verdict]), arguments
    assert check(monkeypatch, capsys, *one, BOX, "--finish-reason", "cut")[0] == 2


def test_lines_say_for_themselves(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = {"reference": "5", "text": "The answer is 5"}
    lines = [
        line,
        {**line, "finish_reason": "stop"},
        {**line, "text": BOX, "prompt": "<think>"},
        {**line, "text": BOX, "prompt": ""},
    ]
    status, found, _ = check(monkeypatch, capsys, "--task", "math", "--finish-reason", "length", lines=lines)
    assert (status, [row["verdict"] for row in found]) == (0, ["TRUNCATED", "CORRECT", "TRUNCATED", "CORRECT"])
    for bad in ({"finish_reason": "cut"}, {"finish_reason": None}, {"prompt": 1}):
        status, found, err = check(monkeypatch, capsys, "--task", "math", lines=[{**line, **bad}])
        assert (status, found) == (2, []) and "line 1: expected" in err and "finish_reason" in err


@pytest.mark.parametrize(
    ("task", "reference", "message"),
    [
        ("choice", "no letter", "choice"),
        ("reasoning_gym:countdown", "21", "no reasoning-gym entry"),
        ("math", "", "reference"),
        ("code", "5", "tests"),
    ],
)
def test_a_reference_that_no_answer_could_match_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str, reference: str, message: str
) -> None:
    status, found, err = check(monkeypatch, capsys, "--task", task, "--reference", reference, "--text", BOX)
    assert (status, found) == (2, []) and message in err and "Traceback" not in err
    lines = [{"reference": reference, "text": BOX}]
    status, found, err = check(monkeypatch, capsys, "--task", task, lines=lines)
    assert (status, found) == (2, []) and err.startswith("leash: line 1: ") and message in err


def test_the_help_promises_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert leash(["check", "--help"], False) == 0
    out = capsys.readouterr().out
    assert "shape" not in out and "finish_reason" in out
    assert leash(["check", "--task", "math500", "--reference", "5", "--text", "5"], False) == 2
    assert "unknown verifier 'math500'" in capsys.readouterr().err
