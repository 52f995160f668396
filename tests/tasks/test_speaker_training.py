"""The encoder of speakers: it learns who speaks from what is said, and its limits come from unheard speakers."""

from __future__ import annotations

import pytest
import torch

from synesthete.data.audio import as_float
from synesthete.data.speech.corpus import Clips
from synesthete.evaluation.classifiers.speech import split_takes
from synesthete.tasks.image_to_speech import speakers
from synesthete.types import AudioSpec, InputError

SPEC = AudioSpec(8000, 256, 64, 24)
WORDS = ("ah", "ee", "oh", "uh")
HERTZ = {"one": 100, "two": 150, "three": 210, "four": 290}
OTHERS = {"five": 125, "six": 180, "seven": 250}


def clips_of(voices: dict[str, int], takes: int = 4) -> Clips:
    """A buzz of the speaker's pitch and slope; a word is how two resonances move."""
    chance = torch.Generator().manual_seed(0)
    time = torch.arange(4000) / 8000
    waveforms, labels, names = [], [], []
    for name, hertz in voices.items():
        for label in range(len(WORDS)):
            for _ in range(takes):
                pitch = hertz * (1 + 0.02 * torch.randn((), generator=chance))
                place = 500 + 400 * label + 600 * time * (1 - 2 * (label % 2))
                sound = sum(
                    torch.sin(2 * torch.pi * h * pitch * time) * (1 / (1 + ((h * pitch - place) / 300) ** 2) + 0.1)
                    for h in range(1, int(3800 / hertz))
                )
                sound = sound + 0.02 * torch.randn(4000, generator=chance)
                waveforms.append((0.5 * sound / sound.abs().max() * 32767).to(torch.int16))
                labels.append(label)
                names.append(name)
    return Clips(torch.stack(waveforms), torch.tensor(labels), WORDS, names, [])


@pytest.fixture(scope="module")
def clips():
    return clips_of(HERTZ)


@pytest.fixture(scope="module")
def encoder(clips):
    calls = []
    found = speakers.train_speaker_encoder(
        clips, clips_of(OTHERS), tuple(HERTZ), SPEC, num_steps=60, progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == ("speakers", 60, 60)
    return found


def test_takes_that_it_did_not_learn_from_are_of_their_voice(encoder, clips):
    kept = clips[split_takes(clips, tuple(HERTZ))[0]]
    shares = encoder.weigh(encoder.vectors_of(as_float(kept.waveforms)))
    named = [tuple(HERTZ)[place] for place in shares.argmax(dim=1)]
    right = sum(a == b for a, b in zip(named, kept.speakers, strict=True)) / len(named)
    assert right > 0.8  # chance 0.25
    assert encoder.temperature in torch.tensor(speakers.TEMPERATURES)


def test_limits_let_most_unheard_speakers_pass_and_noise_does_not(encoder):
    held_out = clips_of(OTHERS)
    similar = (encoder.vectors_of(as_float(held_out.waveforms)) @ encoder.vectors.T).amax(dim=1)
    assert (similar >= encoder.least_similarity[0] - 1e-4).float().mean() >= 0.97  # of 48, one may be
    hiss = 0.1 * torch.randn(20, 8000, generator=torch.Generator().manual_seed(1))
    likeness = (encoder.vectors_of(hiss) @ encoder.vectors.T).amax(dim=1)
    assert likeness.max() < encoder.least_similarity[1]


def test_the_same_seed_trains_the_same(clips):
    one, again = (
        speakers.train_speaker_encoder(clips, clips_of(OTHERS), tuple(HERTZ), SPEC, num_steps=2) for _ in range(2)
    )
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in one.state_dict().items())


def test_too_few_voices_words_or_speakers_are_one_line(clips):
    alone = clips[torch.tensor([i for i, name in enumerate(clips.speakers) if name == "one"])]
    with pytest.raises(InputError, match="4 voices and 1 held-out speakers with two words each"):
        speakers.train_speaker_encoder(clips, alone, tuple(HERTZ), SPEC, num_steps=1)
    word = clips[(clips.labels == 0).nonzero().flatten()]
    with pytest.raises(InputError, match="0 voices and 3 held-out speakers"):
        speakers.train_speaker_encoder(word, clips_of(OTHERS), tuple(HERTZ), SPEC, num_steps=1)


def test_beside_a_model_it_is_kept_and_damage_is_one_line(encoder, clips, tmp_path):
    assert speakers.load_speaker_encoder(tmp_path) is None
    speakers.save_speaker_encoder(encoder, tmp_path)
    again = speakers.load_speaker_encoder(tmp_path)
    sounds = as_float(clips.waveforms[::8])
    torch.testing.assert_close(again.vectors_of(sounds), encoder.vectors_of(sounds), rtol=0.02, atol=0.02)
    (tmp_path / speakers.FOLDER / "config.json").write_text('{"_class_name": "SpeakerEncoder", "voices": 3}')
    with pytest.raises(InputError, match=r"cannot be loaded .*train the model's run again"):
        speakers.load_speaker_encoder(tmp_path)
