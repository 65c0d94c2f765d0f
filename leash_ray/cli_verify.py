"""The commands about verdicts: ``leash verify``, ``leash audit-verdicts`` and ``leash check``."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leash_ray.cli_options import example, overrides_of, run_path, say
from leash_ray.errors import UsageError

if TYPE_CHECKING:
    from leash_ray.audit import RareVerdict
    from leash_ray.new_verdicts import Replaced
    from leash_ray.run_dir import RunDir
    from leash_ray.verify.settings import VerifyConfig


def _settings_option(command: Any) -> Any:
    return click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="A key of the config's verify section (dotted)."
    )(command)


@click.command(epilog=example("leash verify runs/mine --only ERROR --set timeout_s=30"))
@click.argument("run")
@click.option("--verifier", metavar="VERIFIER", help="This verifier for all problems, such as 'numeric?rtol=0.01'.")
@click.option("--strict/--lenient", default=None, help="Only the format that was asked for, or lenient processing too.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the verifiers.")
@click.option(
    "--only",
    multiple=True,
    metavar="VERDICT",
    help="Only completions to which the verifier gave this verdict, such as ERROR. The problems then keep their "
    "verifiers: another one judges these completions alone, and RUN/verifications has the record of it.",
)
@click.option("--undo", is_flag=True, help="Take the last verification back; again, the one before it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of tables.")
@_settings_option
def verify(
    run: str,
    verifier: str | None,
    strict: bool | None,
    options: tuple[str, ...],
    only: tuple[str, ...],
    undo: bool,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Verify RUN's stored completions again, without sampling: a new verifier, a fixed bug, other strictness.

    A verifier or option that does not fit the problems is refused before anything is changed. Otherwise it becomes the
    problems' own (but see --only): later sampling and verifying of RUN use it too.

    The old verdicts are kept in RUN/verifications, and --undo puts them and the old verifiers back; a person's marks
    go on to hold. Stopped by Ctrl-C, the same command goes on.
    """
    from leash_ray import new_verdicts
    from leash_ray.types import Verdict
    from leash_ray.verifications import Asked

    if undo:
        if verifier is not None or strict is not None or options or only or overrides:
            raise UsageError("--undo takes the last verification back as it was made: give it no option but --json")
        opened = _open(run)
        with opened.hold():
            replaced, undone = new_verdicts.undo_verification(opened)
        _tell(replaced, as_json, {"undone": undone.number, "verifiers": undone.verifiers})
        say(f"verification {undone.number} is taken back; the problems' verifiers are {undone.verifiers}")
        if undone.n_made_since:
            say(
                f"{undone.n_made_since} completions were sampled after it and keep the verdicts of its verifiers: "
                f"leash verify {opened.path} judges all by the problems' own"
            )
        return
    names = [v.value for v in Verdict]
    for verdict in only:
        if verdict.upper() not in names:
            raise UsageError(f"--only {verdict}: a verdict is one of {', '.join(names)}")
    changed: dict[str, object] = {k: str(v) for k, v in overrides_of(options, "--option").items()}
    if strict is not None:
        changed["strict"] = True if strict else None
    asked = Asked(verifier, changed, tuple(sorted({v.upper() for v in only})))
    opened = _open(run)
    with opened.hold():
        replaced = new_verdicts.verify_again(opened, asked, overrides_of(overrides, "--set"), say)
    _tell(replaced, as_json)
    if not as_json:
        click.echo(f"\nthe old verdicts are in {opened.path}/verifications: leash verify {opened.path} --undo")
        click.echo(f"next: leash report {opened.path}")


@click.command("audit-verdicts", epilog=example("leash audit-verdicts runs/mine --mark"))
@click.argument("run")
@click.option(
    "--fewer-than", default=3, show_default=True, type=click.IntRange(2), help="Correct samples of a problem."
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="Completions to show.")
@click.option("--mark", is_flag=True, help="Ask for each one that is not marked yet: right or wrong?")
@click.option("--again", is_flag=True, help="With --mark: ask for marked ones too, to change or withdraw a mark.")
@click.option(
    "--marks",
    metavar="FILE",
    help="Take marks from JSONL, such as an edited copy of audit/rare.jsonl: mark is CORRECT, INCORRECT, NONE "
    "(withdraws an earlier mark) or empty (left as it is).",
)
@click.option("--json", "as_json", is_flag=True, help="Print every one as JSONL in place of text.")
def audit_verdicts(
    run: str, fewer_than: int, limit: int, mark: bool, again: bool, marks: str | None, as_json: bool
) -> None:
    """Show RUN's rare correct verdicts with their texts, take a person's marks, and reduce again with them.

    Problems that a policy solved fewer than 3 times decide what counts as expanded or shrunk, so a single wrong verdict
    there is a wrong result. All of them are written to RUN/audit/rare.jsonl; marks are kept in RUN/audit/marks.jsonl,
    each as soon as it is given, so Ctrl-C loses none.
    """
    from leash_ray.audit import rare_verdicts, summary
    from leash_ray.report.audit import print_rare, write_rare

    if again and not mark:
        raise UsageError("--again belongs to --mark: leash audit-verdicts RUN --mark --again")
    opened = _open(run)
    found = rare_verdicts(opened.path, fewer_than)
    listed = write_rare(opened.path / "audit" / "rare.jsonl", found)
    if marks:
        _add_marks(opened, Path(marks))
    elif mark:
        if not sys.stdin.isatty():
            raise UsageError("--mark asks at a terminal; give --marks FILE here")
        _ask_marks(opened, [v for v in found if again or not v.mark])
    else:
        if as_json:
            for verdict in found:
                click.echo(json.dumps(verdict.to_json()))
            return
        print_rare(found, limit)
        click.echo(f"\n{summary(found)}; all of them are in {listed}: mark with leash audit-verdicts {run} --mark")
        return
    from leash_ray import new_verdicts

    with opened.hold():
        replaced = new_verdicts.put_marks(opened)
    _tell(replaced, as_json)
    if not as_json:
        click.echo(f"\nnext: leash report {opened.path}")


