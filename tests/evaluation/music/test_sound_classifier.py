"""The classifier of sound: it tells timbres of recordings it never heard, and is saved with a model."""

from __future__ import annotations

import math

import pytest
import torch
from players import RATE, low_passed, music_samples, prepared_music

from synesthete.evaluation.audio_features.spectra import FLOOR_DB, log_mel
from synesthete.evaluation.classifiers import classifier as classifier_module
from synesthete.evaluation.classifiers.classifier import load_classifier, save_classifier, train_classifier
from synesthete.evaluation.classifiers.sound import (
    SoundClassifier,
    load_or_train_sound_classifier,
)
from synesthete.evaluation.features import ClassifierFeatures
from synesthete.evaluation.metrics.distribution import frechet
from synesthete.evaluation.metrics.metric import accuracy
from synesthete.recipes import RECIPES
from synesthete.tasks import find_task
from synesthete.tasks.music.references import noise_like
from synesthete.types import InputError

STEPS = 60


@pytest.fixture(scope="module")
def data(cache):
    return prepared_music(10)


@pytest.fixture(scope="module")
def trained(data):
    return load_or_train_sound_classifier(data.classifier, data.test, data.class_names, RATE, num_steps=STEPS)


def test_it_tells_timbres_of_recordings_that_it_never_heard(data, trained):
    assert trained.accuracy > 0.9
    assert trained.num_test == len(data.test)
    answers = trained.classifier.classify(data.test.waveforms)
    assert accuracy(data.test.labels, answers) == trained.accuracy
    wrong = data.test.labels[torch.randperm(len(answers), generator=torch.Generator().manual_seed(0))]
    assert accuracy(wrong, answers) < 0.5


def test_it_cannot_learn_labels_that_say_nothing(data, trained):
    labels = data.classifier.labels[torch.randperm(len(data.classifier), generator=torch.Generator().manual_seed(0))]
    blind = train_classifier(
        lambda: SoundClassifier(data.class_names, RATE), data.classifier.waveforms, labels, num_steps=STEPS
    )
    assert accuracy(data.test.labels, blind.classify(data.test.waveforms)) < 0.6 < trained.accuracy


def test_a_batch_is_its_singles_and_int16_is_float(data, trained):
    some = data.test.waveforms[:5]
    together = trained.classifier.features(some)
    alone = torch.cat([trained.classifier.features(some[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained.classifier.features(some.float() / 32768), together)
    assert trained.classifier.probabilities(some).sum(dim=1).tolist() == pytest.approx([1] * 5)


def test_features_are_of_unit_scale_over_what_it_learned_from(data, trained):
    features = trained.classifier.features(data.classifier.waveforms)
    assert features.mean(dim=0).abs().max() < 0.05
    assert 0.5 < features.square().mean() < 1.2


def test_the_distance_rises_with_what_is_wrong(data, trained):
    real, others = data.test.waveforms, data.train.waveforms
    features = ClassifierFeatures(trained.classifier)
    near, dull, noise, same = (
        frechet(features(real), features(made))
        for made in (others, low_passed(others, 1000), noise_like(others, 0), real)
    )
    assert same < 1e-6 < near < min(dull, noise)


def test_it_is_found_again_in_the_cache(data, trained, monkeypatch):
    monkeypatch.setattr(classifier_module, "train_classifier", None)
    again = load_or_train_sound_classifier(data.classifier, data.test, data.class_names, RATE, num_steps=STEPS)
    assert (again.accuracy, again.seconds) == (trained.accuracy, trained.seconds)
    assert torch.equal(
        again.classifier.features(data.test.waveforms[:3]), trained.classifier.features(data.test.waveforms[:3])
    )
    with pytest.raises(TypeError):
        load_or_train_sound_classifier(data.classifier, data.test, data.class_names, RATE, num_steps=STEPS + 1)


def test_without_classes_it_learns_recordings(tmp_path):
    data = prepared_music(2, timbres=("organ", "drum"), classes=False)
    found = load_or_train_sound_classifier(data.classifier, data.test, (), RATE, num_steps=20)
    assert found.classifier.config.targets == "recordings"
    assert tuple(found.classifier.config.class_names) == data.classifier.recording_names
    assert math.isnan(found.accuracy)
    assert found.num_test == 0
    again = load_or_train_sound_classifier(data.classifier, data.test, (), RATE, num_steps=20)
    assert math.isnan(again.accuracy)
    kept = save_classifier(found, tmp_path, data.test.waveforms, data.test.labels)
    read = load_classifier(tmp_path, SoundClassifier)
    assert not kept.classifier.knows_classes
    assert not read.classifier.knows_classes
    assert math.isnan(read.accuracy)


def test_one_class_or_recording_is_too_few():
    alone = music_samples([0], ("organ",))
    with pytest.raises(InputError, match="fewer than 2 classes or recordings"):
        load_or_train_sound_classifier(alone, alone, (), RATE)
    with pytest.raises(InputError, match="fewer than 2 classes or recordings"):
        load_or_train_sound_classifier(alone, alone, ("organ", "drum"), RATE)


def test_views_differ_in_level_and_moment_and_silence_stays():
    generator = torch.Generator().manual_seed(0)
    sound = torch.zeros(6, RATE)
    sound[:, 2000:4000] = 0.3 * torch.randn(2000, generator=generator)
    levels = log_mel(sound, RATE)
    views = SoundClassifier(sample_rate=RATE).augmented(levels, generator)
    assert views.shape == levels.shape
    assert ((views == FLOOR_DB).sum(dim=(1, 2)) >= (levels == FLOOR_DB).sum(dim=(1, 2))).all()
    loudest = views.amax(dim=(1, 2))
    assert len(loudest.unique()) == 6
    assert (loudest - levels.amax(dim=(1, 2))).abs().max() <= 6.001
    assert len({int(view.amax(dim=0).argmax()) for view in views}) > 1


def test_it_is_saved_with_the_model_and_read_back(data, trained, tmp_path):
    assert load_classifier(tmp_path, SoundClassifier) is None
    kept = save_classifier(trained, tmp_path, data.test.waveforms, data.test.labels)
    read = load_classifier(tmp_path, SoundClassifier)
    assert read.classifier.knows_classes
    assert (read.accuracy, read.num_test) == (kept.accuracy, len(data.test))
    assert read.accuracy == pytest.approx(trained.accuracy, abs=0.05)
    assert torch.equal(read.classifier.classify(data.test.waveforms), kept.classifier.classify(data.test.waveforms))
    metric = read.metric(data.test.waveforms, data.test.labels, "held-out pieces")
    assert (metric.value, metric.chance) == (kept.accuracy, 0.25)
    data.classifier, kept_aside = None, data.classifier
    with pytest.raises(InputError, match=r"--set data\.classifier_share"):
        find_task("music").train_classifier(RECIPES["music-notes-debug"](), data, tmp_path / "without")
    data.classifier = kept_aside
