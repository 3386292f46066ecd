"""The command line. Every command imports what it needs when it runs, so that starting costs little."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from api import cli_demo, cli_keys, cli_local, cli_profiles, cli_serve, cli_videos, cli_workflow
from api.failures import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE, CommandError

app = typer.Typer(
    name="showrunner",
    help="A workflow engine that speaks Conductor's wire protocol, and a video product on it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:  # noqa: FBT001 - the callback of a flag
    if asked:
        from importlib.metadata import version

        typer.echo(f"showrunner {version('showrunner')}")
        raise typer.Exit


@app.callback()
def _root(
    _version_asked: bool = typer.Option(  # noqa: FBT001 - a flag of the command line
        False, "--version", help="Print the version and exit.", callback=_version, is_eager=True
    ),
) -> None:
    """Take flags, then SHOWRUNNER_* variables, then showrunner.toml: see `showrunner settings`."""


for _module in (cli_demo, cli_serve, cli_videos, cli_profiles, cli_keys, cli_local, cli_workflow):
    _module.add(app)


def run(arguments: Sequence[str]) -> int:
    """Run one command; answers its exit code: 0, 1 for failure, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        code = app(args=list(arguments), standalone_mode=False, prog_name="showrunner")
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except CommandError as error:
        return _say(str(error), error.exit_code)
    except typer.Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except Exception as error:
        # A person gets a sentence, not a traceback.
        # Typer keeps Click's exceptions in a private module; usage errors are known by what they can do.
        sentence = getattr(error, "format_message", None)
        if sentence is not None:
            return _say(str(sentence()), EXIT_USAGE)
        if sys.flags.dev_mode:
            raise
        text = f"the command failed unexpectedly ({type(error).__name__}: {error}); python -X dev shows where"
        return _say(text, EXIT_FAILURE)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of `showrunner`."""
    sys.exit(run(sys.argv[1:]))


def _say(sentence: str, code: int) -> int:
    if sentence:
        sys.stderr.write(f"{sentence}\n")
    return code


if __name__ == "__main__":
    main()
