"""Notes heard in sounds: what counts as heard, and a transcriber that learns it in a moment."""

from __future__ import annotations

import pytest
import torch

from synesthete.data.audio import to_int16
from synesthete.data.scores.rendering import Partials, render
from synesthete.evaluation.audio_features.notes import (
    FRAME,
    NUM_KEYS,
    BasicPitch,
    Heard,
    asked_keys,
    beginnings,
    best_thresholds,
    frame_f1,
    matched,
    note_f1,
)
from synesthete.evaluation.classifiers.classifier import load_classifier, write_classifier
from synesthete.evaluation.classifiers.transcriber import Transcriber, load_or_train_transcriber
from synesthete.types import InputError
from tiny_scores import HOP, RATE, tune

FRAMES = 52


def begun(*notes: tuple[int, int], num_frames: int = 60) -> torch.Tensor:
    found = torch.zeros(NUM_KEYS, num_frames, dtype=torch.bool)
    for key, frame in notes:
        found[key, frame] = True
    return found


@pytest.mark.parametrize(
    ("heard", "asked", "num"),
    [
        (begun((40, 10)), begun((40, 12)), 1),  # 40 ms
        (begun((40, 10)), begun((40, 13)), 0),
        (begun((40, 10)), begun((41, 10)), 0),
        (begun((40, 10)), begun((40, 9), (40, 11)), 1),  # one for each
        (begun((40, 8), (40, 11)), begun((40, 10), (40, 12)), 2),
        (begun(), begun((40, 10)), 0),
    ],
)
def test_a_note_is_heard_within_50_ms_and_once(heard, asked, num):
    assert matched(heard, asked) == num


def test_beginnings_are_peaks():
    likely = torch.zeros(NUM_KEYS, 30)
    likely[5, 8:13] = torch.tensor([0.2, 0.6, 0.9, 0.6, 0.2])
    likely[5, 20:22] = 0.7  # a flat top
    likely[6, 3] = 0.3
    assert beginnings(likely, 0.5).nonzero().tolist() == [[5, 10], [5, 20]]


def test_what_is_asked_for_is_put_on_the_grid_of_what_is_heard():
    """Whatever the frames of the codec, no beginning is lost."""
    score = tune(3)
    for frame in (FRAME, FRAME / 2, 1.7 * FRAME):
        num = int(2.0 / frame)
        asked = asked_keys(score.frames(num, frame)[None], frame, 101)
        assert asked.shape == (1, 2, NUM_KEYS, 101)
        assert int(asked[0, 1].sum()) == len(score.notes)
        share, real = float(asked[0, 0].double().mean()), float(score.frames(101, FRAME)[0].mean())
        assert share == pytest.approx(real * 128 / NUM_KEYS, rel=0.15)
    exact = Heard(asked[:, 0].float(), asked[:, 1].float())
    assert note_f1(exact, asked, 0.5) == frame_f1(exact, asked, 0.5) == 1
    assert note_f1(exact, asked.flip(2), 0.5) == 0
    assert 0 < min(best_thresholds(exact, asked)) < 1


@pytest.fixture(scope="module")
def sounds():
    """Sounds of tunes (n, S) int16, and their rolls."""
    parts, rolls = [], []
    for number in range(10):
        score = tune(number).at_tempo(240)
        sound = torch.from_numpy(render(score, Partials(), "organ", RATE))[: FRAMES * HOP]
        parts.append(to_int16(torch.nn.functional.pad(sound, (0, FRAMES * HOP - len(sound)))))
        rolls.append(score.frames(FRAMES + 1, HOP / RATE))
    return torch.stack(parts), torch.stack(rolls)


def test_a_transcriber_learns_to_hear_notes(sounds, tmp_path, cache):
    """On tunes that it never heard, better than told another's notes; saved, it hears the same."""
    waveforms, rolls = sounds
    trained = load_or_train_transcriber(waveforms[:8], rolls[:8], RATE, HOP / RATE, num_steps=40)
    network = trained.classifier
    assert (
        load_or_train_transcriber(waveforms[:8], rolls[:8], RATE, HOP / RATE, num_steps=40).seconds == trained.seconds
    )
    heard = network.hear(waveforms[8:], RATE)
    asked = asked_keys(rolls[8:], HOP / RATE, heard.sounds.shape[-1])
    sounding, _ = network.thresholds
    right, wrong = frame_f1(heard, asked, sounding).mean(), frame_f1(heard, asked.flip(0), sounding).mean()
    assert right > 0.4
    assert right > 2 * wrong
    write_classifier(trained, tmp_path)
    again = load_classifier(tmp_path, Transcriber).classifier
    assert again.thresholds == network.thresholds
    assert torch.equal(again.hear(waveforms[8:9], RATE).begins, heard.begins[:1])  # alone and among others
    with pytest.raises(InputError, match="sounds at 44100 Hz for a transcriber of 8000"):
        network.hear(waveforms, 44_100)
    with pytest.raises(InputError, match="1 sounds to learn to transcribe from"):
        load_or_train_transcriber(waveforms[:1], rolls[:1], RATE, HOP / RATE)


def test_a_file_that_is_not_basic_pitch_is_refused_in_a_line(tmp_path):
    with pytest.raises(InputError, match=r"no nmp.onnx there; give the folder"):
        BasicPitch(tmp_path)
    pytest.importorskip("onnxruntime")
    (tmp_path / "nmp.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"nmp.onnx: not basic-pitch's network") as caught:
        BasicPitch(tmp_path)
    assert "\n" not in str(caught.value)
