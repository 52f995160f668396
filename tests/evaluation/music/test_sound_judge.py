"""A judge of sound: it tells timbres of recordings it never heard, and is kept with a model."""

from __future__ import annotations

import math

import pytest
import torch
from players import RATE, low_passed, music_samples, prepared_music

from synesthete.evaluation.audio_features.spectra import FLOOR_DB, log_mel
from synesthete.evaluation.metrics.classification import accuracy
from synesthete.evaluation.music import judge as sound_judge
from synesthete.evaluation.music.features import frechet_of
from synesthete.evaluation.music.judge import load_or_train_sound_judge, train_sound_judge, varied
from synesthete.evaluation.music.kept_judge import keep_sound_judge, read_sound_judge
from synesthete.evaluation.music.real_sounds import noise_like
from synesthete.evaluation.pictures.kept_judge import read_picture_judge
from synesthete.types import InputError

STEPS = 60


@pytest.fixture(scope="module")
def data(cache):
    return prepared_music(10)


@pytest.fixture(scope="module")
def trained(data):
    return load_or_train_sound_judge(data.judge, data.test, data.class_names, RATE, num_steps=STEPS)


def test_it_tells_timbres_of_recordings_that_it_never_heard(data, trained):
    assert trained.accuracy > 0.9
    assert trained.num_test == len(data.test)
    answers = trained.judge.judge(data.test.waveforms)
    assert accuracy(data.test.labels, answers) == trained.accuracy
    wrong = data.test.labels[torch.randperm(len(answers), generator=torch.Generator().manual_seed(0))]
    assert accuracy(wrong, answers) < 0.5


def test_it_cannot_learn_labels_that_say_nothing(data, trained):
    labels = data.judge.labels[torch.randperm(len(data.judge), generator=torch.Generator().manual_seed(0))]
    blind = train_sound_judge(data.judge.waveforms, labels, data.class_names, RATE, num_steps=STEPS)
    assert accuracy(data.test.labels, blind.judge(data.test.waveforms)) < 0.6 < trained.accuracy


def test_a_batch_is_its_singles_and_int16_is_float(data, trained):
    some = data.test.waveforms[:5]
    together = trained.judge.features(some)
    alone = torch.cat([trained.judge.features(some[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(trained.judge.features(some.float() / 32768), together)
    assert trained.judge.shares(some).sum(dim=1).tolist() == pytest.approx([1] * 5)


def test_features_are_of_unit_scale_over_what_it_learned_from(data, trained):
    features = trained.judge.features(data.judge.waveforms)
    assert features.mean(dim=0).abs().max() < 0.05
    assert 0.5 < features.square().mean() < 1.2


def test_the_distance_rises_with_what_is_wrong(data, trained):
    real, others = data.test.waveforms, data.train.waveforms
    near = frechet_of(real, others, trained.judge)
    dull = frechet_of(real, low_passed(others, 1000), trained.judge)
    noise = frechet_of(real, noise_like(others, 0), trained.judge)
    assert frechet_of(real, real, trained.judge) < 1e-6 < near < min(dull, noise)


def test_it_is_found_again_in_the_cache(data, trained, monkeypatch):
    monkeypatch.setattr(sound_judge, "train_sound_judge", None)
    again = load_or_train_sound_judge(data.judge, data.test, data.class_names, RATE, num_steps=STEPS)
    assert (again.accuracy, again.seconds) == (trained.accuracy, trained.seconds)
    assert torch.equal(again.judge.features(data.test.waveforms[:3]), trained.judge.features(data.test.waveforms[:3]))
    with pytest.raises(TypeError):
        load_or_train_sound_judge(data.judge, data.test, data.class_names, RATE, num_steps=STEPS + 1)


def test_without_classes_it_learns_recordings(tmp_path):
    data = prepared_music(2, timbres=("organ", "drum"), classes=False)
    found = load_or_train_sound_judge(data.judge, data.test, (), RATE, num_steps=20)
    assert found.judge.config.hears == "recordings"
    assert tuple(found.judge.config.class_names) == data.judge.recording_names
    assert math.isnan(found.accuracy)
    assert found.num_test == 0
    again = load_or_train_sound_judge(data.judge, data.test, (), RATE, num_steps=20)
    assert math.isnan(again.accuracy)
    kept = keep_sound_judge(data, tmp_path, RATE, num_steps=20)
    read = read_sound_judge(tmp_path)
    assert not kept.knows_classes
    assert not read.knows_classes
    assert math.isnan(read.accuracy)


def test_one_class_or_recording_is_too_few():
    alone = music_samples([0], ("organ",))
    with pytest.raises(InputError, match="fewer than 2 classes or recordings"):
        load_or_train_sound_judge(alone, alone, (), RATE)
    with pytest.raises(InputError, match="fewer than 2 classes or recordings"):
        load_or_train_sound_judge(alone, alone, ("organ", "drum"), RATE)


def test_views_differ_in_level_and_moment_and_silence_stays():
    generator = torch.Generator().manual_seed(0)
    sound = torch.zeros(6, RATE)
    sound[:, 2000:4000] = 0.3 * torch.randn(2000, generator=generator)
    levels = log_mel(sound, RATE)
    views = varied(levels, generator)
    assert views.shape == levels.shape
    assert ((views == FLOOR_DB).sum(dim=(1, 2)) >= (levels == FLOOR_DB).sum(dim=(1, 2))).all()
    loudest = views.amax(dim=(1, 2))
    assert len(loudest.unique()) == 6
    assert (loudest - levels.amax(dim=(1, 2))).abs().max() <= 6.001
    assert len({int(view.amax(dim=0).argmax()) for view in views}) > 1


def test_it_is_kept_with_the_model_and_read_back(data, trained, tmp_path):
    assert read_sound_judge(tmp_path) is None
    kept = keep_sound_judge(data, tmp_path, RATE, num_steps=STEPS)
    read = read_sound_judge(tmp_path)
    assert read.knows_classes
    assert (read.accuracy, read.num_test) == (kept.accuracy, len(data.test))
    assert read.accuracy == pytest.approx(trained.accuracy, abs=0.05)
    assert torch.equal(read.judge.judge(data.test.waveforms), kept.judge.judge(data.test.waveforms))
    metric = read.metric(data.test.waveforms, data.test.labels)
    assert (metric.value, metric.chance) == (kept.accuracy, 0.25)
    with pytest.raises(InputError, match="a SoundJudge, and the model makes pictures"):
        read_picture_judge(tmp_path)
    (tmp_path / "judge" / "judge.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        read_sound_judge(tmp_path)
    data.judge, kept_aside = None, data.judge
    with pytest.raises(InputError, match="no recordings for a judge"):
        keep_sound_judge(data, tmp_path, RATE)
    data.judge = kept_aside
