"""The search for sampling settings, on a scorer whose best settings are known and whose clock does not tick."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete import seeding
from synesthete.config import Sampling
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.evaluation.search.measurements import (
    Comparison,
    Measurement,
    Measurements,
    PairedDifference,
    SearchConfig,
    compare_repeats,
    front,
    labels_of,
    paired,
    together,
)
from synesthete.evaluation.search.scoring import ScoredSamples
from synesthete.evaluation.search.space import Space, name_of
from synesthete.evaluation.search.tune import ETA_STEPS, afford, guidance_settings, tune_measured
from synesthete.evaluation.search.tune_report import eta_sentence, guidance_sentence, scale_of, steps_of
from synesthete.evaluation.search.tuning import Search, rungs_of
from synesthete.executors import using
from synesthete.types import InputError
from unreliable import Unreliable

COSINE = Process("cosine", "v_prediction", num_train_timesteps=1000, zero_terminal_snr=True)
FLOW = Process("flow", "sample")
DEFAULT = vars(Sampling(sampler="ddim", num_inference_steps=20, guidance_scale=6.0))
FLOW_DEFAULT = vars(Sampling())


class KnownScorer:
    """DPM-Solver++ at guidance 2 is best, more evaluations are a little better, and everything has some noise.

    A picture takes 10 ms an evaluation. noise: of a KID from 100 pictures.
    """

    def __init__(self, space: Space, noise: float = 0.0005) -> None:
        self.space, self.noise, self.asked = space, noise, []

    def kid_floor(self, labels):
        return 0.002

    def score(self, settings, labels, seed):
        self.asked.append(name_of(settings))
        num, evaluations = len(labels), self.space.evaluations(settings)
        generator = seeding.generator(seed, name_of(settings), num)
        kid = 0.01 + 0.004 * (settings["guidance_scale"] - 2) ** 2 + 0.1 / evaluations
        kid += 0.0 if settings["sampler"] in ("dpmsolver++", "flow-dpmsolver++") else 0.02
        kid += 0.01 * settings["eta"]
        kid += self.noise * math.sqrt(100 / num) * torch.randn((), generator=generator).item()
        accuracy = 0.7 if settings["guidance_scale"] < 1.5 else 0.95
        figures = {"precision": 0.8, "recall": 0.9 / settings["guidance_scale"], "diversity": 1.0}
        return ScoredSamples(accuracy, kid, 0.002, **figures, seconds_per_picture=0.01 * evaluations, samples=labels)


def space_of(process: Process = COSINE, **changes) -> Space:
    return Space(process, (FLOW_DEFAULT if process.schedule == "flow" else DEFAULT) | changes)


def measurements(space: Space, folder, scorer: KnownScorer | None = None) -> Measurements:
    return Measurements(scorer or KnownScorer(space), torch.arange(3), folder, "the known scorer")


def both(space: Space, folder, scorer: KnownScorer | None = None) -> tuple[Measurements, Measurements]:
    """What a search measures with, and what its winner is measured with."""
    scorer = scorer or KnownScorer(space)
    return measurements(space, folder / "search", scorer), measurements(space, folder / "comparison", scorer)


def measured(accuracy: float, kid: float, num: int = 10_000, seconds: float = 0.1, **other) -> Measurement:
    figures = {"kid_floor": 0.002, "precision": 0.5, "recall": 0.5, "diversity": 1.0, "settings": DEFAULT} | other
    return Measurement(accuracy, kid, seconds_per_picture=seconds, num=num, **figures)


# --- what may be tried -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [COSINE, FLOW], ids=["cosine", "flow"])
def test_whatever_is_drawn_can_be_sampled_with_and_no_two_are_the_same(process, tmp_path):
    space = space_of(process)

    def draw(seed: int):
        search = Search(space, *both(space, tmp_path), SearchConfig(budget=9.0))
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
        search.cost = 0.0, 0.01
        return [settings for _, settings in search.draw(study, 40)]

    drawn = draw(0)
    assert len(drawn) == len({name_of(settings) for settings in drawn}) == 40
    assert {settings["sampler"] for settings in drawn} == set(space.knobs["sampler"])
    for settings in drawn:
        Sampling(**settings)
        scheduler_for(settings, process)
    assert drawn == draw(0)
    assert drawn != draw(1)


def test_settings_that_differ_in_nothing_that_counts_are_one():
    space = space_of()
    plain = space.settled(DEFAULT | {"sampler": "heun", "guidance_scale": 1.0})
    assert plain == space.settled(
        DEFAULT | {"sampler": "heun", "guidance_scale": 1.0, "guidance_interval": (0.2, 0.8), "eta": 1.0}
    )
    flow, even = space_of(FLOW), {"sampler": "flow-unipc", "timestep_spacing": "log_snr"}
    assert flow.settled(DEFAULT | even | {"timestep_shift": 3.0}) == flow.settled(DEFAULT | even)
    assert space.settled(DEFAULT | {"sampler": "flow-euler"}) is None
    assert space.settled(DEFAULT | {"num_inference_steps": 2000}) is None


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({}, 40),
        ({"guidance_scale": 1.0}, 20),
        ({"guidance_scale": 0.0}, 20),
        ({"guidance_interval": (0.0, 0.5)}, 30),
        ({"sampler": "heun", "guidance_scale": 1.0}, 39),
    ],
)
def test_evaluations_are_counted(changes, evaluations):
    assert space_of().evaluations(DEFAULT | changes) == evaluations


# --- halving and the front ---------------------------------------------------------------------------------------


def test_halving_gives_more_pictures_to_fewer(tmp_path):
    space = space_of()
    found = Search(space, *both(space, tmp_path), SearchConfig(budget=0.4, minutes=60.0)).run()
    assert [what for what, _, _ in found.rounds] == ["drawn"] * 3 + ["proposed"] * 3
    for first, second, third in (found.rounds[:3], found.rounds[3:]):
        assert first[2] < second[2] < third[2]
        assert second[1] <= first[1] / 3 + 2  # the default walks along
        assert third[1] <= first[1] / 9 + 2
    assert rungs_of(256, smallest=32) == (32, 85, 256)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_front_is_what_nothing_beats(points):
    costs, losses = zip(*points, strict=True)

    def beaten(i: int) -> bool:
        return any(
            costs[j] <= costs[i] and losses[j] <= losses[i] and points[j] != points[i] for j in range(len(points))
        )

    found = front(costs, losses)
    assert {points[i] for i in found} == {points[i] for i in range(len(points)) if not beaten(i)}
    assert [costs[i] for i in found] == sorted({costs[i] for i in found})


# --- what is better ----------------------------------------------------------------------------------------------


def test_balanced_takes_the_least_kid_within_a_point_of_the_best_accuracy():
    tried = [measured(0.90, 0.001), measured(0.97, 0.004), measured(0.975, 0.006), measured(0.96, 0.002)]
    assert SearchConfig("balanced").ranked(tried) == [1, 2, 3, 0]
    assert SearchConfig("kid").ranked(tried)[0] == 0
    assert SearchConfig("accuracy").ranked(tried)[0] == 2
    # Real pictures are named rightly in 0.965: more than that is no gain.
    assert SearchConfig("balanced", ceiling=0.965).ranked(tried)[0] == 3


def test_few_pictures_lose_no_settings_for_the_noise_of_their_accuracy():
    few, many = (measured(0.90, 0.001, num=n) for n in (30, 10_000))
    best = measured(0.95, 0.004)
    assert SearchConfig("balanced").lost_accuracy([few, best])[0] == 0.0
    assert SearchConfig("balanced").lost_accuracy([many, best])[0] == pytest.approx(0.04)


def test_the_interval_of_paired_differences_is_students():
    found = paired([1.0, 2.0, 3.0, 4.0], [0.5, 1.0, 1.5, 2.0])  # differences 0.5, 1, 1.5, 2: sd 0.6455
    assert (found.mean, found.low, found.high) == pytest.approx((1.25, 1.25 - 1.0271, 1.25 + 1.0271), abs=1e-3)
    assert found.is_clear


@pytest.mark.parametrize(
    ("goal", "winner", "kid", "accuracy", "better"),
    [
        ("kid", 0.90, (-2, -1), (-1, 1), True),
        ("kid", 0.90, (-2, 0.1), (-1, 1), False),
        ("accuracy", 0.96, (1, 2), (0.001, 0.02), True),
        ("balanced", 0.95, (-2, -1), (-0.01, 0.01), True),
        ("balanced", 0.95, (-2, 0.1), (-0.01, 0.01), False),
        ("balanced", 0.93, (-2, -1), (-0.03, -0.01), False),  # it buys its KID with accuracy
        ("balanced", 0.99, (1, 2), (0.02, 0.06), True),  # the default lost accuracy
    ],
)
def test_better_is_beyond_noise(goal, winner, kid, accuracy, better):
    other = measured(winner, 0.01, settings=DEFAULT | {"eta": 0.5})
    differences = (PairedDifference(sum(ends) / 2, *ends) for ends in (kid, accuracy))
    assert SearchConfig(goal).decide(Comparison(other, measured(0.95, 0.01), 5, *differences))[0] is better


def test_the_default_is_not_better_than_itself():
    own = [measured(0.9, 0.01, seed=i) for i in range(5)]
    found = compare_repeats(own, own)
    assert SearchConfig("balanced").decide(found) == (False, "the search found nothing better than it")
    assert (found.num_repeats, found.kid) == (5, PairedDifference(0.0, 0.0, 0.0))


# --- measuring ---------------------------------------------------------------------------------------------------


def test_a_measurement_is_kept_and_not_made_again(tmp_path):
    space = space_of()
    first, second, other = (measurements(space, tmp_path) for _ in range(3))
    found = first.measure(DEFAULT, 30, seed=1)
    assert second.measure(DEFAULT, 30, seed=1) == found
    assert (len(first.scorer.asked), len(second.scorer.asked)) == (1, 0)
    for file in tmp_path.glob("*.json"):
        file.write_text("{")  # damaged: made again
    assert second.measure(DEFAULT, 30, seed=1) == found
    assert len(second.scorer.asked) == 1
    other.subject = "another model"
    other.measure(DEFAULT, 30, seed=1)
    other.measure(DEFAULT, 30, seed=2)
    other.measure(DEFAULT, 60, seed=1)
    assert len(other.scorer.asked) == 3


def test_figures_that_are_not_finite_come_back(tmp_path):
    class Silent(KnownScorer):
        def score(self, *arguments):
            return replace(super().score(*arguments), diversity=math.nan)

    space = space_of()
    measurements(space, tmp_path, Silent(space)).measure(DEFAULT, 30, seed=1)
    assert math.isnan(measurements(space, tmp_path).measure(DEFAULT, 30, seed=1).diversity)
    assert all(json.loads(file.read_text())["figures"]["diversity"] is None for file in tmp_path.glob("*.json"))


def test_samples_of_all_sizes_count_by_their_pictures():
    small = measured(0.8, 0.04, 100, 0.3, kid_floor=0.004, precision=0.1)
    large = [measured(0.9, 0.02, 300, 0.1 * i, precision=0.5 + i / 10) for i in (1, 2)]
    found = together([small, *large])
    assert (found.num, found.seconds_per_picture) == (700, 0.2)
    assert found.accuracy == pytest.approx((80 + 270 + 270) / 700)
    assert found.kid == pytest.approx((4 + 6 + 6) / 700)
    assert (found.precision, found.kid_floor) == pytest.approx((0.65, 0.002))


def test_labels_are_as_even_as_can_be():
    counts = labels_of(32, torch.arange(10), seed=3).bincount(minlength=10)
    assert sorted(counts.tolist()) == [3] * 8 + [4] * 2
    assert labels_of(8, torch.tensor([4, 7]), seed=3).tolist() == [4] * 4 + [7] * 4


# --- the search --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [COSINE, FLOW], ids=["cosine", "flow"])
def test_the_search_finds_settings_near_the_best_that_the_budget_allows(process, tmp_path):
    space = space_of(process)
    found = Search(space, *both(space, tmp_path), SearchConfig(budget=0.4, minutes=60.0)).run()
    assert found.winner["sampler"].endswith("dpmsolver++")
    assert 1.5 <= found.winner["guidance_scale"] <= 3
    assert found.winner["eta"] == 0
    assert found.comparison.first.seconds_per_picture <= 0.4
    assert found.better
    assert found.comparison.kid.high < 0
    seconds = [one.seconds_per_picture for one in found.front]
    kids = [one.kid for one in found.front]
    assert seconds == sorted(seconds)
    assert kids == sorted(kids, reverse=True)
    assert len(found.front) >= 3


def test_a_winner_no_better_than_the_default_is_said_so(tmp_path):
    best = {"sampler": "dpmsolver++", "num_inference_steps": 20, "guidance_scale": 2.0}
    space = space_of(**best)
    found = Search(
        space, *both(space, tmp_path, KnownScorer(space, noise=0.005)), SearchConfig(budget=0.4, minutes=30.0)
    ).run()
    assert not found.better


def test_a_budget_that_nothing_keeps_is_one_line(tmp_path):
    space = space_of()
    with pytest.raises(InputError, match="seconds-per-picture"):
        Search(space, *both(space, tmp_path), SearchConfig(budget=0.005)).run()


def test_the_comparison_shares_no_noise_with_the_search(tmp_path):
    space = space_of()
    trials, final = both(space, tmp_path)
    Search(space, trials, final, SearchConfig(minutes=60.0)).run()
    searched, compared = ({m.seed for m in each.all()} for each in (trials, final))
    assert len(compared) == 5
    assert not searched & compared


def test_a_search_that_was_killed_goes_on_to_the_same_outcome(tmp_path):
    class Killed(KnownScorer):
        def score(self, *arguments):
            if len(self.asked) == 30:
                raise KeyboardInterrupt
            return super().score(*arguments)

    config, space = SearchConfig(budget=0.4, minutes=10.0, seed=5), space_of()

    def run(folder, scorer=None):
        trials, final = both(space, folder, scorer)
        return tune_measured(space, trials, final, config, lambda *_: None), trials

    whole, first = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Killed(space))
    again, second = run(tmp_path / "killed")
    assert again.to_dict() == whole.to_dict()
    assert len(second.scorer.asked) == len(first.scorer.asked) - 30
    assert run(tmp_path / "killed")[0].num_new == 0


def test_a_search_that_is_divided_has_the_same_outcome(tmp_path):
    config, space = SearchConfig(budget=0.4, minutes=10.0, seed=5), space_of()
    one, divided = (both(space, tmp_path / name) for name in ("one", "divided"))
    whole = tune_measured(space, *one, config, lambda *_: None)
    with using(Unreliable()) as executor:
        found = tune_measured(space, *divided, config, lambda *_: None)
    assert found.to_dict() == whole.to_dict()
    assert [len(names) for names in executor.rounds[:2]] == [6, 2]
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.json")} for name in ("one", "divided")
    ]
    assert files[0] == files[1]
    assert found.num_new == len(files[0]) == len({name for names in executor.rounds for name in names})


@pytest.mark.parametrize("process", [COSINE, FLOW], ids=["cosine", "flow"])
@pytest.mark.parametrize("minutes", [10.0, 30.0])
def test_the_minutes_are_kept_where_the_best_settings_are_the_slow_ones(process, minutes, tmp_path):
    space = space_of(process)
    config = SearchConfig(budget=0.4, minutes=minutes)
    found = tune_measured(space, *both(space, tmp_path), config, lambda *_: None)
    assert sum(m.num * m.seconds_per_picture for m in found.measurements) / 60 == pytest.approx(minutes, rel=0.05)


def test_less_time_means_fewer_settings_and_pictures(tmp_path):
    space, found = space_of(), []
    for minutes in (1.0, 120.0):
        found.append(
            Search(space, *both(space, tmp_path / str(minutes)), SearchConfig(budget=0.4, minutes=minutes)).run()
        )
    short, long = ([each.comparison.second.num, *(n for rung in each.rounds for n in rung[1:])] for each in found)
    assert all(a <= b for a, b in zip(short, long, strict=True))
    assert all(short[i] < long[i] for i in (0, 1, 6))  # compared, drawn, in the last rung


# --- the two findings --------------------------------------------------------------------------------------------


def test_the_findings_are_answered_with_figures(tmp_path):
    space = space_of()
    found = tune_measured(space, *both(space, tmp_path), SearchConfig(budget=0.4, minutes=200.0), lambda *_: None)
    assert [steps_of(f) for f in found.eta] == list(ETA_STEPS)
    assert all(f.kid.high < 0 for f in found.eta)  # eta adds 0.01 to this scorer's KID
    assert "not worse" in eta_sentence(found.eta)
    assert [scale_of(f) for f in found.guidance] == [1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0]
    said = guidance_sentence(found.guidance)
    assert "Guidance 6 is not the best: 2 has a KID lower by 0.06" in said
    assert "recall, the share of real pictures that could have been made, is highest at 1 (0.90" in said


def test_a_flow_has_no_eta_and_a_model_without_classes_no_guidance(tmp_path):
    space = Space(FLOW, FLOW_DEFAULT | {"guidance_scale": 1.0}, guidance=False)
    found = tune_measured(space, *both(space, tmp_path), SearchConfig("kid", 0.4, minutes=60.0), lambda *_: None)
    assert (found.eta, found.guidance) == ([], [])
    assert "no eta" in eta_sentence(found.eta)
    assert "nothing to guide" in guidance_sentence(found.guidance)


def test_slow_models_are_asked_at_fewer_steps_and_scales():
    space = space_of()

    def asked(seconds: float, minutes: float) -> tuple[list[int], int, int]:
        found = afford(space, lambda settings: seconds * space.evaluations(settings), minutes, 256)
        return [pair[0]["num_inference_steps"] for pair in found.eta], len(found.guidance), found.num

    assert asked(0.001, 1e6) == (list(ETA_STEPS), 7, 256)
    assert asked(0.01, 350)[:2] == ([5, 10], 7)
    assert asked(1.0, 60) == ([5, 10], 4, 24)
    assert {1.0, 6.0, 8.0} < guidance_settings(space, 3).keys() < guidance_settings(space).keys()
