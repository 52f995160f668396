"""Voices that are asked for: a model that speaks as told is at the ceiling, one that does not listen at chance."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from speakers import NUM_SAMPLES, WORDS, make_speaker, pictures_of

from synesthete.conditioning.voices import VoicedPicture
from synesthete.data.audio import to_int16
from synesthete.data.speech.corpus import build_speech_corpus, load_clips
from synesthete.data.speech.engines import Voice
from synesthete.evaluation.classifiers.speech import VoiceClassifier
from synesthete.pipeline import Output, Pipeline
from synesthete.tasks.image_to_speech.evaluation import SpeechData, SpeechEvaluator
from synesthete.tasks.image_to_speech.voices import asked_findings, correlation, durations

NAMES = ("en-us-aunty", "en-gb-m3", "en-gb-scotland-mike2")
NUM = 48


class Obliging(Pipeline):
    """Says a real clip: of the voice that is asked for, as near in pitch as there is one, or any at all."""

    def answer_with(self, clips, listens: bool) -> Obliging:
        self.clips, self.listens = clips, listens
        return self

    def __call__(self, raw, *, generators=None, **sampling):
        chosen = []
        asked = raw.voice.argmax(dim=1) if raw.voice.is_floating_point() else raw.voice
        for voice, pitch, generator in zip(asked.tolist(), raw.pitch.tolist(), generators, strict=True):
            own = [i for i, name in enumerate(self.clips.speakers) if name == NAMES[voice]]
            near = min(own, key=lambda i: abs(self.clips.pitches[i].item() - pitch))
            chosen.append(near if self.listens else int(torch.randint(len(self.clips), (), generator=generator)))
        x_0 = self.codec.encode(self.clips.waveforms[chosen].float() / 32768)
        return Output(self.codec.decode(x_0, generators), x_0)


class Knowing:
    """In place of an encoder of speakers: it knows these clips by heart."""

    config = SimpleNamespace(voices=NAMES)

    def __init__(self, clips):
        self.known = {
            clip.numpy().tobytes(): NAMES.index(name)
            for clip, name in zip(clips.waveforms, clips.speakers, strict=True)
        }

    def vectors_of(self, waveforms):
        told = [self.known[to_int16(waveform).numpy().tobytes()] for waveform in waveforms]
        return torch.eye(len(NAMES))[told]

    def weigh(self, vectors):
        return vectors


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, cache):
    """Four words by three voices, twelve times each."""
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    folder, words = tmp_path_factory.mktemp("spoken"), {word: word for word in WORDS}
    voices = {"train": tuple(map(Voice, ("en-us+aunty", "en-gb+m3", "en-gb-scotland+mike2")))}
    build_speech_corpus(words, folder, seconds=NUM_SAMPLES / 24_000, takes=12, voices=voices, num_workers=1)
    return load_clips(folder, "train")


@pytest.fixture(scope="module")
def find(spoken, real, classifier_clips, trained):
    """`find(listens)`: what is found of such a model."""

    def call(listens):
        plain, labels = make_speaker(real, looks=True), torch.arange(NUM) % 4
        voiced = VoicedPicture(plain.conditioner, voices=NAMES, pitches=(30, 70), rates=(120, 190), width=16)
        pipeline = Obliging(plain.codec, voiced, plain.denoiser, plain.scheduler, **plain.config)
        data = SpeechData(pictures_of(labels), labels, real, classifier_clips, spoken=spoken)
        how = {"num": NUM, "guidance": (), "classifier": trained, "listener": "none"}
        how |= {"speakers": Knowing(spoken)} if listens else {}
        [found] = asked_findings(SpeechEvaluator(pipeline.answer_with(spoken, listens), data, **how))
        return {metric.key: metric for metric in found.metrics}, found

    with pytest.MonkeyPatch.context() as patch:
        few = dataclasses.replace(VoiceClassifier.training_settings, fewest_steps=60, most_steps=60)
        patch.setattr(VoiceClassifier, "training_settings", few)
        yield call


def test_a_model_that_speaks_as_it_is_told_is_at_the_ceiling(find):
    metrics, found = find(listens=True)
    voice, pitch = metrics["voice_accuracy"], metrics["asked_against_made_pitch"]
    assert voice.chance == pytest.approx(1 / 3) and voice.shuffled < 0.6
    assert voice.ceiling > 0.8 and abs(voice.value - voice.ceiling) < 0.2
    assert pitch.value > 0.7 and pitch.ceiling > 0.7
    assert pitch.interval[0] < pitch.value < pitch.interval[1]
    assert metrics["asked_against_made_rate"].ceiling > 0.5 > abs(metrics["asked_against_made_rate"].value)
    assert set(found.data["named_as_asked"]) == set(NAMES)
    given = metrics["clip_voice_accuracy"]
    assert (given.chance, given.ceiling) == (voice.chance, voice.ceiling)
    assert abs(given.value - given.ceiling) < 0.2 and given.shuffled < 0.7


def test_a_model_that_does_not_listen_is_at_chance(find):
    metrics, _ = find(listens=False)
    assert metrics["voice_accuracy"].interval[0] < 1 / 3 < metrics["voice_accuracy"].interval[1]
    for key in ("asked_against_made_pitch", "asked_against_made_rate"):
        assert metrics[key].interval[0] < 0 < metrics[key].interval[1]


def test_a_correlation_is_around_the_means_of_groups_and_leaves_out_what_is_unknown():
    groups = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    made = torch.tensor([1.0, 2.0, 3.0, 30.0, 20.0, 10.0, torch.nan])
    assert correlation(torch.tensor([1.0, 2, 3, 3, 2, 1, 9]), made, groups) == pytest.approx(1.0, abs=0.3)
    assert correlation(torch.tensor([3.0, 2, 1, 1, 2, 3, 9]), made, groups) == pytest.approx(-1.0, abs=0.3)
    assert correlation(torch.full((7,), torch.nan), made, groups) != correlation(made, made, groups)
    assert correlation(made, made, groups) == pytest.approx(1.0)


def test_a_sound_lasts_from_its_first_to_its_last_loud_sample():
    sound = torch.zeros(2, 100)
    sound[0, 20:70], sound[0, 90] = 0.5, 0.01
    assert durations(sound).tolist() == [50.0, 1.0]
