"""Which way of sampling is best in the time that a picture may take, found by measurement."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.labelled import PictureSamples, in_turn
from synesthete.evaluation.pictures.scoring import Scorer
from synesthete.evaluation.reporting.provenance import provenance
from synesthete.evaluation.reporting.report import check_place, write_report
from synesthete.evaluation.tuning.findings import FEWEST_PICTURES, afford, ask_eta, ask_guidance, guidance_settings
from synesthete.evaluation.tuning.findings import NUM_REPEATS as NUM_ASKED
from synesthete.evaluation.tuning.goals import GOALS
from synesthete.evaluation.tuning.measurements import Measurements
from synesthete.evaluation.tuning.own_settings import check_writable, write_sampling
from synesthete.evaluation.tuning.page import Tuning, facts_of
from synesthete.evaluation.tuning.search import BATCH_SIZE, FINDINGS, Search, Wishes
from synesthete.evaluation.tuning.space import Space
from synesthete.io import digest, locked
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

    from synesthete.data.rows import Rows
    from synesthete.pipeline import Pipeline
    from synesthete.types import Prepared

    Progress = Callable[[str, int, int], None]

MEASURED, REPORT = "measured", "report"
MOST_CLASSES = 50  # that are sampled; two pictures of each is the least that can be measured
FEWEST_REAL = 100  # real pictures in each half, where the held-out ones are divided


def tune(
    scorer: Scorer,
    out: Path,
    *,
    model: str = "",
    folder: Path | None = None,
    wishes: Wishes | None = None,
    command: str | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Search the sampling settings of a picture model, and write the report into `out / "report"`.

    What is measured is kept in `out / "measured"` and not measured again: a search that was killed goes on, with the
    same outcome. scorer: of the model and its data; real pictures held out are divided, one half to search on. model,
    command: how the report calls them. folder: the model's, whose default becomes the winner if that is better beyond
    noise; None writes nothing there. wishes: goal, budget, pictures, minutes, seed; the ceiling is measured.
    progress(what, done, total).

    Raises:
        InputError: wishes that this model cannot meet, or a folder that must not or cannot be written.
    """
    wishes, report, start = wishes or Wishes(), progress or (lambda *_: None), datetime.now(UTC)
    pipeline, prepared = scorer.pipeline, scorer.prepared
    check_wishes(wishes, pipeline)
    if folder is not None:
        check_writable(folder)
    check_place(out / REPORT)
    classes = classes_of(prepared, wishes)
    with locked(out):
        wishes = replace(wishes, ceiling=scorer.reference(classes)["accuracy"])
        space = Space(pipeline.process, pipeline.sampling_settings(), pipeline.is_conditional)
        searched, compared = halves(prepared, wishes.seed)
        trials, final = (
            Measurements(
                Scorer(pipeline, part, scorer.judge, scorer.features, wishes.seed, BATCH_SIZE),
                classes,
                out / MEASURED,
                subject_of(scorer, part, wishes.seed),
            )
            for part in (searched, compared)
        )
        tuning = tune_measured(space, trials, final, wishes, scorer.features.name, report)
        tuning.fresh = compared is not searched
        tuning.num_classes = len(prepared.class_names)
        settle(tuning, pipeline, folder)
        facts = provenance(pipeline, start, model, command) | facts_of(tuning)
        facts["classes"] = f"{len(classes)} of {len(prepared.class_names)}"
        write_report(tuning.report(facts), out / REPORT)
    return tuning


def tune_measured(
    space: Space, trials: Measurements, final: Measurements, wishes: Wishes, features: str, progress: Progress
) -> Tuning:
    """The search, the comparison and the two findings; nothing is written but measurements."""
    search = Search(space, trials, final, wishes, progress)
    found = search.run()
    seconds = FINDINGS * 60 * wishes.minutes
    steps, num = afford(space, found.cost, seconds, wishes.num, max(FEWEST_PICTURES, final.fewest))
    total = NUM_ASKED * (2 * len(steps) + len(guidance_settings(space)))
    done = 0

    def count(new: int) -> None:
        nonlocal done
        done += new
        progress("two findings", done, total)

    eta = ask_eta(space, final, steps, num, search.seed, count)
    guidance = ask_guidance(space, final, num, search.seed, count)
    made = [
        m for measured in {id(trials): trials, id(final): final}.values() for own in measured.made.values() for m in own
    ]
    return Tuning(
        found=found,
        wishes=wishes,
        old=space.default,
        features=features,
        written=False,
        remark="",
        fresh=trials is not final,
        num_classes=len(trials.classes),
        eta=eta,
        guidance=guidance,
        num_asked=num,
        measurements=made,
        num_new=trials.num_new + (final.num_new if final is not trials else 0),
    )


