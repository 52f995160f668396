"""The search itself: two rounds of halving that fit the time, and a comparison on fresh noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from synesthete import seeding
from synesthete.evaluation.search import measurements
from synesthete.evaluation.search.measurements import Comparison, Measurement, Measurements, SearchConfig, together
from synesthete.evaluation.search.space import Space, name_of
from synesthete.types import InputError, Progress

if TYPE_CHECKING:
    Settings = dict[str, Any]

SEARCH, COMPARISON = 0.5, 0.2  # shares of the time; the rest is for the two findings
NUM_REPEATS = 5
FACTOR = 3  # of settings that go on from a rung, one; Li et al. 2018, section 3.6, recommend 3 or 4
NUM_RUNGS = 3
NUM_LEADERS = 3  # of the first round, that take part in the second
TRIES = 50  # draws for settings that are new and affordable
ACCURACY, LATE = 100.0, 1e4  # what losing all accuracy, or being over the budget, counts in KID
FEWEST_PICTURES, FEWEST_COMPARED = 96, 32  # in the last rung, and in each repeat of the comparison
FEWEST_SETTINGS, MOST_SETTINGS = 12, 81  # drawn by chance; half as many are proposed after them
BATCH_SIZE = 32  # pictures sampled at once, and in the first rung: seconds a picture depend on it
OVER = 1.15  # a setting that is foretold to take this much more than the budget is not tried


@dataclass
class SearchResult:
    """What a search found.

    comparison: of the winner with the default; better: whether it is, by the goal and beyond noise; reason: why, in
    words. aggregates: of every settings tried. kept: those measured well enough, with accuracy enough, to be on the
    front. front: in order of seconds. rounds: (what, settings, pictures of each) for every rung.
    """

    comparison: Comparison
    better: bool
    reason: str
    aggregates: list[Measurement]
    kept: list[Measurement]
    front: list[Measurement]
    rounds: list[tuple[str, int, int]]

    @property
    def winner(self) -> Settings:
        """The settings that the search chose."""
        return self.comparison.first.settings


class Search:
    """A search of a space of settings.

    trials: measure while searching. final: measure the winner, on other real pictures where there are enough.
    """

    def __init__(
        self,
        space: Space,
        trials: Measurements,
        final: Measurements,
        config: SearchConfig,
        progress: Progress | None = None,
    ) -> None:
        self.space, self.trials, self.final, self.config = space, trials, final, config
        self.progress = progress or (lambda *_: None)
        default = space.settled(space.default)
        if default is None:
            raise InputError(f"the model's own settings ({name_of(space.default)}) cannot be sampled with; train again")
        self.default = default
        self.rounds: list[tuple[str, int, int]] = []
        self._known = {name_of(default)}
        self._done = self._total = 0
        self.cost = 0.0, 0.0  # seconds per picture, whatever the settings, and per evaluation; until it is measured

    def run(self) -> SearchResult:
        """Search, and compare the winner with the default; InputError of a budget that nothing keeps."""
        self.cost = self.measure_cost()
        winner = self.first_in_time(self.search())
        comparison, aggregates = self.compared(winner), self.trials.aggregates()
        # Measured on enough pictures to be on the front and, where accuracy counts, with enough of it.
        fewest = min(pictures for _, _, pictures in self.rounds[1::NUM_RUNGS])
        enough = [aggregate for aggregate in aggregates if aggregate.num >= fewest]
        kept = [enough[place] for place in self.config.allowed(enough)]
        line = [kept[i] for i in measurements.front([s.seconds_per_picture for s in kept], self.config.losses(kept))]
        better, reason = self.config.decide(comparison)
        return SearchResult(comparison, better, reason, aggregates, kept, line, self.rounds)

    def measure_cost(self) -> tuple[float, float]:
        """Seconds per picture as a line through two walks of the default's kind, each the median of three."""
        tried = [self.space.settled(self.default | {"num_inference_steps": num_steps}) for num_steps in (2, 6)]
        kinds, seeds = [settings for settings in tried if settings], [self.seed("cost", i) for i in range(3)]
        times = self.trials.repeats(kinds, min(BATCH_SIZE, self.config.num), seeds)
        few, many = map(self.space.evaluations, kinds)
        quick, slow = (together(own).seconds_per_picture for own in times)
        per_evaluation = max((slow - quick) / (many - few), slow / many / 10)
        return max(0.0, quick - per_evaluation * few), per_evaluation

    def foretold(self, settings: Mapping[str, Any]) -> float:
        """Seconds per picture, by what an evaluation takes."""
        fixed, per_evaluation = self.cost
        return fixed + per_evaluation * self.space.evaluations(settings)

    def left(self, share: float) -> float:
        """Seconds left of a share of the time. By what was measured, which is on disk: no clock decides anything."""
        made = [*self.trials.all(), *self.final.all()]
        return share * 60 * self.config.minutes - sum(m.num * m.seconds_per_picture for m in made)

    def in_time(
        self, always: Sequence[Settings], new: Sequence[Settings], fewest: int, seconds: float
    ) -> tuple[int, tuple[int, ...]]:
        """How many of the new settings a round can take, and the pictures of each rung, even if the slowest go on.

        As many pictures as leave time for `fewest` settings, then as many settings; a third of `fewest` at least.
        """
        least, num = max(FEWEST_PICTURES, self.trials.fewest), self.config.num
        seats = [self.foretold(settings) for settings in (*always, *new)]

        def takes(num_new: int, rungs: tuple[int, ...]) -> float:
            own = sorted(seats[: len(always) + num_new], reverse=True)
            # The default walks along, whether it earns its seat or not.
            return sum(
                pictures * (sum(own[: math.ceil(len(own) / FACTOR**rung)]) + (seats[0] if rung else 0.0))
                for rung, pictures in enumerate(rungs)
            )

        while True:
            rungs = rungs_of(num, smallest=max(self.trials.fewest, min(BATCH_SIZE, num // FACTOR)))
            most = next((n for n in range(len(new), 0, -1) if takes(n, rungs) <= seconds), 0)
            if most >= min(fewest, len(new)) or num <= least:
                return min(len(new), max(most, fewest // FACTOR)), rungs
            num = max(least, num * 3 // 4)

    def draw(self, study: optuna.Study, num: int) -> list[tuple[optuna.trial.Trial, Settings]]:
        """At most `num` trials of new settings that the budget is likely to allow."""
        found: list[tuple[optuna.trial.Trial, Settings]] = []
        for _ in range(TRIES * num):
            if len(found) == num:
                break
            trial = study.ask()
            settings, most = self.space.suggest(trial), self.config.budget * OVER
            if settings and name_of(settings) not in self._known and self.foretold(settings) <= most:
                self._known.add(name_of(settings))
                found.append((trial, settings))
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return found

    def search(self) -> list[Settings]:
        """Those that were measured in every rung of the last round, the best first; the default is among them.

        Settings are drawn by chance, then, in the time left, proposed by a tree-structured Parzen estimator (Bergstra
        et al. 2011). Proposals depend on the seed and on what was measured alone, which is on disk: a search that was
        killed proposes the same again and measures none of it twice.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(n_startup_trials=1, seed=self.seed("proposals") % 2**32)
        study, most = optuna.create_study(sampler=sampler), MOST_SETTINGS
        left: list[Settings] = []
        rounds = (("drawn", FEWEST_SETTINGS, SEARCH * 2 / 3), ("proposed", FEWEST_SETTINGS // 2, SEARCH))
        fixed, per_evaluation = self.cost
        for what, fewest, share in rounds:
            # Where the cheapest settings take too long, thousands of draws would find none that do not.
            quickest = fixed + min(self.space.knobs["num_inference_steps"]) * per_evaluation
            trials = self.draw(study, most) if quickest <= self.config.budget * OVER else []
            if not trials and not left:
                asked = f"no settings take {self.config.budget:g} s a picture or less here"
                two = fixed + 2 * per_evaluation
                raise InputError(f"{asked}: two steps take {two:.2g} s; raise --seconds-per-picture")
            always = list({name_of(s): s for s in (self.default, *left[:NUM_LEADERS])}.values())
            num, rungs = self.in_time(always, [settings for _, settings in trials], fewest, self.left(share))
            for trial, settings in trials[num:]:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                self._known.discard(name_of(settings))  # which may be proposed
            trials, most = trials[:num], max(1, num // 2)
            left, values = self.halve(what, [*always, *(settings for _, settings in trials)], rungs)
            for trial, settings in trials:
                own = values[name_of(settings)]
                for rung, value in enumerate(own):
                    trial.report(value, rung)
                whole = len(own) == NUM_RUNGS
                study.tell(trial, own[-1] if whole else None, None if whole else optuna.trial.TrialState.PRUNED)
        return left

    def halve(
        self, what: str, left: list[Settings], rungs: Sequence[int]
    ) -> tuple[list[Settings], dict[str, list[float]]]:
        """Those left after the last rung, the best first, and by name what each was worth in its rungs, lower better.

        Successive halving: Jamieson & Talwalkar 2016, figure 1, with the proportion kept as in Li et al. 2018. Not by
        Optuna's pruner, which compares with what came before, so that better proposals all go on.
        """
        found: dict[str, list[Measurement]] = {}
        values: dict[str, list[float]] = {}
        seats = [math.ceil(len(left) / FACTOR**rung) for rung in range(1, NUM_RUNGS)]
        # One more than its seat: the default walks along.
        this = len(left) + sum(seats) + NUM_RUNGS - 1
        self._total = self._done + this + (this // 2 if what == "drawn" else 0) + 2 * NUM_REPEATS
        for rung, pictures in enumerate(rungs):
            self.rounds.append((what, len(left), pictures))
            # Fresh noise in every rung, the same for all in it: settings do not differ by their noise.
            seed = self.seed(what, rung)
            for [measured] in self.trials.repeats(left, pictures, [seed], self._count):
                found.setdefault(measured.name, []).append(measured)
            aggregates = [together(found[name_of(settings)]) for settings in left]
            lost = zip(aggregates, self.config.losses(aggregates), self.config.lost_accuracy(aggregates), strict=True)
            for each, loss, less in lost:  # above the loss comes accuracy lost, above that being over the budget
                late = each.seconds_per_picture > self.config.budget
                values.setdefault(each.name, []).append(loss + ACCURACY * less + LATE * late)
            left = [left[place] for place in self.promoted(aggregates, [*seats, len(left)][rung])]
        return left, values

    def promoted(self, aggregates: Sequence[Measurement], num: int) -> list[int]:
        """Places of about `num` aggregates to go on with, the best first.

        A quarter of the seats is for the cheapest of those that nothing beats in both quality and evaluations (not
        seconds: a seed decides, no clock), so that the front is measured all along. The default is always among them.
        """
        order = self.config.ranked(aggregates)
        able = [i for i in self.config.allowed(aggregates) if aggregates[i].seconds_per_picture <= self.config.budget]
        evaluations = [self.space.evaluations(aggregates[place].settings) for place in able]
        losses = self.config.losses([aggregates[place] for place in able])
        reserved = [able[place] for place in measurements.front(evaluations, losses)][: num // 4]
        best = [place for place in order if place not in reserved][: num - len(reserved)]
        chosen = {*best, *reserved, *(i for i in order if aggregates[i].name == name_of(self.default))}
        return [place for place in order if place in chosen]

    def first_in_time(self, last: list[Settings]) -> Settings:
        """The best of the last rung, or else of all, that keeps the budget by the median of its timings."""
        aggregates = self.trials.aggregates()
        places = {aggregate.name: place for place, aggregate in enumerate(aggregates)}
        for place in (*(places[name_of(settings)] for settings in last), *self.config.ranked(aggregates)):
            if aggregates[place].seconds_per_picture <= self.config.budget:
                return aggregates[place].settings
        least = min(aggregate.seconds_per_picture for aggregate in aggregates)
        kept = f"no settings keep {self.config.budget:g} s a picture (the quickest took {least:.2g} s)"
        raise InputError(f"{kept}; raise --seconds-per-picture")

    def compared(self, winner: Settings) -> Comparison:
        """Winner and default on the same fresh noise, NUM_REPEATS times, on as many pictures as there is time for."""
        seconds = NUM_REPEATS * (self.foretold(winner) + self.foretold(self.default))
        affordable = int(self.left(SEARCH + COMPARISON) / seconds)
        num = min(self.config.num, max(FEWEST_COMPARED, self.final.fewest, affordable))
        seeds = [self.seed("comparison", i) for i in range(NUM_REPEATS)]
        repeats = self.final.repeats((winner, self.default), num, seeds, self._count)
        self.progress("settings", self._total, self._total)
        return measurements.compare_repeats(*repeats)

    def seed(self, *names: int | str) -> int:
        """The seed of the noise for a purpose."""
        return seeding.derive(self.config.seed, "tune", *names)

    def _count(self) -> None:
        self._done += 1
        self.progress("settings", min(self._done, self._total), self._total)


def rungs_of(num: int, smallest: int = 1) -> tuple[int, ...]:
    """Pictures in each rung, three times as many from one to the next; the last has `num`."""
    return tuple(min(num, max(smallest, round(num / FACTOR**i))) for i in reversed(range(NUM_RUNGS)))
