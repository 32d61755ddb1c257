"""What most commands begin with: open services, find a collection, follow a job."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from lib.cli.output import Stopped, note, one_line
from lib.errors import StatementCancelled, VecscopeError
from lib.formats import format_duration
from lib.log import configure_logging
from lib.services import Services, open_services
from lib.settings import load_settings
from lib.store.collections import Collection, get_collection, get_searchable
from lib.store.jobs import Job, JobStatus

_LOOK_SECONDS = 0.2
_LINE_SECONDS = 5.0  # between two lines of progress where stderr is no terminal


@contextmanager
def open_session() -> Iterator[Services]:
    """The services, closed at the end whatever happens: the bundled server is let go.

    Only warnings are logged unless VECSCOPE_LOG_LEVEL says otherwise: a person sees the progress.
    """
    settings = load_settings()
    chosen = "log_level" in settings.model_fields_set
    configure_logging(settings.log_level if chosen else "warning")
    services = open_services(settings)
    try:
        yield services
    finally:
        services.database.close()


def find_collection(services: Services, name: str) -> Collection:
    """Raises NotFound, naming what there is."""
    return services.database.query(get_collection, name)


def find_searchable(services: Services, name: str) -> Collection:
    """As :func:`find_collection`; with ~next behind its name by the model that it is being
    embedded by again. Raises NotFound."""
    return services.database.query(get_searchable, name)


def follow(services: Services, job: Job, *, if_stopped: str) -> Job:
    """Shows a job's progress until it is done, and returns it as it is then.

    if_stopped: what to say after Ctrl-C, when the job has ended and cleared up: Stopped then.
    Raises VecscopeError where it failed, was cancelled from elsewhere or lost its process.
    """
    progress = Progress(job.title)
    run, jobs = services.database.run, services.jobs
    try:
        while job.active:
            job = run(jobs.wait(job.id, _LOOK_SECONDS))
            progress.show(job)
    except KeyboardInterrupt:
        progress.end()
        note("Stopping; Ctrl-C again stops at once.")
        run(jobs.cancel(job.id))
        job = run(jobs.wait(job.id))
        if job.status is not JobStatus.DONE:
            raise Stopped(f"“{job.title}” was stopped.", hint=if_stopped) from None
    finally:
        progress.end()
    if job.status is JobStatus.DONE:
        return job
    if job.status is JobStatus.CANCELLED:
        raise StatementCancelled(f"“{job.title}” was cancelled from elsewhere.", hint=if_stopped)
    raise VecscopeError(job.error or f"“{job.title}” failed.", hint=job.hint or "")


class Progress:
    """A bar on a terminal, until :meth:`end`; elsewhere a line now and then."""

    def __init__(self, title: str) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._line_at = time.monotonic()
        self._width = 0
        note(f"{one_line(title)} …")

    def show(self, job: Job) -> None:
        left = job.seconds_left
        rest = "" if left is None or left < 1 else f", {format_duration(left)} left"
        self.at(job.share, f"{one_line(job.message)}{rest}")

    def at(self, share: float | None, message: str) -> None:
        """share: 0–1, None where unknown."""
        text = f"{'' if share is None else f'{share:4.0%} '}{message}".strip()
        if self._on_terminal:
            if share is not None:
                filled = round(20 * share)
                text = f"[{'█' * filled}{'░' * (20 - filled)}] {text}"
            text = text[: shutil.get_terminal_size().columns - 1]
            click.echo("\r" + text.ljust(self._width), err=True, nl=False)
            self._width = len(text)
        elif text and time.monotonic() - self._line_at >= _LINE_SECONDS:
            self._line_at = time.monotonic()
            note(text)

    def end(self) -> None:
        if self._width:
            self._width = 0
            click.echo(err=True)