def settle(tuning: Tuning, pipeline: Pipeline, folder: Path | None) -> None:
    """Write a winner that is better into the model, and say what was done."""
    if not tuning.better:
        tuning.remark = "Nothing was written into the model."
    elif folder is None:
        tuning.remark = "Nothing was written into the model, as was asked."
    else:
        write_sampling(folder, tuning.winner, pipeline.process)
        tuning.written = True
        tuning.remark = "The winner is the model's default now; the old one is in this report."


def check_wishes(wishes: Wishes, pipeline: Pipeline) -> None:
    """Make sure that the wishes can be met by this kind of model.

    Raises:
        InputError: they cannot, and what to wish instead.
    """
    if wishes.goal not in GOALS:
        raise InputError(f"score {wishes.goal!r}: unknown; choose from {', '.join(GOALS)}")
    if not wishes.budget > 0 or not wishes.minutes > 0:
        raise InputError("a search in no time; give --seconds-per-picture and --minutes above 0")
    if wishes.num < 24:
        raise InputError(f"--num {wishes.num}: too few pictures to tell settings apart; give at least 24")
    if wishes.goal != "kid" and not pipeline.is_conditional:
        raise InputError(f"score {wishes.goal!r}: a model without classes has none to hit; give --score kid")


def classes_of(prepared: Prepared, wishes: Wishes) -> Tensor:
    """Numbers (k,) of the classes to sample: all, or MOST_CLASSES drawn by the seed.

    Raises:
        InputError: fewer pictures in a sample than two of each.
    """
    order = torch.randperm(len(prepared.class_names), generator=seeding.generator(wishes.seed, "classes"))
    classes = order[:MOST_CLASSES].sort().values
    if wishes.num < 2 * len(classes):
        raise InputError(f"--num {wishes.num}: of {len(classes)} classes; give at least {2 * len(classes)}")
    return classes


def halves(prepared: Prepared, seed: int) -> tuple[Prepared, Prepared]:
    """The data with one half of the held-out pictures to search on, and with the other to compare on.

    Both are the whole where a half would be fewer than FEWEST_REAL.
    """
    test = prepared.test
    if len(test) < 2 * FEWEST_REAL:
        return prepared, prepared
    order = in_turn(test.labels, seeding.derive(seed, "halves"))
    # Classes take turns in the order: even and odd rounds of all classes give each half as many of each.
    turns = torch.zeros_like(order)
    for label in test.labels.unique():
        own = (test.labels[order] == label).nonzero().flatten()
        turns[own] = torch.arange(len(own)) % 2
    first, second = (
        replace(prepared, test=PictureSamples(taken(test.pictures, part), test.labels[part]))
        for part in (order[turns == 0].sort().values, order[turns == 1].sort().values)
    )
    return first, second


def taken(pictures: Tensor | Rows, places: Tensor) -> Tensor | Rows:
    """Some of the pictures; those on disk stay there."""
    return pictures[places] if isinstance(pictures, Tensor) else pictures.take(places)


def subject_of(scorer: Scorer, data: Prepared, seed: int) -> str:
    """A name for what is measured: model, judge, features, the real pictures by class and the machine that is timed."""
    pipeline = scorer.pipeline
    modules: list[nn.Module] = [pipeline.codec, pipeline.conditioner, pipeline.denoiser, scorer.judge]
    machine = [str(pipeline.device), torch.get_num_threads()]
    values = [pipeline.process.settings(), scorer.features.name, data.test.labels.tolist(), seed, machine]
    return digest(*modules, values, size=12)
