"""The command line: one command a stage, one for the whole. Nothing heavy is imported before it is needed.

Exit status: 0; 1, the work failed (the message says what and how to go on); 2, unusable arguments or config (the
message names the fix). A stack trace only with ``--debug``.
"""

import errno
import os
import select
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from leash_ray import __version__
from leash_ray.cli_compare import compare
from leash_ray.cli_measure import plan, reduce
from leash_ray.cli_options import example, overrides_of, run_path, say
from leash_ray.cli_score import score
from leash_ray.cli_verify import audit_verdicts, check, verify
from leash_ray.errors import RunFailed, UsageError

if TYPE_CHECKING:
    from leash_ray.config import RunConfig

CONFIGS = Path(__file__).parent / "configs"


def main(argv: list[str] | None = None) -> None:
    """Entry point of ``leash``."""
    arguments = sys.argv[1:] if argv is None else argv
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    # A W&B service of the process that started this one is not ours: runs that others left open in it are in the way.
    os.environ.pop("WANDB_SERVICE", None)
    # `ray job stop` and schedulers send SIGTERM: take down what runs on the cluster, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(_run(arguments, debug))


def _run(arguments: list[str], debug: bool) -> int:
    try:
        # Not leash.main(): it would take a broken pipe anywhere, a worker's too, for a reader that has gone away.
        with leash.make_context("leash", list(arguments)) as context:
            leash.invoke(context)
        if sys.stdout:
            sys.stdout.flush()
    except click.exceptions.Exit as e:
        return e.exit_code
    except click.ClickException as e:
        e.show()
        return 2
    except KeyboardInterrupt:
        _fail(f"interrupted; what was finished is kept{_go_on(arguments)}", debug)
        return 1
    except Exception as e:
        if isinstance(e, BrokenPipeError) and _reader_is_gone():
            return 1
        cause = _cause(e)
        _fail(_message(cause, arguments), debug)
        return 2 if isinstance(cause, UsageError) else 1
    return 0


def _message(e: BaseException, arguments: list[str]) -> str:
    if isinstance(e, UsageError | RunFailed):
        return str(e)
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {e.filename}" if e.filename else ""
        return f"no space left{where}: free some space{_go_on(arguments)}; what was finished is kept"
    # The last resort: a person gets a line, not a trace.
    lines = str(e).strip().splitlines() or [""]
    return f"{type(e).__name__}: {lines[-1]} (--debug shows where)"


def _go_on(arguments: list[str]) -> str:
    if not arguments or arguments[0] not in RESUMABLE:
        return ""
    program = sys.argv[0] if Path(sys.argv[0]).name == "leash" else "leash"
    return f"; go on with: {shlex.join([program, *arguments, *(() if '--resume' in arguments else ('--resume',))])}"


def _cause(e: BaseException) -> BaseException:
    """What a task raised. Ray hands it over as an error of the same class whose text is a remote stack trace."""
    cause = getattr(e, "cause", None)
    return _cause(cause) if isinstance(cause, BaseException) else e


def _reader_is_gone() -> bool:
    """Whether it is our own output that nobody reads any more, as after ``leash reduce ... | head -1``."""
    try:
        fd = sys.stdout.fileno()
    except (AttributeError, OSError):  # no standard output, or one that is no file
        return False
    poll = select.poll()
    poll.register(fd, 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)  # what is buffered would fail again, and noisily, when Python ends
    return True


def _fail(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"leash: {message}", err=True)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `leash demo`. Every command takes --debug, which shows stack traces.",
)
@click.version_option(__version__, prog_name="leash")
def leash() -> None:
    """Does RLVR widen what a language model can reach, or only sharpen it?"""


