"""The table of tasks. To add a task, write a file beside this one and add a line here."""

from __future__ import annotations

from ttt_cli.tasks.base import Task
from ttt_cli.tasks.colorization import ColorizationTask
from ttt_cli.tasks.instance import InstanceTask
from ttt_cli.tasks.panoptic import PanopticTask
from ttt_cli.tasks.semantic import SemanticTask

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (SemanticTask, InstanceTask, PanopticTask, ColorizationTask)
}
