"""Which way of sampling is best in the time that a picture may take, found by measurement and written into a model."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synesthete import hub, seeding
from synesthete.config import Recipe, Sampling
from synesthete.data.labelled import in_turn, turns
from synesthete.diffusion.sampling import scheduler_for
from synesthete.evaluation.reporting.report import check_place, provenance, write_report
from synesthete.evaluation.search.findings import FEWEST_PICTURES, afford, compare_findings
from synesthete.evaluation.search.findings import NUM_REPEATS as NUM_ASKED
from synesthete.evaluation.search.measurements import GOALS, Measurements, SearchConfig
from synesthete.evaluation.search.scoring import Scorer, ScoringBasis
from synesthete.evaluation.search.space import Space
from synesthete.evaluation.search.tune_report import Tuning
from synesthete.evaluation.search.tuning import BATCH_SIZE, Search
from synesthete.executors import LOCAL, executor
from synesthete.io import digest, locked, read_json, write_file
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process
    from synesthete.pipeline import Pipeline

RECIPE = "recipe.yaml"
SCHEDULER = "scheduler"
MEASURED, REPORT = "measured", "report"
MOST_CLASSES = 50  # that are sampled; two pictures of each is the least that can be measured
FEWEST_REAL = 100  # real pictures in each half, where the held-out ones are divided


def check_writable(folder: Path) -> None:
    """Make sure that a model's settings may be changed, before minutes are spent on finding better ones."""
    instead = f"copy it first (`cp -rL {folder} my-model`) and tune the copy, or give --no-write"
    if folder.resolve().is_relative_to(hub.SHIPPED.resolve()):
        raise InputError(f"{folder.name}: ships with the package and stays as it is; {instead}")
    if (folder / hub.MODEL_INDEX).is_symlink():
        raise InputError(f"{folder}: a download that others may use too; {instead}")
    files = [folder, folder / hub.MODEL_INDEX, *([folder / RECIPE] if (folder / RECIPE).exists() else [])]
    if closed := [path for path in files if not os.access(path, os.W_OK)]:
        raise InputError(f"{closed[0]}: cannot be written; {instead}")
    if (folder / RECIPE).exists():
        Recipe.load(folder / RECIPE)


def write_sampling(folder: Path, settings: Mapping[str, Any], process: Process) -> None:
    """Make sampling settings the model's own: in its index, its scheduler and, where it has one, its recipe.

    Each file is written beside its place and renamed; killed between two of them, the model loads all the same.
    """
    check_writable(folder)
    own = Sampling()
    for name, value in settings.items():
        setattr(own, name, tuple(value) if isinstance(value, list) else value)
    scheduler = scheduler_for(vars(own), process)
    index = read_json(folder / hub.MODEL_INDEX)
    index["sampling"] = vars(own)
    index[SCHEDULER] = ["diffusers", type(scheduler).__name__]
    if (folder / RECIPE).exists():
        recipe = Recipe.load(folder / RECIPE)
        recipe.sampling = own
        write_file(folder / RECIPE, recipe.to_yaml())
    write_file(folder / SCHEDULER / scheduler.config_name, scheduler.to_json_string())
    write_file(folder / hub.MODEL_INDEX, json.dumps(index, indent=2, sort_keys=True) + "\n")


