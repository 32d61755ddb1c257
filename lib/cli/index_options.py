"""Options that the index methods ask for: their names, build options and search parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from lib.errors import InvalidInput
from lib.vectors.index_methods import IndexMethod, get_method, index_methods

Command = Callable[..., Any]


class IndexMethodChoice(click.ParamType[IndexMethod]):
    """The name of an index method that is registered when the command runs."""

    name = "method"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002
        return f"[{'|'.join(method.name for method in index_methods())}]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> IndexMethod:
        try:
            return value if isinstance(value, IndexMethod) else get_method(value)
        except InvalidInput as exc:
            self.fail(f"{exc.message} {exc.hint}", param, ctx)


def build_options(command: Command) -> Command:
    """An option for each build option of the index methods, as ``--ef-construction``."""
    for method in reversed(index_methods()):
        for option in reversed(method.build_options):
            text = f"{method.label}: {option.label}. {option.help}"
            command = click.option(_flag(option.name), type=int, help=text)(command)
    return command


def search_parameter_options(
    value_type: Any, help_text: Callable[[IndexMethod], str]
) -> Callable[[Command], Command]:
    """An option for the search parameter of each index method, as ``--ef-search``."""

    def decorate(command: Command) -> Command:
        for method in reversed(index_methods()):
            flag = _flag(method.search_parameter.name)
            command = click.option(flag, type=value_type, help=help_text(method))(command)
        return command

    return decorate


def pop_search_parameters(options: dict[str, Any]) -> dict[str, Any]:
    """The search parameters that were given, by name, taken out of a command's options."""
    names = [method.search_parameter.name for method in index_methods()]
    values = {name: options.pop(name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
