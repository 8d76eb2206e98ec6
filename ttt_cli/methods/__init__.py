"""The table of methods. To add one: write a file beside these and add a line here."""

from __future__ import annotations

from ttt_cli.methods.base import Method
from ttt_cli.methods.online import Online

METHODS: dict[str, Method] = {
    "joint": Method("joint"),
    "online": Online("online"),
}
