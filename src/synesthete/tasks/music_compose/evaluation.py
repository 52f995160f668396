"""Does it compose? As music, by the key that was asked for, by the chords under given melodies, and as copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from synesthete import seeding
from synesthete.data.scores.rendering import render
from synesthete.data.scores.score import MODES, TEMPO, to_score
from synesthete.evaluation import samples
from synesthete.evaluation.metrics.metric import accuracy, accuracy_metric, interval_of_mean, metric
from synesthete.evaluation.metrics.set_comparison import HELD_OUT, MADE
from synesthete.evaluation.reporting.media import encode_png, encode_wav
from synesthete.evaluation.reporting.report import Card, Gallery, Medium, Section, Table
from synesthete.evaluation.runner import Evaluator
from synesthete.evaluation.samples import Generated, drawn, encode_signals, shuffled
from synesthete.evaluation.steps import Finding, speed
from synesthete.tasks.music_compose import measures
from synesthete.tasks.music_compose.sampling import choose_instrument, compose
from synesthete.tasks.task import SECTIONS
from synesthete.types import InputError, ScoreSketch

if TYPE_CHECKING:
    from PIL import Image

    from synesthete.data.scores.corpus import ScoreSamples

SHUFFLED, NOISE, RANDOM = "notes in another order", "random notes", "random chords of the key"
BATCH_SIZE = 16
NUM_HEARD = 4  # of each kind
HEARD_RATE = 16_000
MOST_MELODIES = 50


class ComposeEvaluator(Evaluator):
    """A model of scores; pieces are windows of its own length, (n, V, 2, T) uint8.

    Chance is random notes in the rhythm of real pieces. Shuffled is the notes of real pieces in another order, voice by
    voice. The ceiling is held-out pieces.
    """

    question, verb = "Does it compose?", "composes in"
    what, made_one = "pieces", "piece"
    batch_size = BATCH_SIZE

    @property
    def test(self) -> ScoreSamples:
        """The held-out windows, as they are."""
        return replace(self.prepared.test, augmentation=None)

    def thumbnails(self, samples: Any) -> Sequence[Image.Image]:
        """Rolls."""
        return self.pipeline.codec.pictures(encode_signals(self.pipeline.codec, samples), scale=2)

    @cached_property
    def generated(self) -> Generated:
        """Told what held-out windows are: key, whether the piece begins and ends there."""
        places = samples.draw_with_replacement(len(self.test), self.num, self.seed, "asked for")
        labels = self.test.labels[places]
        num_voices, _, num_columns = self.pipeline.codec.shape
        hints = {"begins": self.test.begins[places], "ends": self.test.ends[places]}
        voices = torch.zeros(self.num, num_voices, 2, num_columns, dtype=torch.uint8)
        held = torch.zeros(self.num, num_voices, num_columns, dtype=torch.bool)
        raw = ScoreSketch(tonic=labels % 12, mode=labels // 12, voices=voices, held=held, **hints)
        how: dict[str, Any] = {"seed": self.seed, "batch_size": BATCH_SIZE, "warmed": set(), "labels": labels}
        return samples.generate_timed(self.pipeline, raw, progress=partial(self.progress, "sampling"), **how)

    @cached_property
    def held_out(self) -> ScoreSamples:
        """As many held-out windows, or all there are."""
        if not len(self.test):
            raise InputError("no held-out pieces to compare with; give the data more scores")
        return self.test.take(drawn(len(self.test), self.num, self.seed, "held out"))

    @cached_property
    def melodies(self) -> ScoreSamples:
        """Held-out windows whose highest voice is given to be harmonised, of as many pieces as there are."""
        order = drawn(len(self.test), len(self.test), self.seed, "melodies")
        first_of: dict[int, int] = {}
        for place in order.tolist():
            first_of.setdefault(int(self.test.pieces[place]), place)
        once = list(first_of.values())
        rest = [place for place in order.tolist() if place not in {*once}]
        return self.test.take(torch.tensor([*once, *rest][: min(self.num, MOST_MELODIES)]))

    @cached_property
    def harmonised(self) -> Tensor:
        """Each melody with voices that the model made, (n, V, 2, T)."""
        given, made = self.melodies, []
        known = torch.zeros(given.grids.shape[1], given.grids.shape[-1], dtype=torch.bool)
        known[0] = True
        for places in torch.arange(len(given)).split(BATCH_SIZE):
            generators = [seeding.generator(self.seed, "harmonise", int(place)) for place in places]
            made.append(compose(self.pipeline, given.grids[places], known, given.labels[places], generators))
            self.progress("harmonising", int(places[-1]) + 1, len(given))
        return torch.cat(made)

    def findings(self) -> Iterator[Finding]:
        """As music, by key, by chords, as copies, in time."""
        yield Finding(sections=[self.heard()])
        yield self.as_music()
        yield self.by_key()
        yield self.by_chords()
        yield self.as_copies()
        yield speed(self)
        yield Finding(sections=[Section("How to read the figures", SECTIONS["compose.reading"])])

    def as_music(self) -> Finding:
        """The FIGURES of what was made beside those of held-out pieces, of the same in another order, and of noise."""
        rng = np.random.default_rng(seeding.derive(self.seed, "references"))
        real = self.held_out.grids
        sets: dict[str, Iterable[Tensor]] = {
            MADE: self.generated.signal,
            HELD_OUT: real,
            SHUFFLED: [measures.shuffle_notes(grid, rng) for grid in real],
            NOISE: [measures.random_notes(grid, rng) for grid in real],
        }
        found = {name: [measures.measure_piece(grid) for grid in grids] for name, grids in sets.items()}
        means = {
            name: {k: float(np.mean([one[k] for one in each])) for k in measures.FIGURES}
            for name, each in found.items()
        }
        metrics = []
        for key, what in measures.FIGURES.items():
            spread = interval_of_mean(torch.tensor([one[key] for one in found[MADE]]))
            against = means[NOISE][key], means[SHUFFLED][key], means[HELD_OUT][key]
            metrics.append(metric(key, means[MADE][key], spread, *against, what=what, num=len(found[MADE])))
        rows = [(what, *(means[name][key] for name in sets)) for key, what in measures.FIGURES.items()]
        table = Table(("mean of", *sets), rows, f"{len(found[MADE])} made, {len(real)} held out")
        return Finding(metrics, [Section("As music", items=[table])], {"figures": means})

    def by_key(self) -> Finding:
        """How often pieces sound in the key that was asked for."""
        asked, real = self.generated.labels, self.held_out
        heard = torch.tensor([measures.sounding_key(grid) for grid in self.generated.signal])
        ceiling = accuracy(real.labels, torch.tensor([measures.sounding_key(grid) for grid in real.grids]))
        other = asked[shuffled(len(asked), self.seed)] if len(asked) > 1 else None
        found = accuracy_metric("key_accuracy", asked, heard, 1 / len(self.class_names), other, ceiling)
        said = (
            f"{found.value:.1%} of {len(asked)} pieces sound in the key that was asked for (held-out: {ceiling:.1%})."
        )
        return Finding([found], sentences=[said])

    def by_chords(self) -> Finding:
        """How often the chords under given melodies are such as the scores trained on have there."""
        train, given = self.prepared.train, self.melodies
        harmony = measures.Harmony.of(train.grids, train.labels, train.pieces)
        keys, rng = given.labels.tolist(), np.random.default_rng(seeding.derive(self.seed, "chords"))
        random = [measures.random_chords(grid, key, rng) for grid, key in zip(given.grids, keys, strict=True)]
        sets: dict[str, Iterable[Tensor]] = {MADE: self.harmonised, HELD_OUT: given.grids, RANDOM: random}
        shares = {name: harmony.share(grids, keys) for name, grids in sets.items()}
        means = {name: float(np.mean(each)) for name, each in shares.items()}
        spread = interval_of_mean(torch.tensor(shares[MADE]))
        found = metric("harmonised", means[MADE], spread, means[RANDOM], None, means[HELD_OUT], num=len(given))
        kept = bool((self.harmonised[:, 0] == given.grids[:, 0]).all())
        said = (
            f"Of {len(given)} melodies harmonised, {means[MADE]:.1%} of the beats have a chord that two or more of the "
            f"scores trained on have under that note (the composer's own: {means[HELD_OUT]:.1%}; random chords of the "
            f"key: {means[RANDOM]:.1%}); {'not a note' if kept else 'a note'} of the melodies is changed."
        )
        return Finding([found], [self.heard_melodies()], {"melodies_kept": kept}, sentences=[said])

    def as_copies(self) -> Finding:
        """How much of a piece the nearest training window has, beside held-out pieces."""
        train = self.prepared.train.grids
        made, places = measures.nearest_shares(self.generated.signal, train)
        real, _ = measures.nearest_shares(self.held_out.grids, train)
        spread = interval_of_mean(torch.tensor(made))
        figures = float(made.mean()), spread, 1.0, None, float(real.mean())
        found = metric("copied_notes", *figures, num=len(made), num_training=len(train))
        worst = int(made.argmax())
        said = (
            f"The nearest window trained on, in any key, has {made.mean():.1%} of a piece's notes on average and "
            f"{made.max():.1%} at most (held-out pieces: {real.mean():.1%} and {real.max():.1%})."
        )
        pair = [(f"made, {worst}", self.generated.signal[worst]), ("nearest trained on", train[int(places[worst])])]
        cards = [self.card(name, grid) for name, grid in pair]
        section = Section("The piece that is most like one that was learned from", said, [Gallery(cards, columns=2)])
        data = {"largest_copied_notes": float(made.max()), "largest_copied_notes_held_out": float(real.max())}
        return Finding([found], [section], data, sentences=[said])

    def heard(self) -> Section:
        """The first that were made, and held-out ones."""
        made, real = self.generated, self.held_out
        cards = [
            self.card(f"{name} {i}, {self.class_names[int(labels[i])]}", grids[i], int(labels[i]))
            for name, grids, labels in (("made", made.signal, made.labels), ("held out", real.grids, real.labels))
            for i in range(min(NUM_HEARD, len(grids)))
        ]
        return Section("To hear", _HEARD, [Gallery(cards, columns=2)])

    def heard_melodies(self) -> Section:
        """Melodies with voices that were made, and as they were composed."""
        sides = {"harmonised": self.harmonised, "as it was composed": self.melodies.grids}
        num = min(NUM_HEARD // 2, len(self.melodies))
        cards = [self.card(f"melody {i}, {name}", grids[i]) for i in range(num) for name, grids in sides.items()]
        return Section("Melodies harmonised", _HARMONISED, [Gallery(cards, columns=2)])

    def card(self, title: str, grid: Tensor, key: int | None = None) -> Card:
        """A piece (V, 2, T) to see and to hear, on an organ."""
        told = None if key is None else (key % 12, MODES[key // 12])
        score = to_score(grid, told, TEMPO)
        [picture] = self.thumbnails(grid[None])
        name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
        media = [Medium(name, encode_png(picture))]
        if score.notes:
            sound = torch.from_numpy(render(score, *choose_instrument(None, None), HEARD_RATE))
            media.append(Medium(name, encode_wav(sound, HEARD_RATE), kind="wav"))
        return Card(title, media)

    def facts(self) -> dict[str, Any]:
        """What was measured, and on what."""
        num = len(self.held_out.pieces.unique())
        return {
            "pieces": f"{self.num} made, seed {self.seed}; {len(self.held_out)} held-out windows of {num} pieces",
            "melodies": f"{len(self.melodies)} of {len(self.melodies.pieces.unique())} held-out pieces",
            "scores trained on": f"{len(self.prepared.train.pieces.unique())}",
        }


_HEARD = "The first that were made, not the best ones, then held-out ones, on an organ of a few partials."
_HARMONISED = "The highest voice was given; the others were made, and beside them stands what was composed."
