"""The systems: what each prepares, is told, makes, and is evaluated by, one `Task` a system."""

from __future__ import annotations

from synesthete.tasks.task import Task, find_task, prepare, register, task_names, task_of

__all__ = ["Task", "find_task", "prepare", "register", "task_names", "task_of"]
