"""What the entrypoints share: each is ``leash COMMAND``, with ``--config FILE`` in the place of the argument CONFIG."""

import argparse
import sys
from pathlib import Path


def main(command: str, doc: str, config: str = "CONFIG") -> None:
    """Run ``leash command`` on this job's arguments; ``config`` is how the command itself takes a config."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the working directory brings the package
    from leash_ray.cli import main as leash

    parser = argparse.ArgumentParser(
        description=doc,
        epilog=f"Further options are those of `leash {command}`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="a config such as those in jobs/configs")
    parser.add_argument("--run", metavar="DIR", help="run directory (default: ~/runs/NAME of the config, in a job)")
    known, others = parser.parse_known_args()
    given = [] if known.config is None else [known.config] if config == "CONFIG" else [config, known.config]
    leash([command, *given, *([] if known.run is None else ["--run", known.run]), *others])
