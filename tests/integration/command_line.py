"""The command line, as a process of its own or in this one, on a database of the test's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from lib.cli.app import main
from lib.settings import PROJECT_ROOT


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's, without settings and keys of whoever runs the tests."""
    ours = ("VECSCOPE_", "DATABASE_URL")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and not name.endswith("_API_KEY")
    }
    return kept | variables


@dataclass(frozen=True)
class CommandLine:
    url: URL

    def start(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        address = self.url.render_as_string(hide_password=False)
        return subprocess.Popen(
            [sys.executable, "-m", "lib", *map(str, arguments)],
            cwd=PROJECT_ROOT,
            env=clean_environment(DATABASE_URL=address, **variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str | Path, **variables: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def json(self, *arguments: str | Path) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


class Screen:
    """Runs commands in this process, as `python -m lib` does."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        code = main([str(argument) for argument in arguments])
        return code, *self._capsys.readouterr()

    def json(self, *arguments: object) -> Any:
        code, out, err = self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)