RESUMABLE = ("demo", "run", "train", "sample")


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--run, --resume and --set."""
    for option in (
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config key (dotted)."),
        click.option("--resume", is_flag=True, help="Go on with the run in that directory."),
        click.option("--run", "run", metavar="DIR", help="Run directory. [default: runs/NAME of the config]"),
    ):
        command = option(command)
    return command


@leash.command(epilog=example("leash demo --run runs/demo-seed1 --set seed=1"))
@_run_options
def demo(run: str | None, resume: bool, overrides: tuple[str, ...]) -> None:
    """Answer the question on a small embedded model, end to end, on this machine."""
    _whole(CONFIGS / "demo.yaml", run, resume, overrides)


@leash.command("run", epilog=example("leash run my-run.yaml --set sampling.n=1024"))
@click.argument("config")
@_run_options
def run_(config: str, run: str | None, resume: bool, overrides: tuple[str, ...]) -> None:
    """The whole path for CONFIG: train (if it says so), sample, verify, reduce, report."""
    _whole(Path(config), run, resume, overrides)


def _whole(path: Path, run: str | None, resume: bool, overrides: tuple[str, ...]) -> None:
    config = _load(path, overrides)
    from leash_ray import stages
    from leash_ray.prompting.record import read_prompts
    from leash_ray.report import print_report

    support, page = stages.whole(config, run_path(config.name, run), resume, say)
    print_report(support, sampling=config.sampling.model_dump(), prompts=read_prompts(page.parent))
    click.echo(f"\nresults are in {page.parent}: open {page}")


@leash.command(epilog=example("leash train jobs/configs/countdown.yaml --resume"))
@click.argument("config")
@click.option("--dry-run", is_flag=True, help="Only say what it would ask of the cluster and of each GPU's memory.")
@_run_options
def train(config: str, dry_run: bool, run: str | None, resume: bool, overrides: tuple[str, ...]) -> None:
    """Train a policy by RLVR as CONFIG says."""
    loaded = _load(Path(config), overrides)
    if dry_run:
        from leash_ray.dry_run import dry_run_of_training

        for line in dry_run_of_training(loaded):
            click.echo(line)
        return
    from leash_ray import stages

    with _session(loaded, run, resume) as current:
        model = stages.train(current)
    click.echo(f"the trained model is in {model}; next: leash sample {config} --run {current.run.path} --resume")


@leash.command(
    epilog=example(
        "leash sample --base Qwen/Qwen2.5-1.5B --trained ./my-checkpoint --problems math.jsonl --n 256 --run runs/mine"
    )
)
@click.argument("config", required=False)
@click.option("--base", metavar="MODEL", help="Base model: embedded:countdown, a folder, or a hub name.")
@click.option("--trained", metavar="MODEL", help="Trained model.")
@click.option("--problems", metavar="FILE", help="JSONL with columns problem and answer, verified by math-verify.")
@click.option("--gym", metavar="DATASET", help="A reasoning-gym data set in place of a file.")
@click.option("--n", type=click.IntRange(1), help="Completions a problem and policy.")
@_run_options
def sample(
    config: str | None,
    base: str | None,
    trained: str | None,
    problems: str | None,
    gym: str | None,
    n: int | None,
    run: str | None,
    resume: bool,
    overrides: tuple[str, ...],
) -> None:
    """Sample and verify completions of both policies, into Parquet."""
    from leash_ray.config import load_config

    if problems and gym:
        raise UsageError("give either --problems or --gym")
    if not config and not (base and trained and (problems or gym)):
        raise UsageError("give a CONFIG, or --base, --trained and one of --problems and --gym")
    names = load_config(config or CONFIGS / "pair.yaml")
    changes: dict[str, Any] = {}
    if base:
        changes[f"policies.{names.base}.model"] = base
    if trained:
        changes |= {f"policies.{names.trained}.model": trained, "train": None}
    if problems:
        changes["task"] = {"kind": "jsonl", "path": problems}
    if gym:
        changes["task"] = {"kind": "reasoning_gym", "dataset": gym}
    if n:
        changes["sampling.n"] = n
    loaded = load_config(config or CONFIGS / "pair.yaml", {**changes, **overrides_of(overrides)})
    from leash_ray import stages

    with _session(loaded, run, resume) as current:
        completions = stages.sample(current)
    click.echo(f"completions are in {completions}; next: leash reduce {current.run.path}")


@leash.command(epilog=example("leash serve jobs/configs/countdown.yaml --port 8000"))
@click.argument("config")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a config key (dotted).")
@click.option("--run", "run", metavar="DIR", help="Run whose trained model is served as the trained policy.")
def serve(config: str, host: str, port: int, overrides: tuple[str, ...], run: str | None) -> None:
    """Open CONFIG's policies as an OpenAI-compatible endpoint, until Ctrl-C."""
    loaded = _load(Path(config), overrides)
    from leash_ray.endpoint import serve_forever

    serve_forever(loaded, host, port, None if run is None else run_path(loaded.name, run), say)


@leash.command(epilog=example("leash report runs/demo"))
@click.argument("run")
def report(run: str) -> None:
    """Write a run's HTML page and figures."""
    from leash_ray import stages
    from leash_ray.run_dir import RunDir

    click.echo(f"the report is {stages.report(RunDir.open(run))}")


leash.add_command(reduce)
leash.add_command(compare)
leash.add_command(plan)
leash.add_command(score)
leash.add_command(verify)
leash.add_command(audit_verdicts)
leash.add_command(check)


def _session(config: "RunConfig", run: str | None, resume: bool) -> Any:
    from leash_ray import stages

    return stages.session(config, stages.open_run(config, run_path(config.name, run), resume), say)


def _load(path: Path, overrides: tuple[str, ...]) -> "RunConfig":
    from leash_ray.config import load_config

    return load_config(path, overrides_of(overrides))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    main()
