"""The search itself: a plan that fits the time, two rounds of halving, and a comparison on fresh noise."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from synesthete import seeding
from synesthete.evaluation.search.goals import compare, front, ranked, within
from synesthete.evaluation.search.measurements import together
from synesthete.evaluation.search.space import name_of
from synesthete.types import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synesthete.evaluation.search.goals import Comparison, Goal
    from synesthete.evaluation.search.measurements import Aggregate, Measurement, Measurements
    from synesthete.evaluation.search.space import Space
    from synesthete.types import Progress

    Settings = dict[str, Any]

SEARCH, COMPARISON, FINDINGS = 0.5, 0.2, 0.3  # shares of the time
NUM_REPEATS = 5
FACTOR = 3  # of settings that go on from a rung, one; Li et al. 2018, section 3.6, recommend 3 or 4
NUM_RUNGS = 3
NUM_LEADERS = 3  # of the first round, that take part in the second
TRIES = 50  # draws for settings that are new and affordable
ACCURACY, LATE = 100.0, 1e4  # what losing all accuracy, or being over the budget, counts in KID
FEWEST_PICTURES, FEWEST_SETTINGS, MOST_SETTINGS = 96, 18, 81
BATCH_SIZE = 32  # pictures sampled at once, and in the first rung: seconds a picture depend on it
OVER = 1.15  # a setting that is foretold to take this much more than the budget is not tried


@dataclass(frozen=True)
class SearchConfig:
    """What is asked of a search.

    budget: seconds per picture, at most. num: pictures of each setting in the last rung, at most. minutes: for
    everything. ceiling: accuracy of the judge on real pictures.
    """

    goal: Goal = "balanced"
    budget: float = 0.5
    num: int = 256
    minutes: float = 10.0
    seed: int = 0
    ceiling: float = 1.0


@dataclass(frozen=True)
class Cost:
    """Seconds per picture: so much whatever the settings, and so much for each evaluation of the network."""

    fixed: float
    per_evaluation: float

    def __call__(self, evaluations: int) -> float:
        """Seconds for a picture of that many evaluations."""
        return self.fixed + self.per_evaluation * evaluations


@dataclass(frozen=True)
class Plan:
    """How many settings are drawn by chance and proposed after them, the pictures of each rung and of later repeats."""

    num_drawn: int
    num_proposed: int
    rungs: tuple[int, ...]
    num_compared: int


@dataclass
class SearchResult:
    """What a search found.

    aggregates: of every settings tried. kept: those measured well enough, with accuracy enough, to be on the front.
    front: in order of seconds. rounds: (what, settings, pictures of each) for every rung.
    """

    plan: Plan
    cost: Cost
    comparison: Comparison
    aggregates: list[Aggregate]
    kept: list[Aggregate]
    front: list[Aggregate]
    rounds: list[tuple[str, int, int]]

    @property
    def winner(self) -> Settings:
        """The settings that the search chose."""
        return self.comparison.winner.settings


class Search:
    """A search of a space of settings.

    Args:
        space: what may be tried. trials: measure while searching. final: measure the winner, on other real pictures
            where there are enough. progress(what, done, total) counts settings measured.
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

    def run(self) -> SearchResult:
        """Search, and compare the winner with the default.

        Raises:
            InputError: a budget that nothing keeps.
        """
        cost = self.measure_cost()
        plan = self.make_plan(cost)
        winner = self.first_in_time(self.search(plan, cost))
        comparison = self.compared(winner, plan.num_compared)
        aggregates = self.trials.aggregates()
        kept = self.keepers(aggregates, plan)
        line = front([s.seconds_per_picture for s in kept], [self.loss(s) for s in kept])
        return SearchResult(plan, cost, comparison, aggregates, kept, [kept[i] for i in line], self.rounds)

    def measure_cost(self) -> Cost:
        """Seconds per picture as a line through two walks of the default's kind, each the median of three."""
        points = []
        for num_steps in (2, 6):
            settings = self.space.settled(self.default | {"num_inference_steps": num_steps})
            assert settings is not None
            num = min(BATCH_SIZE, self.config.num)
            times = [self.trials.measure(settings, num, self.seed("cost", i)) for i in range(3)]
            seconds = statistics.median(m.seconds_per_picture for m in times)
            points.append((self.space.evaluations(settings), seconds))
        (few, quick), (many, slow) = points
        per_evaluation = max((slow - quick) / (many - few), slow / many / 10)
        return Cost(max(0.0, quick - per_evaluation * few), per_evaluation)

    def make_plan(self, cost: Cost) -> Plan:
        """How many settings to try, and how thoroughly, in the time that there is."""
        config, budget = self.config, self.config.budget
        sampler = optuna.samplers.RandomSampler(self.seed("pool") % 2**32)
        pool = [settings for _, settings in self.draw(_study(sampler), MOST_SETTINGS, cost, set(self._known))]
        if not pool:
            raise InputError(
                f"no settings take {budget:g} s a picture or less here: two steps take {cost(2):.2g} s; "
                "raise --seconds-per-picture"
            )
        seconds = 60 * config.minutes
        pictures = SEARCH * seconds / statistics.fmean(self.foretold(s, cost) for s in pool)
        # A rung costs as much as any other: a third of the settings, three times the pictures.
        share = NUM_RUNGS / FACTOR ** (NUM_RUNGS - 1)
        fewest = max(FEWEST_PICTURES, self.trials.fewest)
        num = min(config.num, max(fewest, int(pictures / (share * FEWEST_SETTINGS))))
        num_settings = max(FEWEST_SETTINGS, min(int(pictures / (share * num)), MOST_SETTINGS * 3 // 2))
        num_drawn = min(len(pool), num_settings * 2 // 3)
        each = self.foretold(self.default, cost) + min(budget, max(self.foretold(s, cost) for s in pool))
        num_compared = min(config.num, max(fewest, int(COMPARISON * seconds / (NUM_REPEATS * each))))
        smallest = max(self.trials.fewest, min(BATCH_SIZE, num // FACTOR))
        plan = Plan(num_drawn, num_settings // 3, rungs_of(num, smallest=smallest), num_compared)
        # The default walks along in both rounds.
        rounds = plan.num_drawn + 1, plan.num_proposed + NUM_LEADERS + 1
        self._total = sum(math.ceil(n / FACTOR**rung) for n in rounds for rung in range(NUM_RUNGS)) + 2 * NUM_REPEATS
        return plan

    def draw(
        self, study: optuna.Study, num: int, cost: Cost, known: set[str]
    ) -> list[tuple[optuna.trial.Trial, Settings]]:
        """At most `num` trials of settings that the budget is likely to allow and that were not `known`."""
        found: list[tuple[optuna.trial.Trial, Settings]] = []
        for _ in range(TRIES * num):
            if len(found) == num:
                break
            trial = study.ask()
            settings = self.space.suggest(trial)
            if (
                settings
                and name_of(settings) not in known
                and self.foretold(settings, cost) <= self.config.budget * OVER
            ):
                known.add(name_of(settings))
                found.append((trial, settings))
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return found

    def search(self, plan: Plan, cost: Cost) -> list[Settings]:
        """Those that were measured in every rung of the last round, the best first; the default is among them.

        Settings are drawn by chance, then proposed by a tree-structured Parzen estimator (Bergstra et al. 2011). The
        study is in memory: proposals depend on the seed and on what was measured alone, which is on disk, so that a
        search that was killed proposes the same again and measures none of it twice.
        """
        sampler = optuna.samplers.TPESampler(n_startup_trials=plan.num_drawn, seed=self.seed("proposals") % 2**32)
        study = _study(sampler)
        left: list[Settings] = []
        for what, num in (("drawn", plan.num_drawn), ("proposed", plan.num_proposed)):
            trials = self.draw(study, num, cost, self._known)
            candidates = [self.default, *left[:NUM_LEADERS], *(settings for _, settings in trials)]
            left, values = self.halve(what, candidates, plan)
            for trial, settings in trials:
                own = values[name_of(settings)]
                for rung, value in enumerate(own):
                    trial.report(value, rung)
                whole = len(own) == NUM_RUNGS
                study.tell(trial, own[-1] if whole else None, None if whole else optuna.trial.TrialState.PRUNED)
        return left

    def halve(
        self, what: str, candidates: Sequence[Settings], plan: Plan
    ) -> tuple[list[Settings], dict[str, list[float]]]:
        """Those left after the last rung, the best first, and by name what each was worth in its rungs, lower better.

        Successive halving: Jamieson & Talwalkar 2016, figure 1, with the proportion kept as in Li et al. 2018,
        algorithm 1. A round as a whole and not by Optuna's pruner, which compares with what came before: as proposals
        get better half of them go on, at twice the pictures planned, and no seats can be kept for the front.
        """
        found: dict[str, list[Measurement]] = {}
        values: dict[str, list[float]] = {}
        left = list({name_of(settings): settings for settings in candidates}.values())
        seats = [math.ceil(len(left) / FACTOR**rung) for rung in range(1, NUM_RUNGS)]
        for rung, num in enumerate([*seats, seats[-1]]):
            self.rounds.append((what, len(left), plan.rungs[rung]))
            for settings in left:
                # Fresh noise in every rung, the same for all in it: settings do not differ by their noise.
                measured = self.trials.measure(settings, plan.rungs[rung], self.seed(what, rung))
                found.setdefault(name_of(settings), []).append(measured)
                self._count()
            aggregates = [together(found[name_of(settings)]) for settings in left]
            for aggregate, value in zip(aggregates, self.values(aggregates), strict=True):
                values.setdefault(aggregate.name, []).append(value)
            left = [left[place] for place in self.promoted(aggregates, num if rung < NUM_RUNGS - 1 else len(left))]
        return left, values

    def values(self, aggregates: Sequence[Aggregate]) -> list[float]:
        """What the sampler is to make small: the loss, above it accuracy lost, above that being over the budget."""
        balanced = self.config.goal == "balanced"
        lost = within(aggregates, self.config.ceiling) if balanced else [0.0] * len(aggregates)
        late = [aggregate.seconds_per_picture > self.config.budget for aggregate in aggregates]
        return [
            self.loss(a) + ACCURACY * less + LATE * over for a, less, over in zip(aggregates, lost, late, strict=True)
        ]

    def promoted(self, aggregates: Sequence[Aggregate], num: int) -> list[int]:
        """Places of about `num` aggregates to go on with, the best first.

        A quarter of the seats is for the cheapest of those that nothing beats in both quality and evaluations, so that
        the front is measured all along; evaluations and not seconds, so that a seed decides and no clock. The default
        is always among them.
        """
        order = self.in_order(aggregates)
        able = [i for i in self.allowed(aggregates) if aggregates[i].seconds_per_picture <= self.config.budget]
        evaluations = [self.space.evaluations(aggregates[place].settings) for place in able]
        reserved = [able[i] for i in front(evaluations, [self.loss(aggregates[i]) for i in able])][: num // 4]
        best = [place for place in order if place not in reserved][: num - len(reserved)]
        default = [place for place in order if aggregates[place].name == name_of(self.default)]
        chosen = {*best, *reserved, *default}
        return [place for place in order if place in chosen]

    def in_order(self, aggregates: Sequence[Aggregate]) -> list[int]:
        """Places of the aggregates by the goal, those over the budget last."""
        order = ranked(aggregates, self.config.goal, self.config.ceiling)
        return sorted(order, key=lambda place: aggregates[place].seconds_per_picture > self.config.budget)

    def first_in_time(self, last: list[Settings]) -> Settings:
        """The best of the last rung, or else of all, that keeps the budget by the median of its timings.

        Raises:
            InputError: none does.
        """
        aggregates = self.trials.aggregates()
        places = {aggregate.name: place for place, aggregate in enumerate(aggregates)}
        order = [*(places[name_of(settings)] for settings in last), *self.in_order(aggregates)]
        for place in order:
            if aggregates[place].seconds_per_picture <= self.config.budget:
                return aggregates[place].settings
        least = min(aggregate.seconds_per_picture for aggregate in aggregates)
        raise InputError(
            f"no settings keep {self.config.budget:g} s a picture (the quickest took {least:.2g} s); "
            "raise --seconds-per-picture"
        )

    def compared(self, winner: Settings, num: int) -> Comparison:
        """Winner and default on the same fresh noise, NUM_REPEATS times."""
        repeats: dict[str, list[Measurement]] = {"winner": [], "default": []}
        for i in range(NUM_REPEATS):
            for who, settings in (("winner", winner), ("default", self.default)):
                repeats[who].append(self.final.measure(settings, num, self.seed("comparison", i)))
                self._count()
        self.progress("settings", self._total, self._total)
        return compare(repeats["winner"], repeats["default"], self.config.goal, self.config.ceiling)

    def keepers(self, aggregates: Sequence[Aggregate], plan: Plan) -> list[Aggregate]:
        """Standings on enough pictures to be on the front and, where accuracy counts, with enough of it."""
        enough = [aggregate for aggregate in aggregates if aggregate.num >= plan.rungs[1]]
        return [enough[place] for place in self.allowed(enough)]

    def allowed(self, aggregates: Sequence[Aggregate]) -> list[int]:
        """Places of the aggregates that keep as much accuracy as the goal asks for."""
        if self.config.goal != "balanced" or not aggregates:
            return list(range(len(aggregates)))
        return [place for place, lost in enumerate(within(aggregates, self.config.ceiling)) if lost == 0]

    def loss(self, aggregate: Aggregate) -> float:
        """What is drawn against the seconds, lower being better."""
        return -aggregate.accuracy if self.config.goal == "accuracy" else aggregate.kid

    def foretold(self, settings: Mapping[str, Any], cost: Cost) -> float:
        """Seconds per picture, by what an evaluation takes."""
        return cost(self.space.evaluations(settings))

    def seed(self, *names: int | str) -> int:
        """The seed of the noise for a purpose."""
        return seeding.derive(self.config.seed, "tune", *names)

    def _count(self) -> None:
        self._done += 1
        self.progress("settings", min(self._done, self._total), self._total)


def _study(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    """A study in memory that says nothing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=sampler)


def rungs_of(num: int, num_rungs: int = NUM_RUNGS, smallest: int = 1) -> tuple[int, ...]:
    """Pictures in each rung, three times as many from one to the next; the last has `num`."""
    return tuple(min(num, max(smallest, round(num / FACTOR**i))) for i in reversed(range(num_rungs)))
