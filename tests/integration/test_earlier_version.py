"""What an earlier version stored is read as it was meant; what one typed for it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from command_line import Screen
from sqlalchemy import URL

from lib.cli.app import root
from lib.search.export import request_to_json
from lib.search.saved import list_saved
from lib.store import migrations
from lib.store.collections import get_collection
from lib.store.database import Database
from tests.earlier_version import read, restore, stored_rows

PRINTED: list[tuple[list[str], Any]] = read("printed")
OPTIONS: dict[str, Any] = read("options")


@pytest.fixture
def earlier_url(new_database: Callable[..., URL]) -> URL:
    url = new_database()
    restore(url)
    return url


@pytest.fixture
def screen(
    earlier_url: URL, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Screen:
    monkeypatch.setenv("DATABASE_URL", earlier_url.render_as_string(hide_password=False))
    monkeypatch.delenv("VECSCOPE_MODEL", raising=False)
    return Screen(capsys)


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Where today's document says something else, or nothing, about what was said before; it may
    say more."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key, value in before.items():
            if key not in now:
                yield f"{place}.{key} is missing"
            else:
                yield from differences(value, now[key], f"{place}.{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(one, other, f"{place}[{number}]")
    elif isinstance(before, float) and isinstance(now, int | float):
        if now != pytest.approx(before, rel=1e-6):
            yield f"{place}: {before!r} is now {now!r}"
    elif before != now:
        yield f"{place}: {before!r} is now {now!r}"


def test_a_difference_is_found() -> None:
    before = {"a": [1, {"b": 0.5}], "c": "x"}
    assert list(differences(before, {"a": [1, {"b": 0.5, "new": 1}], "c": "x"})) == []
    assert list(differences(before, {"a": [1, {"b": 0.6}], "c": "x"})) == [
        ".a[1].b: 0.5 is now 0.6"
    ]
    assert list(differences(before, {"a": [1], "c": "x"})) == [".a: [1, {'b': 0.5}] is now [1]"]
    assert list(differences(before, {"a": [1, {"b": 0.5}]})) == [".c is missing"]


def test_commands_say_the_same_of_the_same_rows(screen: Screen) -> None:
    found = {
        " ".join(arguments): list(differences(before, screen.json(*arguments)))
        for arguments, before in PRINTED
    }
    assert {command: problems for command, problems in found.items() if problems} == {}


def test_saved_searches_mean_the_same(earlier_url: URL) -> None:
    migrations.migrate(earlier_url)
    database = Database(earlier_url)
    try:
        films = database.query(get_collection, "Films")
        saved = {search.name: search for search in database.query(list_saved, films)}
    finally:
        database.close()
    rows = {row["name"]: row["request"] for row in stored_rows("saved_searches")}
    assert saved.keys() == rows.keys()
    for name, row in rows.items():
        example = row.pop("example", None)
        assert request_to_json(saved[name].request) == row
        assert (saved[name].example is None) == (example is None)


@pytest.mark.parametrize("path", OPTIONS)
def test_a_command_accepts_what_it_accepted(path: str) -> None:
    command: click.Command = root
    for name in path.split():
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"there is no command {name}"
        command = found
    options = {
        name: param.type
        for param in command.params
        if isinstance(param, click.Option)
        for name in [*param.opts, *param.secondary_opts]
    }
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    assert len(arguments) == len(OPTIONS[path]["arguments"])
    for name, choices in OPTIONS[path]["options"].items():
        assert name in options, f"{path} does not know {name}"
        kind = options[name]
        if choices is not None and isinstance(kind, click.Choice):
            assert set(choices) <= set(kind.choices), f"{path} {name}"