def _add_marks(run: "RunDir", path: Path) -> None:
    from leash_ray.marks import add_marks, marks_path, marks_to_add
    from leash_ray.overrule import refuse_unknown

    new = marks_to_add(path)
    refuse_unknown(run.path, new)
    add_marks(marks_path(run.path), new)
    say(f"{len(new)} marks added to {marks_path(run.path)}")


def _ask_marks(run: "RunDir", found: "list[RareVerdict]") -> None:
    """Keep each mark when it is given: what stops the asking loses none."""
    from leash_ray.marks import add_marks, marks_path
    from leash_ray.report.audit import ask_marks

    n, stopped = 0, False
    try:
        for row in ask_marks(found):
            add_marks(marks_path(run.path), [row])
            n += 1
    except click.Abort:
        stopped = True
    say(f"{n} marks added to {marks_path(run.path)}" if n else "nothing was marked")
    if stopped:
        say(f"stopped: the marks given so far are kept; go on with leash audit-verdicts {run.path} --mark")


def _open(run: str) -> "RunDir":
    from leash_ray.run_dir import RunDir

    return RunDir.open(run_path("", run))


def _tell(replaced: "Replaced", as_json: bool, more: Mapping[str, Any] | None = None) -> None:
    from leash_ray.report.changes import print_changes

    changes, before, after = replaced
    if as_json:
        click.echo(json.dumps({**(more or {}), **changes.to_json(), "before": before, "after": after}))
    else:
        print_changes(changes, before, after)


@click.command(epilog=example("leash check --task math --reference 1/2 --text 'so \\boxed{0.5}'"))
@click.option(
    "--task",
    required=True,
    metavar="VERIFIER",
    help="Verifier with its options, such as math, choice, 'numeric?rtol=0.01' or reasoning_gym:DATASET.",
)
@click.option("--reference", help="What the verifier compares with: docs/tasks.md has each verifier's form.")
@click.option(
    "--text",
    help='The completion. Without it: JSONL of {"reference", "text"} on standard input, each line with "prompt" and '
    '"finish_reason" if wanted.',
)
@click.option("--prompt", help="What the completion continues; it counts where it ends in an opened <think>.")
@click.option(
    "--finish-reason",
    type=click.Choice(["stop", "length"]),
    help='Whether the completion ended by itself, or at the length limit. Default: "stop".',
)
@_settings_option
def check(
    task: str,
    reference: str | None,
    text: str | None,
    prompt: str | None,
    finish_reason: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Print why a text gets its verdict: the verdict, the canonical answer, the stage that found it, the reason.

    One JSON object a text; leniency says what a CORRECT one would not be right without. --prompt and --finish-reason
    hold for all lines of standard input that do not say otherwise. A reference that no answer could match is refused.
    """
    from leash_ray.check import Text, check_lines, check_text

    if (text is None) != (reference is None):
        raise UsageError("give --reference and --text together, or neither and JSONL on standard input")
    settings = _settings(overrides_of(overrides, "--set"))
    common = Text(reference or "", text or "", prompt or "", finish_reason or "stop")
    if text is not None:
        click.echo(json.dumps(check_text(task, common, settings)))
        return
    for row in check_lines(task, sys.stdin, settings, common):
        click.echo(json.dumps(row))
        if os.environ.get("PYTHONUNBUFFERED"):
            sys.stdout.flush()


def _settings(overrides: Mapping[str, Any]) -> "VerifyConfig":
    from leash_ray.config import merged, validate
    from leash_ray.verify.settings import VerifyConfig

    return validate(VerifyConfig, merged({}, overrides), "--set")
