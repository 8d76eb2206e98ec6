"""Turns dataclasses of shared options into the parameters that typer reads."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Annotated, Any, get_type_hints

import typer


def _show_everything(context: typer.Context, asked: bool) -> None:
    if asked:
        for parameter in context.command.params:
            parameter.hidden = False  # type: ignore[attr-defined]
        context.get_help()  # Prints it.
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", is_eager=True, callback=_show_everything, help="Show also the options that are rarely used."
    ),
]


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with each parameter that is a dataclass replaced by the fields of that dataclass, in order, and with
    `--help-all` at the end.

    Nested dataclasses are replaced as well. All parameters are keyword-only, since typer passes them by keyword.
    """
    hints = get_type_hints(command, include_extras=True)
    grouped = inspect.signature(command).parameters
    parameters = [flat for name in grouped for flat in _flattened(name, hints[name], grouped[name].default)]
    parameters += _flattened("help_all", HelpAll, False)

    @functools.wraps(command)
    def flat_command(**values: Any) -> None:
        command(**{name: _gathered(name, hints[name], values) for name in grouped})

    flat_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat_command


def _flattened(name: str, hint: Any, default: Any) -> Iterator[Parameter]:
    if not dataclasses.is_dataclass(hint):
        default = Parameter.empty if default is dataclasses.MISSING else default
        yield Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in dataclasses.fields(hint):
        yield from _flattened(field.name, hints[field.name], field.default)


def _gathered(name: str, hint: Any, values: dict[str, Any]) -> Any:
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return values[name]
    hints = get_type_hints(hint)
    return hint(**{field.name: _gathered(field.name, hints[field.name], values) for field in dataclasses.fields(hint)})
