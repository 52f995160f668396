"""Stand-ins with which scores can be told in advance."""

from __future__ import annotations

import time
from types import SimpleNamespace

import torch

from synesthete.evaluation.search.scoring import ScoringBasis


def basis_of(prepared, features, classifier=None):
    """The held-out pictures of prepared data, classified by their mean colour."""
    test, classifier = prepared.test, classifier or NearestMean(prepared.train)
    return ScoringBasis(test.pictures, test.labels, prepared.class_names, classifier, features)


class Means:
    """The mean of each channel, which tells the swatches' colours apart; counts the pictures it was shown."""

    name = "means"

    def __init__(self, seconds=0.0):
        self.seconds, self.num_seen = seconds, 0

    def __call__(self, pictures):
        time.sleep(self.seconds)
        self.num_seen += len(pictures)
        return mean_colour(pictures)


class NearestMean(torch.nn.Module):
    """Evaluates a picture by the training pictures whose mean colour is nearest, which is right for swatches."""

    def __init__(self, samples):
        super().__init__()
        colours = [mean_colour(samples.pictures[samples.labels == label]).mean(dim=0) for label in range(3)]
        self.register_buffer("colours", torch.stack(colours))

    def classify(self, pictures):
        return torch.cdist(mean_colour(pictures), self.colours).argmin(dim=1)


def mean_colour(pictures):
    return pictures.float().mean(dim=(2, 3)) / 16


class Copier:
    """A model that returns held-out pictures of the labels; `wrong` asks for those of the next class."""

    def __init__(self, samples, wrong=False):
        self.samples, self.wrong = samples, wrong
        self.is_conditional, self.device, self.calls = True, torch.device("cpu"), []

    def __call__(self, raw, *, generators, **settings):
        self.calls.append(settings)
        places = {label: (self.samples.labels == label).nonzero().flatten().tolist() for label in range(3)}
        labels = [(int(label) + self.wrong) % 3 for label in raw]
        chosen = [places[label][i % len(places[label])] for i, label in enumerate(labels)]
        return SimpleNamespace(signal=self.samples.pictures[torch.tensor(chosen)])

    def trajectory(self, raw):
        yield raw
