"""`synesthete sample` of models that make music: what is written, what it tells of itself, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipeline.sounding import HOP, RATE, WINDOW, labels, noise, random_pipeline, random_upsampler, small_codec
from synesthete.conditioning.labels import Loudness
from synesthete.data.audio import read_audio, write_audio
from synesthete.pipeline import Cascade
from tiny_pictures import tiny_pipeline

if TYPE_CHECKING:
    from pathlib import Path

OWN = (WINDOW - 1) * HOP  # samples of a model's own clip
CLIP = 6_000  # samples, 1.5 s


@pytest.fixture
def run(command):
    """`run(model, ...)` -> (exit code, standard output, standard error) of `synesthete sample`."""
    return partial(command, "sample")


@pytest.fixture(scope="module")
def models(tmp_path_factory, cache) -> Path:
    """plain: told nothing. loud: how loud. notes: two classes. low: at 1 kHz. highs: 1 to 4 kHz. both: of these."""
    folder = tmp_path_factory.mktemp("models")
    low = random_pipeline(codec=small_codec(sample_rate=1_000, num_samples=156, n_fft=16, hop_length=4))
    random_pipeline().save(folder / "plain")
    random_pipeline(labels()).save(folder / "notes")
    random_pipeline(Loudness((-30.0, -10.0), width=8)).save(folder / "loud")
    low.save(folder / "low")
    random_upsampler().save(folder / "highs")
    Cascade(low, random_upsampler()).save(folder / "both")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return write_audio(tmp_path_factory.mktemp("clips") / "clip.wav", noise(1, CLIP)[0], RATE)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sound(path: Path) -> np.ndarray:
    return soundfile.read(path)[0]


def length(path: Path) -> int:
    return soundfile.info(path).frames


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    [line] = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in line


def test_sounds_with_a_spectrogram_each_and_a_sheet(run, models, tmp_path):
    code, printed, err = run(models / "plain", "--num", 5, "--out", tmp_path, "--json")
    assert code == 0
    stems = [f"{i:03d}" for i in range(5)]
    expected = [f"{stem}.{suffix}" for stem in stems for suffix in ("json", "png", "wav")]
    assert names_in(tmp_path) == sorted([*expected, "contact_sheet.png"])
    values = json.loads(printed.splitlines()[-1])
    assert values["written"] == [str(tmp_path / f"{stem}.wav") for stem in stems]
    assert values["sound_per_second"] > 0
    assert "steps: 25/25" in err  # five steps, a sound at a time
    assert soundfile.info(tmp_path / "000.wav").samplerate == RATE
    assert length(tmp_path / "000.wav") == OWN
    assert Image.open(tmp_path / "000.png").width == WINDOW
    assert not np.allclose(sound(tmp_path / "000.wav"), sound(tmp_path / "001.wav"), atol=1e-3)


def test_each_tells_how_it_was_made(run, models, clip, tmp_path):
    init = shutil.copy(clip, tmp_path / os.fsdecode(b"cl\xeep.wav"))  # a name that is not UTF-8
    run(models / "plain", "--num", 2, "--seed", 5, "--steps", 3, "--init", init, "--strength", "0.4", "--out", tmp_path)
    told = Image.open(tmp_path / "001.png").text
    kept = json.loads((tmp_path / "001.json").read_text())
    assert {name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()} == told
    expected = {"number": 1, "seed": 5, "model": "plain", "num_inference_steps": 3, "strength": 0.4, "init": "clîp.wav"}
    assert expected.items() <= kept.items()


def test_a_sound_begins_and_ends_without_a_click(run, models, clip, tmp_path):
    """Each end comes from 0 within 3 ms; what was given of a clip stays as it is."""
    run(models / "plain", "--num", 1, "--out", tmp_path / "made")
    made = np.abs(sound(tmp_path / "made" / "000.wav"))
    assert made[100:-100].mean() > 1e-3
    assert max(made[0], made[-1]) < 0.02 * made[1:12].max()
    run(models / "plain", "--num", 1, "--init", clip, "--continue", "--seconds", 2, "--out", tmp_path / "on")
    on, given = sound(tmp_path / "on" / "000.wav"), sound(clip)
    np.testing.assert_allclose(on[:8], given[:8], atol=1e-4)
    assert abs(on[-1]) < 0.02 * np.abs(on[-100:]).max()


def test_how_loud(run, models, tmp_path):
    """A loudness leads the sound; without one it is drawn by the seed, sample by sample, for each its own."""
    for name, options in {"quiet": ("--loudness", -29), "loud": ("--loudness", -11), "any": ()}.items():
        assert run(models / "loud", "--num", 2, *options, "--out", tmp_path / name)[0] == 0
    told = json.loads((tmp_path / "quiet" / "000.json").read_text())
    assert told["loudness"] == -29
    first = {name: sound(tmp_path / name / "000.wav") for name in ("quiet", "loud", "any")}
    assert not np.allclose(first["quiet"], first["loud"], atol=1e-3)
    assert not np.allclose(first["any"], first["loud"], atol=1e-3)
    wrong = {"--loudness": ("20", "this model learned -30 to -10"), "--label": ("piano", "has no labels")}
    for option, (value, words) in wrong.items():
        refused(run(models / "loud", option, value, "--out", tmp_path / "no"), words)
    refused(run(models / "plain", "--loudness", -20, "--out", tmp_path / "no"), "is not told how loud it is to be")


def test_seconds_ask_for_any_length(run, models, tmp_path):
    run(models / "plain", "--num", 1, "--seconds", "0.9", "--out", tmp_path / "long")
    assert length(tmp_path / "long" / "000.wav") == 3_600
    run(models / "plain", "--num", 1, "--seconds", "0.1", "--overlap", "0.05", "--out", tmp_path / "short")
    assert length(tmp_path / "short" / "000.wav") == 400


def test_classes(run, models, tmp_path):
    run(models / "notes", "--num", 2, "--label", "high", "--out", tmp_path / "one")
    assert {"high_000.wav", "high_001.wav", "high_001.json"} <= set(names_in(tmp_path / "one"))
    run(models / "notes", "--num", 1, "--label", "all", "--out", tmp_path / "all")
    assert {"low_000.wav", "high_000.wav", "contact_sheet.png"} <= set(names_in(tmp_path / "all"))
    one, again, other = (tmp_path / name for name in ("one/high_000.wav", "all/high_000.wav", "all/low_000.wav"))
    assert np.array_equal(sound(one), sound(again))  # whatever else is asked for
    assert np.abs(sound(one) - sound(other)).max() > 0.01
    assert json.loads((tmp_path / "one" / "high_001.json").read_text())["label"] == "high"
    refused(run(models / "notes", "--out", tmp_path / "none"), "--label", "0 to 1", "low")
    refused(run(models / "notes", "--label", "hihg", "--out", tmp_path / "none"), "label 'hihg'", "high")
    refused(run(models / "plain", "--label", "high", "--out", tmp_path / "none"), "told nothing", "leave out --label")


def test_variation(run, models, clip, tmp_path):
    for strength in ("0.2", "1.0"):
        run(models / "plain", "--num", 1, "--init", clip, "--strength", strength, "--out", tmp_path / strength)
        assert length(tmp_path / strength / "000.wav") == CLIP
    run(models / "plain", "--num", 1, "--init", clip, "--seconds", "0.5", "--out", tmp_path / "default")
    assert length(tmp_path / "default" / "000.wav") == 2_000
    assert json.loads((tmp_path / "default" / "000.json").read_text())["strength"] == 0.6


def test_a_gap_is_mended_and_the_rest_stays(run, models, clip, tmp_path):
    run(models / "plain", "--num", 2, "--init", clip, "--gap", "0.5", "0.7", "--out", tmp_path)
    before = sound(clip)
    one, other = (sound(tmp_path / name) for name in ("000.wav", "001.wav"))
    for after in (one, other):
        assert np.array_equal(after[: 2_000 - 80], before[: 2_000 - 80])
        assert np.array_equal(after[2_800 + 80 :], before[2_800 + 80 :])
        assert not np.allclose(after[2_000:2_800], before[2_000:2_800], atol=1e-3)
    assert not np.allclose(one[2_000:2_800], other[2_000:2_800], atol=1e-3)


def test_going_on_after_a_clip(run, models, clip, tmp_path):
    run(models / "plain", "--num", 1, "--init", clip, "--continue", "--seconds", 2, "--out", tmp_path)
    after = sound(tmp_path / "000.wav")
    assert len(after) == 8_000
    assert np.array_equal(after[:5_800], sound(clip)[:5_800])
    assert np.abs(after[6_000:]).max() > 0


def test_a_clip_of_another_rate_and_with_channels(run, models, tmp_path):
    path = write_audio(tmp_path / "stereo.wav", noise(2, 12_000), 2 * RATE)
    run(models / "plain", "--num", 1, "--init", path, "--out", tmp_path / "out")
    assert length(tmp_path / "out" / "000.wav") == CLIP


def test_loops(run, models, tmp_path):
    run(models / "plain", "--num", 1, "--loop", "--seconds", "0.5", "--out", tmp_path)
    assert length(tmp_path / "000.wav") == 2_000
    assert json.loads((tmp_path / "000.json").read_text())["loop"] is True


def test_an_upsampler_behind_a_model(run, models, tmp_path):
    assert run(models / "both", "--num", 1, "--seconds", "0.4", "--out", tmp_path / "both")[0] == 0
    two = (models / "low", "--upsampler", models / "highs")
    assert run(*two, "--num", 1, "--seconds", "0.4", "--out", tmp_path / "two")[0] == 0
    both, apart = (tmp_path / name / "000.wav" for name in ("both", "two"))
    assert soundfile.info(both).samplerate == RATE
    assert length(both) == 1_600
    assert np.array_equal(sound(both), sound(apart))
    run(models / "low", "--num", 1, "--out", tmp_path / "low")
    assert soundfile.info(tmp_path / "low" / "000.wav").samplerate == 1_000
    refused(run(models / "both", "--upsampler", models / "highs", "--out", tmp_path / "a"), "of its own")
    refused(run(models / "low", "--upsampler", models / "plain", "--out", tmp_path / "a"), "not a low-rate sound")


def test_an_upsampler_alone(run, models, tmp_path):
    path = write_audio(tmp_path / "low.wav", noise(1, 500)[0], 1_000)
    assert run(models / "highs", "--num", 1, "--init", path, "--out", tmp_path / "out")[0] == 0
    assert length(tmp_path / "out" / "000.wav") == 2_000
    refused(run(models / "highs", "--out", tmp_path / "a"), "adds highs", "--init FILE")
    refused(run(models / "highs", "--init", path, "--loop", "--out", tmp_path / "a"), "adds highs")


def test_nothing_is_overwritten_unasked(run, models, clip, tmp_path):
    options = (models / "plain", "--num", 1, "--out", tmp_path)
    run(*options)
    before = (tmp_path / "000.wav").read_bytes()
    refused(run(*options, "--seed", 5), "there already", "--overwrite")
    assert (tmp_path / "000.wav").read_bytes() == before
    assert run(*options, "--seed", 5, "--overwrite")[0] == 0
    assert (tmp_path / "000.wav").read_bytes() != before
    write_audio(tmp_path / "000.wav", read_audio(clip, RATE), RATE)
    refused(run(*options, "--init", tmp_path / "000.wav", "--overwrite"), "would be replaced by what is made of it")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seconds", "0"), ("--seconds 0", "more than 0")),
        (("--seconds", "-2"), ("--seconds -2", "more than 0")),
        (("--seconds", "nan"), ("--seconds: nan is no finite number",)),
        (("--seconds", "1e9"), ("--seconds: 1000000000.0 is more than anything",)),
        (("--loop", "--seconds", "0.05"), ("a loop of 0.05 s", "at least 0.160 s")),
        (("--overlap", "5"), ("overlap 5.0 s", "under half")),
        (("--strength", "0.5"), ("--strength", "--init FILE")),
        (("--gap", "0.2", "0.4"), ("--gap", "--init FILE")),
        (("--continue", "--seconds", "4"), ("--continue", "--init FILE")),
        (("--init", "CLIP", "--strength", "0"), ("--strength 0", "more than 0")),
        (("--init", "CLIP", "--strength", "1.5"), ("--strength 1.5", "at most 1")),
        (("--init", "CLIP", "--gap", "0.7", "0.5"), ("--gap 0.7 0.5", "START < END")),
        (("--init", "CLIP", "--gap", "1", "9"), ("clip.wav", "gap 1.000 9.000", "1.500 s")),
        (("--init", "CLIP", "--gap", "0", "1.5"), ("clip.wav", "not all of it")),
        (("--init", "CLIP", "--gap", "0.5", "0.7", "--loop"), ("--gap", "--loop")),
        (("--init", "CLIP", "--continue"), ("--continue", "--seconds")),
        (("--init", "CLIP", "--continue", "--seconds", "1"), ("clip.wav", "1.50 s already")),
        (("--init", "CLIP", "--continue", "--seconds", "4", "--gap", "0", "1"), ("leave out --gap",)),
        (("--init", "CLIP", "--seconds", "9"), ("clip.wav", "1.50 s, shorter than --seconds", "--continue")),
        (("--init", "SHORT"), ("short.wav", "0.10 s", "shorter than this model's window")),
        (("--init", "NAN"), ("nan.wav", "NaN")),
        (("--init", "TEXT"), ("text.wav", "cannot be read as sound")),
        (("--init", "nowhere.wav"), ("nowhere.wav", "no such file")),
        (("--prompt", "a song"), ("plays", "--prompt")),
        (("--steps", "0"), ("num_inference_steps", "0")),
        (("--guidance-scale", "3"), ("guidance_scale 3.0", "told nothing")),
    ],
)
def test_bad_input_is_one_line(run, models, clip, options, words, tmp_path):
    files = {"CLIP": clip, "SHORT": tmp_path / "short.wav", "NAN": tmp_path / "nan.wav", "TEXT": tmp_path / "text.wav"}
    write_audio(files["SHORT"], noise(1, 400)[0], RATE)
    soundfile.write(files["NAN"], np.full(CLIP, np.nan), RATE, subtype="FLOAT")
    files["TEXT"].write_text("not a sound")
    given = [files.get(option, option) for option in options]
    refused(run(models / "plain", *given, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_pictures_to_a_model_of_music_and_music_to_one_of_pictures(run, models, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "red.png")
    refused(run(models / "plain", tmp_path / "red.png", "--out", tmp_path / "out"), "plays", "red.png")
    tiny_pipeline().save(tmp_path / "colours")
    result = run(tmp_path / "colours", "--label", "red", "--seconds", 3, "--loop", "--out", tmp_path / "out")
    refused(result, "draws", "--seconds", "--loop", "synesthete draw --help")
    result = run("image-to-speech-digits", tmp_path / "red.png", "--init", "a.wav", "--out", tmp_path / "out")
    refused(result, "speaks", "--init")
