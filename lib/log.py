"""What is logged: to stderr, for people on a terminal, as key=value for anything else."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

Level = Literal["debug", "info", "warning", "error"]

# Whole words, so that a count of tokens is not taken for a token.
_SECRET_NAME = re.compile(
    r"(^|_)(api_?key|key|token|secret|password|authorization|database_url)$", re.IGNORECASE
)
# Of an address only the password; OpenAI's and others' keys by their shape.
_SECRET_TEXT = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+(?=@)|\b[sp]k-[\w-]{6,}|(?<=Bearer )\S+")
_HIDDEN = "[hidden]"


def configure_logging(level: Level) -> None:
    """Sends structlog's events of this level and above to stderr. Once a process; again is allowed.

    No key or password gets through, whatever the name it is logged under.
    """
    for_people = sys.stderr.isatty()
    time_format = "%H:%M:%S" if for_people else "iso"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt=time_format, utc=not for_people),
            structlog.processors.format_exc_info,
            _hide_secrets,
            structlog.dev.ConsoleRenderer()
            if for_people
            else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        # Asked for at each event: stderr may have been replaced since.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )


def _hide_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    return {name: _without_secrets(name, value) for name, value in event.items()}


def _without_secrets(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name) and value is not None:
        return _HIDDEN
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_hidden_part, value)
    return value


def _hidden_part(match: re.Match[str]) -> str:
    return _HIDDEN if match[1] is None else f"{match[1]}:{_HIDDEN}"