def run_tune(
    scorer: Scorer,
    out: Path,
    *,
    model: str = "",
    folder: Path | None = None,
    config: SearchConfig | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Search the sampling settings of a model, and write the report into `out / "report"`.

    What is measured is kept in `out / "measured"` and not measured again: a search that was killed goes on, with the
    same outcome. scorer: of the model and its data. model: how the report calls it. folder: the model's, whose default
    becomes the winner if that is better beyond noise; None writes nothing there. config: its ceiling is measured.

    Raises:
        InputError: config that this model cannot meet, or a folder that must not or cannot be written.
    """
    config, report, start = config or SearchConfig(), progress or (lambda *_: None), datetime.now(UTC)
    pipeline, basis = scorer.pipeline, scorer.basis
    check_config(config, pipeline)
    if folder is not None:
        check_writable(folder)
    check_place(out / REPORT)
    classes = classes_of(basis, config)
    with locked(out):
        config = replace(config, ceiling=scorer.reference(classes)["accuracy"])
        space = Space(pipeline.process, pipeline.sampling_settings(), pipeline.can_be_guided)
        searched, compared = parts = halves(basis, config.seed)
        trials, final = (
            measurements_on(part, pipeline, classes, config.seed, out / MEASURED, report) for part in parts
        )
        tuning = tune_measured(space, trials, final, config, report)
        tuning.features, tuning.num_classes = basis.features.name, len(basis.class_names)
        tuning.fresh = compared is not searched
        settle(tuning, pipeline, folder)
        facts = {"classes": f"{len(classes)} of {len(basis.class_names)}"}
        write_report(tuning.report(provenance(pipeline, start, model), facts), out / REPORT)
    return tuning


def tune_measured(
    space: Space, trials: Measurements, final: Measurements, config: SearchConfig, progress: Progress
) -> Tuning:
    """The search, the comparison and the two findings; nothing is written but measurements."""
    search = Search(space, trials, final, config, progress)
    found = search.run()
    fewest = max(FEWEST_PICTURES, final.fewest)
    questions = afford(space, search.foretold, search.left(1.0), config.num, fewest)
    asked, total = itertools.count(1), NUM_ASKED * len(questions.settings)
    eta, guidance = compare_findings(
        questions, final, search.seed, lambda: progress("two findings", next(asked), total)
    )
    measurements, num_new = [*trials.all(), *final.all()], trials.num_new + final.num_new
    return Tuning(found, config, space.default, eta, guidance, questions.num, measurements, num_new)


def settle(tuning: Tuning, pipeline: Pipeline, folder: Path | None) -> None:
    """Write a winner that is better into the model, and say what was done."""
    if not tuning.found.better:
        tuning.remark = "Nothing was written into the model."
    elif folder is None:
        tuning.remark = "Nothing was written into the model, as was asked."
    else:
        write_sampling(folder, tuning.found.winner, pipeline.process)
        tuning.written = True
        tuning.remark = "The winner is the model's default now; the old one is in this report."


def check_config(config: SearchConfig, pipeline: Pipeline) -> None:
    """Make sure that the config can be met by this kind of model."""
    if config.goal not in GOALS:
        raise InputError(f"score {config.goal!r}: unknown; choose from {', '.join(GOALS)}")
    if not config.budget > 0 or not config.minutes > 0:
        raise InputError("a search in no time; give --seconds-per-picture and --minutes above 0")
    if config.num < 24:
        raise InputError(f"--num {config.num}: too few pictures to tell settings apart; give at least 24")
    if config.goal != "kid" and not pipeline.is_conditional:
        raise InputError(f"score {config.goal!r}: a model without classes has none to hit; give --score kid")


def classes_of(basis: ScoringBasis, config: SearchConfig) -> Tensor:
    """Numbers (k,) of the classes to sample: all, or MOST_CLASSES drawn by the seed."""
    order = torch.randperm(len(basis.class_names), generator=seeding.generator(config.seed, "classes"))
    classes = order[:MOST_CLASSES].sort().values
    if config.num < 2 * len(classes):
        raise InputError(f"--num {config.num}: of {len(classes)} classes; give at least {2 * len(classes)}")
    return classes


def halves(basis: ScoringBasis, seed: int) -> tuple[ScoringBasis, ScoringBasis]:
    """The basis with one half of the held-out samples to search on, and with the other to compare on.

    Both are the whole where a half would be fewer than FEWEST_REAL.
    """
    if len(basis) < 2 * FEWEST_REAL:
        return basis, basis
    order = in_turn(basis.labels, seeding.derive(seed, "halves"))
    # Classes take turns in the order: even and odd rounds of all classes give each half as many of each.
    second = turns(basis.labels[order]) % 2 == 1
    return basis.part(order[~second].sort().values), basis.part(order[second].sort().values)


def measurements_on(
    basis: ScoringBasis, pipeline: Pipeline, classes: Tensor, seed: int, folder: Path, progress: Progress
) -> Measurements:
    """Measurements of a model by these samples, named by it, classifier, features, samples by class and machine."""
    modules: list[Any] = [pipeline.codec, pipeline.conditioner, pipeline.denoiser, basis.classifier_content]
    machine = [str(pipeline.device), torch.get_num_threads() if executor() is LOCAL else 1]  # a worker has one thread
    values = [pipeline.process.settings(), basis.features.name, basis.labels.tolist(), seed, machine]
    subject = digest(*modules, values, size=12)
    return Measurements(Scorer(pipeline, basis, seed, BATCH_SIZE), classes, folder, subject, progress)
