"""The progress of a candidate's build: how far it is, at what pace, and what the server says."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lib.lab.estimates import Estimate
from lib.progress import OnProgress
from lib.store.candidates import (
    CandidateSpec,
)
from lib.vectors.build import (
    BuildProgress,
)

_PACE_SAMPLES = 20  # so that rows a second are those of the last ten seconds


@dataclass(frozen=True, slots=True)
class BuildStep:
    """The progress of one candidate's build."""

    candidate: str
    phase: str
    share: float
    """0–1 of the whole build, its phases weighed by their estimated seconds."""
    rows_done: int | None = None
    """Of this phase; None where it cannot be told, and so is the total."""
    rows_total: int | None = None
    rows_per_second: float | None = None
    seconds_left: float | None = None
    """Of this phase, at the pace of the last seconds."""
    notices: tuple[str, ...] = ()
    """What the server has said so far."""

    @property
    def message(self) -> str:
        """One line for people."""
        words = [f"{self.candidate}: {self.phase}"]
        if self.rows_done is not None and self.rows_total:
            words.append(f"{self.rows_done:,} of {self.rows_total:,} rows")
        if self.rows_per_second:
            words.append(f"{self.rows_per_second:,.0f} rows/s")
        words += [f"the server says: {notice}" for notice in self.notices]
        return " · ".join(words)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "notices": list(self.notices)}


class BuildReporter:
    """Reports the progress of one build, as its phases go on."""

    def __init__(
        self, name: str, spec: CandidateSpec, expected: Estimate, on_progress: OnProgress[BuildStep]
    ) -> None:
        self._name = name
        self._spec = spec
        self._expected = expected
        self._on_progress = on_progress
        self._phase = ""
        self._samples: deque[tuple[float, int]] = deque(maxlen=_PACE_SAMPLES)
        self.notices: tuple[str, ...] = ()

    async def on_copied(self, table_bytes: int) -> None:
        """How many rows are there is told by the bytes: nobody else can count them yet."""
        expected = self._expected
        share = min(1.0, table_bytes / expected.table_bytes)
        await self.report("Copying the vectors", share, 0.0, round(share * expected.rows))

    async def on_index(self, progress: BuildProgress) -> None:
        self.notices = progress.notices
        done = min(progress.rows_done, self._expected.rows)
        share = self._spec.index.method.built_share(
            progress.phase, progress.share or 0.0, done / max(1, self._expected.rows)
        )
        await self.report(progress.phase, 1.0, share, done or None)

    async def report(
        self, phase: str, copied: float, indexed: float, rows_done: int | None = None
    ) -> None:
        """copied, indexed: the shares done, 0–1 of each."""
        if phase != self._phase:
            self._phase = phase
            self._samples.clear()
        rate = left = None
        if rows_done is not None:
            self._samples.append((time.monotonic(), rows_done))
            rate = rows_per_second(self._samples)
            if rate:
                left = max(0, self._expected.rows - rows_done) / rate
        expected = self._expected
        seconds = expected.copy_seconds * copied + expected.build_seconds * indexed
        await self._on_progress(
            BuildStep(
                candidate=self._name,
                phase=phase,
                share=seconds / expected.seconds,
                rows_done=rows_done,
                rows_total=None if rows_done is None else expected.rows,
                rows_per_second=rate,
                seconds_left=left,
                notices=self.notices,
            )
        )


def rows_per_second(samples: Sequence[tuple[float, int]]) -> float | None:
    """Rows a second between the first and the last of (seconds, rows); None for fewer than two."""
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return None
    (began, first), (now, last) = samples[0], samples[-1]
    return (last - first) / (now - began)
