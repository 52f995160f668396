"""Scores played by a model: files in, sounds out, in windows that follow each other as training has shown them."""

from __future__ import annotations

import json

import pytest
import soundfile
import torch
from PIL import Image

import synesthete
from synesthete import seeding
from synesthete.data.audio import write_audio
from synesthete.data.scores.midi import write_midi
from synesthete.data.scores.rendering import TAIL, render
from synesthete.data.scores.score import Note, Score
from synesthete.pipeline import Canvas
from synesthete.pipeline.canvas import Frames, plan
from synesthete.tasks.music_compose.sampling import choose_instrument
from synesthete.tasks.music_score.sampling import ModelInstruments, Passage, play_passages
from synesthete.types import InputError
from tiny_scores import FRAMES, HOP, NAMES, RATE, tune

OVERLAP = FRAMES // 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tunes")
    for number in range(2):
        write_midi(tune(number).at_tempo(150), folder / f"tune_{number}.mid")
    return folder


@pytest.fixture(scope="module")
def model(untrained):
    return synesthete.load(str(untrained.folder))


def test_every_window_knows_as_much_as_training_has_shown(untrained):
    """None but the first begins elsewhere than an overlap before what it makes, however long the sound."""
    codec, frames = untrained.pipeline.codec, Frames.of(untrained.pipeline.codec)
    for num_frames in range(1, 4 * FRAMES, 5):
        canvas = Canvas.in_whole_windows(codec, 1, num_frames * HOP, OVERLAP)
        windows = plan(canvas.known, frames, OVERLAP)
        assert [window.first - window.start for window in windows] == [0] + [OVERLAP] * (len(windows) - 1)
        assert windows[-1].end == canvas.x_0.shape[-1] == windows[-1].start + frames.whole
        assert windows[-1].end - frames.edge > num_frames
        assert len(windows) == 1 or windows[-1].first - frames.edge <= num_frames
        assert canvas.num_samples == num_frames * HOP


def test_a_batch_equals_its_singles(untrained):
    """Whatever their lengths are."""
    parts = [Passage(tune(0).at_tempo(150), "organ"), Passage(tune(1), "guitar", 0.3), Passage(tune(2), None, 1.1)]
    generators = [seeding.generator(0, i) for i in range(3)]
    batch = play_passages(untrained.pipeline, parts, generators)
    for i, (part, made) in enumerate(zip(parts, batch, strict=True)):
        [alone] = play_passages(untrained.pipeline, [part], [seeding.generator(0, i)])
        assert alone.waveform.shape == made.waveform.shape == (round(part.length * RATE),)
        assert torch.equal(alone.roll, made.roll)
        torch.testing.assert_close(made.x_0, alone.x_0, rtol=1e-3, atol=1e-4)


