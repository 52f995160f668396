"""Picture to speech to picture: all comes back where both are perfect, nothing where one does not look or listen."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hearers import COLOURS, RATE, make_hearer, prepared_sounds, sounds, swatches
from PIL import Image

from synesthete.evaluation.classifiers.image import load_or_train_image_classifier
from synesthete.pipeline import Output
from synesthete.tasks import cycle
from synesthete.tasks.cycle import evaluate_cycle, go_round, hearable, shared_classes
from synesthete.types import InputError

pytestmark = pytest.mark.usefixtures("undrawn")


class Speaker:
    """Says the tone of a picture's class, which it sees by a classifier, or of any class."""

    def __init__(self, classifier, looks: bool = True, class_names=COLOURS) -> None:
        self.classifier, self.looks, self.class_names = classifier, looks, list(class_names)
        self.codec = SimpleNamespace(spec=SimpleNamespace(sample_rate=RATE))
        self.conditioner = SimpleNamespace(reads="image")
        self.config = SimpleNamespace(card={"recipe": "speaker"})

    def preprocess(self, pictures):
        assert all(isinstance(picture, Image.Image) for picture in pictures)
        return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])

    def __call__(self, raw, *, generators=None, **_):
        shown = self.classifier.classify(raw)
        if not self.looks:
            shown = torch.tensor([int(torch.randint(len(COLOURS), (), generator=g)) for g in generators])
        waves, _ = sounds(1)
        signal = waves[shown].float() / 32768
        return Output(signal, signal)


@pytest.fixture(scope="module")
def data(cache):
    return prepared_sounds()


@pytest.fixture(scope="module")
def classifier(data):
    return load_or_train_image_classifier(data.classifier, data.test, data.class_names, num_steps=60).classifier


@pytest.fixture(scope="module")
def painter():
    return make_hearer("sound", *swatches("more", 24))


def test_all_comes_back_where_both_are_perfect(data, classifier, painter):
    found = go_round(Speaker(classifier), painter, data, classifier, num=40)
    for metric in found.metrics[:2]:
        assert metric.value > 0.9
        assert metric.ceiling > 0.9
        assert metric.chance == 0.25
        assert metric.shuffled < 0.5
    assert found.confusion().diag().sum() == round(found.metrics[0].value * 40)
    assert torch.equal(found.labels.bincount(), torch.full((4,), 10))
    assert not found.notes


def test_what_does_not_look_is_found_by_the_real_recordings(data, classifier, painter):
    """Chance for the whole, and the ceiling as high as ever: the loss is the speech's."""
    found = go_round(Speaker(classifier, looks=False), painter, data, classifier, num=60)
    metric = found.metrics[0]
    assert metric.interval[0] < 0.25 < metric.interval[1]
    assert metric.ceiling > 0.9


def test_what_does_not_listen_has_a_low_ceiling(data, classifier):
    deaf = make_hearer("nothing", *swatches("more", 24))
    metric = go_round(Speaker(classifier), deaf, data, classifier, num=60).metrics[0]
    assert metric.interval[0] < 0.25 < metric.interval[1]
    assert metric.ceiling < 0.5


def test_models_without_common_classes_are_refused_in_one_line(classifier, painter):
    for names in (("cat", "dog"), ("red", "dog")):
        with pytest.raises(InputError, match="give two that share classes") as caught:
            shared_classes(Speaker(classifier, class_names=names), painter)
        assert "\n" not in str(caught.value)
    names, notes = shared_classes(Speaker(classifier, class_names=("red", "blue", "dog")), painter)
    assert names == ["red", "blue"]
    assert "green" in notes[0]
    with pytest.raises(InputError, match="first model speaks no pictures"):
        shared_classes(painter, painter)
    with pytest.raises(InputError, match="second model paints no sounds"):
        shared_classes(Speaker(classifier), Speaker(classifier))


def test_only_shared_classes_go_round(data, classifier, painter):
    found = go_round(Speaker(classifier, class_names=("red", "blue")), painter, data, classifier, num=20)
    assert set(found.labels.tolist()) == {COLOURS.index("red"), COLOURS.index("blue")}
    assert found.metrics[0].chance == 0.5


def test_a_sound_is_resampled_and_its_loudest_stretch_taken():
    time = torch.arange(16_000) / 16_000
    wave = 0.01 * torch.sin(2 * torch.pi * 100 * time)
    wave[8000:12_000] = 0.5 * torch.sin(2 * torch.pi * 440 * time[8000:12_000])
    found = hearable(wave[None], 16_000, 2000, 8000)
    assert found.shape == (1, 2000)
    spectrum = torch.fft.rfft(found[0]).abs()
    assert float(spectrum.argmax()) * 8000 / 2000 == pytest.approx(440, abs=4)
    assert found.square().mean().sqrt() == pytest.approx(0.5 / 2**0.5, rel=0.1)
    padded = hearable(wave[None, :4000], 16_000, 4000, 8000)
    assert padded.shape == (1, 4000)
    assert not padded[0, 2100:].any()


def test_a_classifier_that_is_given_goes_before_one_of_the_data(data, classifier, painter, tmp_path, monkeypatch):
    def trained(*_, **__):
        raise AssertionError("a classifier was trained although there is one")

    monkeypatch.setattr(cycle, "load_or_train_image_classifier", trained)
    found = evaluate_cycle(
        Speaker(classifier), painter, data, tmp_path / "report", models=("a", "b"), num=12, classifier=classifier
    )
    assert found.metrics[0].value > 0.5


def test_the_report_shows_and_plays(data, classifier, painter, tmp_path):
    evaluate_cycle(
        Speaker(classifier), painter, data, tmp_path / "report", models=("a", "b"), num=12, classifier=classifier
    )
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["title"] == "There and back a -> b"
    assert sum(map(sum, values["confusion"])) == 12
    assert (tmp_path / "report" / "report.html").read_text().count("<audio") == len(COLOURS)
    assert (tmp_path / "report" / "pictures" / "cycle.png").is_file()
