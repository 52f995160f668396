"""The classifier of speech: right on voices it never heard, at chance where there was nothing to learn, saved whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from speakers import NUM_STEPS

from synesthete.codecs.mel import MelCodec
from synesthete.evaluation.classifiers.classifier import FOLDER, load_classifier, save_classifier, train_classifier
from synesthete.evaluation.classifiers.speech import (
    Prediction,
    SpeechClassifier,
    load_or_train_speech_classifier,
    log_mel_of,
    log_mels,
    recognise,
)
from synesthete.types import AudioSpec, InputError


@pytest.fixture(scope="module")
def saved(real, trained, tmp_path_factory):
    """In a model's folder, from the classifier that the session trained already."""
    words = {"seven": ("seven", "the number seven")}
    named = replace(trained, words=tuple(words.get(name, (name,)) for name in real.class_names))
    model = tmp_path_factory.mktemp("model")
    return model, save_classifier(named, model, real.waveforms, real.labels)


def test_it_understands_voices_it_never_heard(trained, real):
    assert trained.accuracy > 0.9
    assert (trained.num_test, trained.num_voices) == (len(real), 6)


def test_shuffled_labels_teach_nothing(classifier_clips, real):
    """The same clips, steps and test with labels at random: chance is 0.25 of 4 words."""
    labels = classifier_clips.labels[torch.randperm(len(classifier_clips), generator=torch.Generator().manual_seed(1))]
    found = train_classifier(
        lambda: SpeechClassifier(classifier_clips.class_names), classifier_clips.waveforms, labels, num_steps=25
    )
    assert (found.classify(log_mels(real.waveforms, AudioSpec())) == real.labels).float().mean() < 0.5


def test_it_does_not_depend_on_the_generators_statistics(trained, real):
    """x_0 of two codecs with other statistics and floors is classified alike."""
    clips = real.waveforms[:24].float() / 32768
    answers = []
    for mean, scale in ((-8.0, 4.0), (0.5, 11.0)):
        codec = MelCodec(num_samples=clips.shape[-1])
        codec.mean.fill_(mean)
        codec.scale.fill_(scale)
        answers.append(trained.classifier.classify(log_mel_of(codec, codec.encode(clips))))
    assert torch.equal(*answers)


def test_what_nobody_hears_does_not_matter(trained, real):
    log_mel = log_mels(real.waveforms[:24], AudioSpec())
    assert torch.equal(trained.classifier.classify(log_mel), trained.classifier.classify(log_mel.clamp(min=-5.5)))


def test_a_batch_equals_its_singles(trained, real):
    log_mel = log_mels(real.waveforms[:5], AudioSpec())
    for ask in (trained.classifier.probabilities, trained.classifier.features):
        singles = torch.cat([ask(part) for part in log_mel.split(1)])
        torch.testing.assert_close(ask(log_mel), singles, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_mels(real.waveforms[:5].float() / 32768, AudioSpec()), log_mel)


def test_it_is_trained_once(trained, classifier_clips, real, monkeypatch):
    monkeypatch.setattr(
        "synesthete.evaluation.classifiers.classifier.train_classifier", lambda *_, **__: pytest.fail("trained again")
    )
    again = load_or_train_speech_classifier(classifier_clips, real, num_steps=NUM_STEPS)
    assert (again.accuracy, again.seconds) == (trained.accuracy, trained.seconds)
    log_mel = log_mels(real.waveforms[:24], AudioSpec())
    assert torch.equal(again.classifier.probabilities(log_mel), trained.classifier.probabilities(log_mel))


def test_a_voice_in_both_splits_and_too_few_clips_are_errors(real, classifier_clips):
    with pytest.raises(InputError, match="in the classifier's split and in the test split"):
        load_or_train_speech_classifier(real, real)
    few = replace(classifier_clips, waveforms=classifier_clips.waveforms[:1], labels=classifier_clips.labels[:1])
    with pytest.raises(InputError, match="1 samples"):
        load_or_train_speech_classifier(few, real)


def test_beside_a_model_it_is_small_as_good_and_read_back(saved, trained, real):
    model, kept = saved
    assert sum(path.stat().st_size for path in (model / FOLDER).iterdir()) < 600_000
    assert kept.accuracy == pytest.approx(trained.accuracy, abs=0.02)
    again = load_classifier(model, SpeechClassifier)
    assert (again.num_test, again.num_voices, again.words) == (len(real), 6, kept.words)
    sounds = real.waveforms[:].float() / 32768
    predictions = recognise(again, sounds)
    assert predictions == recognise(kept, sounds)
    right = [found.says == real.class_names[label] for found, label in zip(predictions, real.labels, strict=True)]
    assert sum(right) / len(right) == pytest.approx(again.accuracy, abs=1e-6)
    assert all(0.25 <= found.confidence <= 1 and found.next_confidence <= found.confidence for found in predictions)
    confident = [found.confidence for found, good in zip(predictions, right, strict=True) if good]
    assert sum(confident) / len(confident) > 0.8
    metric = again.metric(real.waveforms, real.labels, "real clips")
    assert (metric.value, metric.chance) == (pytest.approx(again.accuracy), 0.25)
    assert metric.interval[0] <= metric.value <= metric.interval[1]


def test_a_class_of_one_phrase_is_called_by_it(saved, real):
    _, kept = saved
    words = dict(zip(real.class_names, kept.words, strict=True))
    assert words["four"] == ("four",)
    assert words["seven"] == ("seven", "the number seven")
    renamed = replace(kept, words=(("fourfold",), *kept.words[1:]))
    four = real.waveforms[real.labels == real.class_names.index("four")]
    assert "fourfold" in {found.says for found in recognise(renamed, four)}
    seven = real.waveforms[real.labels == real.class_names.index("seven")]
    assert "seven" in {found.says for found in recognise(kept, seven)}
    assert len(recognise(kept, torch.zeros(2, 16_383))) == 2  # silence is no fault


def test_a_prediction_is_one_line():
    assert str(Prediction("airplane", 0.971, "bird", 0.02)) == "says 'airplane' (classifier 0.97; next 'bird' 0.02)"
    assert str(Prediction("airplane", 1.0)) == "says 'airplane' (classifier 1.00)"
