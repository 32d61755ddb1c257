"""What is logged goes to stderr, from the chosen level on, and without keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from lib.log import configure_logging


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_one_line_of_key_value_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    log = structlog.get_logger("anything")
    log.info("load.stored", collection="mine", tokens=12, text='say "hi"\nthere')
    log.debug("load.detail")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "level=info event=load.stored" in line
    assert "tokens=12" in line


@pytest.mark.parametrize(
    "event",
    [
        {"api_key": "hunter2hunter2"},
        {"OPENAI_API_KEY": "hunter2hunter2"},
        {"password": "hunter2hunter2"},
        {"url": "postgresql://me:hunter2hunter2@host/db"},
        {"error": "401 for Bearer hunter2hunter2"},
        {"error": "no such key: sk-hunter2hunter2"},
    ],
)
def test_no_key_gets_through(capsys: pytest.CaptureFixture[str], event: dict[str, str]) -> None:
    configure_logging("info")
    structlog.get_logger().warning("something", **event)
    err = capsys.readouterr().err
    assert "hidden" in err
    assert "hunter2" not in err


def test_no_key_gets_through_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    try:
        raise ValueError("postgresql://me:hunter2@host/db")
    except ValueError:
        structlog.get_logger().exception("failed")
    err = capsys.readouterr().err
    assert "ValueError" in err
    assert "me:[hidden]@host" in err
    assert "hunter2" not in err
