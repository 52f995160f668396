"""The page: a tab a verb, made from the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from synesthete.studio.compare_tab import CompareTab
from synesthete.studio.shelf import Shelf
from synesthete.studio.task_tab import TaskTab
from synesthete.studio.train_tab import RunsTab, Trainings, TrainTab
from synesthete.studio.work import Works
from synesthete.tasks import Task

ABOUT = "Pictures that speak, sounds that paint, spectrograms that play. Nothing plays by itself."


def build_page(shelf: Shelf, out: Path) -> Any:
    """All of it, to be launched. out: the folder that everything is written to, and the only one that is given out."""
    works, trainings, verbs = Works(), Trainings(shelf.runs), dict[str, list[Task]]()
    for task in shelf.tasks():
        verbs.setdefault(task.verb, []).append(task)
    with gr.Blocks(
        title="Synesthete studio", analytics_enabled=False, fill_width=True, delete_cache=(3600, 86400)
    ) as page:
        gr.Markdown(f"# Synesthete studio\n{ABOUT}")
        first = [page.load]
        with gr.Tabs():
            for verb, tasks in verbs.items():
                with gr.Tab(verb.capitalize()) as tab:
                    add_tabs([TaskTab(task, shelf, out, works) for task in tasks], [tab.select, *first])
                    first = []
            with gr.Tab("Compare") as tab:
                add_tabs([CompareTab(task, shelf, out, works) for task in shelf.tasks()], [tab.select])
            with gr.Tab("Train") as tab:
                TrainTab(trainings).build(tab.select)
            with gr.Tab("Runs") as tab:
                RunsTab(trainings).build(tab.select)
        page.unload(works.leave)
    return page.queue(max_size=256, default_concurrency_limit=1)


def add_tabs(tabs: Sequence[TaskTab], seen: Sequence[Any]) -> None:
    """One, or several beside each other by what they make. seen: when the first is."""
    if len(tabs) == 1:
        tabs[0].build(seen)
        return
    with gr.Tabs():
        for place, one in enumerate(tabs):
            with gr.Tab(one.task.makes.capitalize()) as own:
                one.build([own.select, *([] if place else seen)])