def test_files_become_sounds_pictures_and_what_made_them(untrained, files, command, tmp_path):
    code, out, _ = command(
        "play", untrained.folder, files, "--instrument", "all", "--seconds", 0.9, "--out", tmp_path, "--json"
    )
    assert code == 0
    names = [f"tune_{number}_{name}" for number in range(2) for name in NAMES]
    assert [path.rpartition("/")[2] for path in json.loads(out)["written"]] == [f"{name}.wav" for name in names]
    for name in names:
        told = json.loads((tmp_path / f"{name}.json").read_text())
        assert f"{told['score'].removesuffix('.mid')}_{told['instrument']}" == name
        assert soundfile.info(tmp_path / f"{name}.wav").frames == round(0.9 * RATE)
        picture = Image.open(tmp_path / f"{name}.png")
        assert picture.width == 2 * (round(0.9 * RATE) // HOP + 1)
        assert json.loads(picture.text["seconds"]) == 0.9


def test_the_noise_is_that_of_the_notes_whoever_plays_them(model, files):
    plan = model.plan(model.task.request_type(model="m", inputs=[files], instrument="all"))
    assert len(plan.items) == 2 * len({item.key for item in plan.items}) == 4
    made = model(files / "tune_1.mid", instrument="guitar")
    assert made.seconds == pytest.approx(Passage(tune(1).at_tempo(150)).length, abs=1e-3)


def test_help_is_of_models_that_play_scores(command):
    code, said, _ = command("play", "music-score", "--help")
    assert code == 0
    lines = said.splitlines()
    assert len(lines) <= 70
    assert "synesthete play music-score tune.mid --instrument strings" in said
    assert "--instrument" in said
    assert "--harmonise" not in said


def test_what_is_composed_is_played_by_it(untrained, files):
    instruments, chosen = choose_instrument(str(untrained.folder), None, seed=2)
    assert (instruments.names, chosen) == (NAMES, "organ")
    assert render(tune(0), instruments, "guitar", RATE).any()
    with pytest.raises(InputError, match=r"instrument 'harp': there are organ, guitar"):
        choose_instrument(str(untrained.folder), "harp")
    with pytest.raises(InputError, match=r"--with .*tune_0\.mid: no SoundFont"):
        choose_instrument(str(files / "tune_0.mid"), None)


def test_the_same_alone_and_among_others(model, files):
    paths = [files / "tune_0.mid", files / "tune_1.mid"]
    both, alone = model(paths, seconds=0.8, seed=3), model(str(paths[1]), seconds=0.8, seed=3)
    assert torch.equal(both[1].waveform, alone.waveform)
    assert alone.how["instrument"] in NAMES  # by chance, and said
    assert not torch.equal(alone.waveform, model(paths[1], seconds=0.8, seed=4).waveform)


def test_scores_in_memory_and_what_is_not_told_of_them(model):
    score = Score((Note(60, 0.0, 1.0), Note(20, 1.0, 1.0)))
    assert model(score, instrument="Organ").seconds == pytest.approx(score.seconds(2.0) + TAIL, abs=1e-3)
    plan = model.plan(model.task.request_type(model="m", inputs=[score]))
    assert plan.notes == ["a score: 1 of 2 notes are left out; this model plays MIDI pitches 48 to 87"]


def test_a_model_is_a_set_of_instruments(untrained):
    """So that what renders scores renders them by it, at any rate."""
    player = ModelInstruments(untrained.pipeline, seed=1)
    assert player.names == NAMES
    sound = render(tune(0), player, "guitar", 12_000)
    assert sound.shape == (round((tune(0).seconds(tune(0).length) + TAIL) * 12_000),)
    assert (sound == render(tune(0), player, "guitar", 12_000)).all()
    assert player.identity() != ModelInstruments(untrained.pipeline).identity()
    with pytest.raises(InputError, match="instrument 'harp'"):
        render(tune(0), player, "harp", RATE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"instrument": "organs"}, r"instrument 'organs': this model has organ, guitar; did you mean organ\?"),
        ({"instrument": ","}, "names none; give one of organ, guitar, or all"),
        ({"seconds": 0}, "--seconds 0: give more than 0 and at most 1200"),
    ],
)
def test_what_cannot_be_asked_for_is_said_in_a_line(model, files, options, said):
    with pytest.raises(InputError, match=said) as caught:
        model(files / "tune_0.mid", **options)
    assert "\n" not in str(caught.value)


def test_scores_that_cannot_be_played(model, files, tmp_path):
    sound = write_audio(tmp_path / "sound.wav", torch.zeros(100), RATE).rename(tmp_path / "sound.mid")
    made = model([sound, files / "tune_0.mid"], seconds=0.3)
    assert len(made) == 1
    for given, said in (
        (sound, "sound.mid: "),
        (Score(()), "a score: no notes"),
        (3, "an input of type int; give a path, a Score"),
        (None, "plays scores; give it MIDI or MusicXML files"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            model(given)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"long: 33 minutes; give --seconds 1200 or less"):
        model(long := Score((Note(60, 0, 33.0),), ((0.0, 1.0),), title="long"))
    assert model(long, seconds=0.3).seconds == 0.3
