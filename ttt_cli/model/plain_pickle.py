"""A reader of pickles from anybody.

Python's unpickler calls what a file names, fills the memory for a number in it, and overflows the stack for values in
values. So the operations that a checkpoint needs are done here, on plain values. What a file names is never called: a
subclass knows a few names, and says what is to be there in place of a call.
"""

from __future__ import annotations

import pickletools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import IO, Any

MOST_OPERATIONS = 400_000
"""In a file. A tensor takes about 35, and each makes an object that may be larger than its byte of the file."""
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
"""Operations whose value stands in the file."""
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


@dataclass(frozen=True)
class Function:
    """Something that a file may name."""

    name: str
    """With its module."""


class PickleReader(ABC):
    """Reads one pickle after another. size: of the file, in bytes."""

    def __init__(self, size: int) -> None:
        # What is made of the same bytes again and again could fill any memory.
        self.bytes_left = size
        self.operations_left = MOST_OPERATIONS
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, content: IO[bytes]) -> Any:
        """What a pickle holds: dicts, lists, tuples, plain values, and what the subclass makes.

        Raises almost any Exception if it is damaged or asks for anything else.
        """
        self.stack, self.marks, self.memo = [], [], {}
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "STOP":
                break
            self.count(1)
            if operation.name in VALUES:
                self.stack.append(argument)
            elif operation.name in CONSTANTS:
                self.stack.append(CONSTANTS[operation.name])
            else:
                self.carry_out(operation.name, argument)
        return self.stack.pop()

    def carry_out(self, operation: str, argument: Any) -> None:
        """Carries out an operation. argument: what stands in the file behind it."""
        stack = self.stack
        match operation:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(operation[-1]))))
            case "TUPLE":
                stack.append(tuple(self.pop_marked()))
            case "LIST":
                stack.append(self.pop_marked())
            case "DICT":
                pairs = self.pop_marked()
                stack.append({})
                self.extend(pairs)
            case "APPEND":
                self.extend(self.pop(1))
            case "SETITEM":
                self.extend(self.pop(2))
            case "APPENDS" | "SETITEMS":
                self.extend(self.pop_marked())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(self.named(*argument.split(" ")))
            case "STACK_GLOBAL":
                stack.append(self.named(*self.pop(2)))
            case "BINPERSID":
                stack.append(self.refer(*self.pop(1)))
            case "REDUCE":
                stack.append(self.call(*self.pop(2)))
            case "BUILD":
                (state,) = self.pop(1)
                self.set_state(stack[-1], state)
            case _:
                raise UnpicklingError(f"it uses {operation}, which a checkpoint has no need of")

    def pop(self, count: int) -> list[Any]:
        """Takes the last values off the stack, in the order in which they came."""
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def pop_marked(self) -> list[Any]:
        """Takes off the stack what came after the last mark."""
        return self.pop(len(self.stack) - mark) if (mark := self.marks.pop()) < len(self.stack) else []

    def count(self, operations: int) -> None:
        """Takes note of work. Raises UnpicklingError if there is too much of it."""
        self.operations_left -= operations
        if self.operations_left < 0:
            raise UnpicklingError(f"it has more than {MOST_OPERATIONS} operations")

    def extend(self, values: Sequence[Any]) -> None:
        """Adds values to the list on top of the stack, or keys and values in turn to the dict there."""
        container = self.stack[-1]
        if isinstance(container, list):
            container.extend(values)
        elif isinstance(container, dict):
            # Tuples in tuples overflow the stack when they are hashed, and large numbers can all have the same hash.
            if not all(isinstance(key, str) or (type(key) is int and abs(key) < 2**31) for key in values[::2]):
                raise UnpicklingError("it has keys that are neither text nor small numbers")
            container.update(zip(values[::2], values[1::2], strict=True))
        else:
            raise UnpicklingError("it adds to what is neither a list nor a dict")

    def named(self, module: Any, name: Any) -> Function:
        """Something that is named. Raises UnpicklingError if it is not known."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("it asks for something whose name is no text")
        full_name = f"{module}.{name}"
        if not self.knows(full_name):
            raise UnpicklingError(f"it asks for {full_name}, which a checkpoint has no need of")
        return Function(full_name)

    @abstractmethod
    def knows(self, name: str) -> bool:
        """Whether the file may name this."""

    def call(self, function: Any, arguments: Any) -> Any:
        """What is there in place of a call. Raises UnpicklingError for calls that are not known."""
        match function, arguments:
            case Function("collections.OrderedDict"), ():
                return {}
            case Function("collections.OrderedDict"), (list() as pairs,):  # As Python 2 writes it.
                self.count(len(pairs))
                self.stack.append({})
                self.extend([part for key, value in pairs for part in (key, value)])
                return self.stack.pop()
        raise UnpicklingError("it makes an object that a checkpoint has no need of")

    def set_state(self, value: Any, state: Any) -> None:
        """What is done in place of `value.__setstate__(state)`."""
        # An OrderedDict has attributes, such as the versions of a model's parts, that nobody needs.
        if not isinstance(value, dict):
            raise UnpicklingError("it changes an object, which a checkpoint has no need of")

    def refer(self, identity: Any) -> Any:
        """What a reference to something outside of the pickle stands for."""
        raise UnpicklingError("it refers to other files")

    def spend(self, size: int) -> None:
        """Takes note that so many bytes are made of the file's. Raises UnpicklingError if it has fewer."""
        self.bytes_left -= size
        if self.bytes_left < 0:
            raise UnpicklingError("what it holds is larger than the file")
