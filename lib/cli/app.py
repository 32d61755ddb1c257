"""The commands by name, and the border where errors become words and exit codes.

Exit codes: 0 done, 1 failed, 2 bad input, 130 stopped by Ctrl-C, 143 by SIGTERM. Results go to
stdout, all else to stderr. With ``--json`` stdout always holds one JSON document; for an error it
is ``{"error": {"message", "hint", "field"}}``.
"""

from __future__ import annotations

import importlib
import secrets
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from lib.cli.output import Stopped, print_error
from lib.errors import AlreadyExists, InvalidInput, NotFound, VecscopeError, from_exception

PROGRAM = "python -m lib"
FAILED, BAD_INPUT, STOPPED, TERMINATED = 1, 2, 130, 143

# name → (module and command, one line of help). A command's module is imported when the command
# is used: the services behind them take a second to import, which --help must not.
COMMANDS = {
    "collections": ("lib.cli.collections:collections", "List, create and drop collections."),
    "ingest": ("lib.cli.ingest:ingest", "Load files and folders into a collection."),
    "sample": ("lib.cli.ingest:sample", "Load the sample: documentation that is on this machine."),
    "backfill": ("lib.cli.ingest:backfill", "Embed the documents that have no embedding yet."),
    "documents": ("lib.cli.documents:documents", "List, show and delete what is stored."),
    "export": ("lib.cli.export:export", "Write a collection to a file that loads back."),
    "reembed": ("lib.cli.reembed:reembed", "Embed a collection again by another model."),
    "search": ("lib.cli.search:search", "Ask a collection a question."),
    "query-sets": ("lib.cli.query_sets:query_sets", "List, import and drop query sets."),
    "index": ("lib.cli.index:index", "Create, drop and list vector indexes."),
    "bm25": ("lib.cli.bm25:bm25", "Build, show and drop the BM25 index of a collection."),
    "candidates": (
        "lib.cli.candidates:candidates",
        "Build, list and drop copies with an index of their own, to compare.",
    ),
    "lab": ("lib.cli.lab:lab", "Measure indexes and settings, and find those to take."),
    "map": ("lib.cli.map:map_", "Lay a collection out in two dimensions, and export that."),
    "status": ("lib.cli.status:status", "Show the server, the collections and the running work."),
}

# Earlier names of commands, which go on to work and are not listed.
ALIASES = {"words": "bm25"}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        current_name = ALIASES.get(cmd_name, cmd_name)
        if current_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[current_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=_Commands, no_args_is_help=True)
def root() -> None:
    """Vecscope: see how well a pgvector search works, and make it better.

    \b
    Start with:
      python -m lib sample
      python -m lib search "parse a date from a string"
      python -m lib ingest notes/ articles.csv --collection "My documents"

    Settings come from the environment and from .env (see .env.example). Every command takes
    --help, and --json for machines.
    """


class _Terminated(BaseException):
    """SIGTERM or SIGHUP: what is open is closed on the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character is no failure
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    as_json = "--json" in arguments
    try:
        with _closed_by_signals():
            code: Any = root.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message())
        return BAD_INPUT
    except click.ClickException as exc:
        context = exc.ctx if isinstance(exc, click.UsageError) else None
        hint = f"See: {context.command_path} --help" if context else ""
        print_error(InvalidInput(exc.format_message(), hint=hint), as_json=as_json)
        return BAD_INPUT
    except click.Abort:  # Ctrl-C
        print_error(VecscopeError("Stopped."), as_json=as_json)
        return STOPPED
    except _Terminated:
        print_error(VecscopeError("Ended from outside."), as_json=as_json)
        return TERMINATED
    except Exception as exc:  # noqa: BLE001 — the one border where the unknown becomes words
        known = from_exception(exc) or _unknown(exc)
        print_error(known, as_json=as_json)
        if isinstance(known, Stopped):
            return STOPPED
        return BAD_INPUT if isinstance(known, InvalidInput | NotFound | AlreadyExists) else FAILED
    return code if isinstance(code, int) else 0


def _unknown(exc: Exception) -> VecscopeError:
    import structlog

    error_id = secrets.token_hex(4)
    structlog.get_logger(__name__).error("command_failed", error_id=error_id, exc_info=exc)
    return VecscopeError(
        f"Something unexpected went wrong ({type(exc).__name__}).",
        hint=f"The log says more under {error_id}.",
    )


@contextmanager
def _closed_by_signals() -> Iterator[None]:
    """Being told to end takes the way that Ctrl-C takes, so that the bundled server is let go."""

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second time it ends at once
        raise _Terminated

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), end) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
