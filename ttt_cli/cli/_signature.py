"""Options that several commands share are fields of dataclasses; here they become the parameters that typer reads."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any, get_type_hints


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with each parameter that is a dataclass of options replaced by the fields of the dataclass, in order.

    Fields that are such dataclasses are replaced as well. All parameters are passed by keyword, as typer does it.
    """
    hints = get_type_hints(command, include_extras=True)
    own = inspect.signature(command).parameters
    parameters = [flat for name in own for flat in _flattened(name, hints[name], own[name].default)]

    @functools.wraps(command)
    def flat_command(**values: Any) -> None:
        command(**{name: _gathered(name, hints[name], values) for name in own})

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
