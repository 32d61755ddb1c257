"""All problems of a load as a table to download: file, place, reason, hint."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import structlog

from lib.ingest.incoming import IncomingProblem

log = structlog.get_logger(__name__)

MAX_LINES = 100_000
_HEADER = ("file", "place", "reason", "hint", "stored", "count")


def problems_path(home: Path, job_id: UUID) -> Path:
    """Where the table of a job is, if it had any problem and ran on this machine."""
    return home / "jobs" / str(job_id) / "problems.csv"


class ProblemFile:
    """A csv file that grows while the load runs, up to MAX_LINES; made with the first problem.

    Where it cannot be written, the load goes on: its summary has the first problems all the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._usable = True

    def write(self, problems: Sequence[IncomingProblem]) -> None:
        left = problems[: MAX_LINES - self._lines]
        if not left or not self._usable:
            return
        try:
            if not self._lines:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a" if self._lines else "w", newline="", encoding="utf-8") as file:
                rows = csv.writer(file)
                if not self._lines:
                    rows.writerow(_HEADER)
                for problem in left:
                    stored = "yes, changed" if problem.stored else "no"
                    place = (problem.source, problem.place, problem.reason, problem.hint)
                    rows.writerow((*place, stored, problem.count))
        except OSError as exc:
            self._usable = False
            log.warning("problems.not_written", path=str(self._path), error=exc.strerror)
        self._lines += len(left)
