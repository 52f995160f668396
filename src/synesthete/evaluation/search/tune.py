"""Which way of sampling is best in the time that a picture may take, found by measurement and written into a model."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from synesthete import hub, seeding
from synesthete.config import Recipe, Sampling
from synesthete.data.labelled import in_turn, turns
from synesthete.diffusion.sampling import scheduler_for
from synesthete.evaluation.reporting.report import check_place, provenance, write_report
from synesthete.evaluation.search.measurements import GOALS, Measurements, SearchConfig, compare_repeats
from synesthete.evaluation.search.scoring import Scorer, ScoringBasis
from synesthete.evaluation.search.space import Space, name_of
from synesthete.evaluation.search.tune_report import ASKED, Tuning
from synesthete.evaluation.search.tuning import BATCH_SIZE, Search
from synesthete.executors import LOCAL, executor
from synesthete.io import digest, locked, read_json, write_file
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    from synesthete.diffusion.process import Process
    from synesthete.pipeline import Pipeline

    Settings = dict[str, Any]

RECIPE = "recipe.yaml"
SCHEDULER = "scheduler"
MEASURED, REPORT = "measured", "report"
MOST_CLASSES = 50  # that are sampled; two pictures of each is the least that can be measured
NUM_REPEATS = 4  # of what two findings of an earlier system are asked again by, each of FEWEST_PICTURES at least
FEWEST_PICTURES = 24
ETA_STEPS = (5, 10, 20, 50)
SCALES = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0)
SPARED = (4.5, 1.5, 3.0)  # scales that are left out, one after the other, where there is no time for all
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


class Questions(NamedTuple):
    """What there is time to ask, of `num` pictures a repeat: pairs at eta 0 and 1, and settings by guidance scale."""

    eta: list[tuple[Settings, Settings]]
    guidance: dict[float, Settings]
    num: int

    @property
    def settings(self) -> list[Settings]:
        """All that have to be measured."""
        return [*(settings for pair in self.eta for settings in pair), *self.guidance.values()]


def afford(
    space: Space, cost: Callable[[Settings], float], seconds: float, num: int, fewest: int = FEWEST_PICTURES
) -> Questions:
    """The questions that the seconds allow, by cost(settings) of a picture, of `num` down to `fewest` pictures each."""
    pairs, spared = [], 0
    for steps in ETA_STEPS:
        ddim = {"sampler": "ddim", "num_inference_steps": steps}
        without, with_noise = (space.settled(space.default | ddim | {"eta": eta}) for eta in (0.0, 1.0))
        if without and with_noise:
            pairs.append((without, with_noise))
    while True:
        questions = Questions(pairs, guidance_settings(space, spared), num)
        total = sum(map(cost, questions.settings))
        affordable = int(seconds / max(total * NUM_REPEATS, 1e-12))
        if affordable >= fewest or (len(pairs) <= 2 and spared == len(SPARED)):
            return questions._replace(num=min(num, max(fewest, affordable)))
        if len(pairs) > 2:  # most steps of DDIM go first, then scales
            pairs.pop()
        else:
            spared += 1


def guidance_settings(space: Space, num_spared: int = 0) -> dict[float, Settings]:
    """The model's default at every guidance scale but those spared; none for a model that is told nothing."""
    if len(space.knobs["guidance_scale"]) == 1:
        return {}
    scales = sorted({*SCALES, float(space.default["guidance_scale"])}.difference(SPARED[:num_spared]))
    found = {scale: space.settled(space.default | {"guidance_scale": scale}) for scale in scales}
    return {scale: settings for scale, settings in found.items() if settings}


def tune_measured(
    space: Space, trials: Measurements, final: Measurements, config: SearchConfig, progress: Progress
) -> Tuning:
    """The search, the comparison and the two findings on shared noise; nothing is written but measurements."""
    search = Search(space, trials, final, config, progress)
    found = search.run()
    asked = afford(space, search.foretold, search.left(1.0), config.num, max(FEWEST_PICTURES, final.fewest))
    several, seeds, done = asked.settings, [search.seed("finding", i) for i in range(NUM_REPEATS)], itertools.count(1)
    total = NUM_REPEATS * len(several)
    measured = final.repeats(several, asked.num, seeds, lambda: progress("two findings", next(done), total))
    repeats = dict(zip(map(name_of, several), measured, strict=True))
    pairs = [*asked.eta, *((asked.guidance[ASKED], settings) for settings in asked.guidance.values())]
    compared = [compare_repeats(*(repeats[name_of(settings)] for settings in pair)) for pair in pairs]
    eta, guidance = compared[: len(asked.eta)], compared[len(asked.eta) :]
    measurements, num_new = [*trials.all(), *final.all()], trials.num_new + final.num_new
    return Tuning(found, config, space.default, eta, guidance, asked.num, measurements, num_new)


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
