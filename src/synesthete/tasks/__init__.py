"""The systems: what each prepares, is told, makes, and is evaluated by, one `Task` a system."""

from __future__ import annotations

from synesthete.tasks.base import EvaluationRequest, Progress, Task, find_task, register, task_names, task_of

__all__ = ["EvaluationRequest", "Progress", "Task", "find_task", "register", "task_names", "task_of"]
