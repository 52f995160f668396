"""`synesthete sample` of models that paint what they hear: what is written, what it tells, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from conditioning.claps import RATE as CLAP_RATE
from conditioning.claps import write_clap
from denoisers.tiny_diffusion import NUM_TEXT, WIDTH, wake, write_stable_diffusion
from sound_files import melody, write, write_melody
from synesthete.cli.options import spread_values
from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.conditioning.audio_text import AudioTextConditioner
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap
from synesthete.conditioning.learned_encoders import SoundEncoder, TextTransformer
from synesthete.config import Sampling
from synesthete.denoisers.adapters import save_adapters
from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.pipeline import Pipeline
from synesthete.seeding import generator
from synesthete.tasks.audio_to_image import sampling
from synesthete.tasks.audio_to_image.sampling import Listening
from synesthete.tasks.demo_page import paint_spoken
from synesthete.tasks.results import PictureResult
from tiny_pictures import tiny_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RATE, LENGTH = 4000, 2000  # of what the small model hears: half a second
NETWORK = {
    "block_out_channels": (8, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
}


def assembled(codec, conditioner, denoiser, process, **sampling) -> Pipeline:
    settings = vars(Sampling(sampler="ddim", num_inference_steps=3, guidance_scale=3.0, **sampling))
    for part in (conditioner, denoiser):
        part.eval()
    scheduler = scheduler_for(settings, process)
    return Pipeline(
        codec,
        conditioner,
        denoiser,
        scheduler,
        process.settings(),
        settings,
        {"recipe": "tiny", "task": "audio-to-image"},
    )


def small_pipeline() -> Pipeline:
    """Untrained, with encoders of its own; both ways in which a sound is heard are open."""
    torch.manual_seed(0)
    sound = SoundEncoder(RATE, LENGTH, 256, 80, 16, channels=(8, 12), width=20)
    text = TextTransformer(("a red picture", "a blue picture"), width=16, num_tokens=6, num_heads=2)
    denoiser = wake(StableDiffusion(None, NETWORK, (8, 8), 3, condition_width=16, lora_rank=2))
    process = Process(schedule="cosine", prediction_type="v_prediction", zero_terminal_snr=True)
    return assembled(PixelCodec(size=8), AudioTextConditioner(sound, text, width=16, hidden=24), denoiser, process)


def adapted_pipeline(base: str, clap: str) -> Pipeline:
    """A published base and frozen encoders, heard through adapters."""
    torch.manual_seed(0)
    codec = AutoencoderCodec(model=base, size=16, scaling_factor=0.2).fit(())
    conditioner = AudioTextConditioner(
        Clap(clap, CLAP_RATE), ClipPrompts(base, num_tokens=NUM_TEXT), width=WIDTH, hidden=12, num_sound_tokens=2
    )
    denoiser = wake(
        StableDiffusion(base, None, codec.shape[1:], 4, condition_width=WIDTH, num_sound_tokens=2, lora_rank=2)
    )
    return assembled(codec, conditioner, denoiser, Process(schedule="scaled_linear", prediction_type="epsilon"))


@pytest.fixture
def run(command):
    """`run(model, ...)` -> (exit code, standard output, standard error) of `synesthete sample`."""
    return partial(command, "sample")


@pytest.fixture(scope="module")
def model(tmp_path_factory, cache) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    small_pipeline().save(folder)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """dog.wav, just as long as is heard; cat.wav, shorter; rain.flac, longer, stereo and of another rate."""
    folder = tmp_path_factory.mktemp("sounds")
    write_melody(folder / "dog.wav", 0.5, 1)
    write_melody(folder / "cat.wav", 0.3, 2)
    write(folder / "rain.flac", np.stack([melody(2, 22_050, seed) for seed in (3, 4)], axis=1), 22_050)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def refused(result: tuple[int, str, str], *words: str) -> None:
    code, _, err = result
    [line] = [line for line in err.splitlines() if line.startswith("synesthete: ")]
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in line


def test_pictures_of_one_sound_and_how_they_were_made(run, model, sounds, tmp_path):
    code, printed, err = run(
        model, sounds / "dog.wav", "--prompt", "a red picture", "--num", 3, "--seed", 5, "--out", tmp_path, "--json"
    )
    assert code == 0
    stems = ["dog", "dog_1", "dog_2"]
    assert names_in(tmp_path) == sorted(["contact_sheet.png", *(f"{s}.{x}" for s in stems for x in ("png", "json"))])
    values = json.loads(printed.splitlines()[-1])
    assert values["written"] == [str(tmp_path / f"{stem}.png") for stem in stems]
    assert values["skipped"] == values["notes"] == []
    assert "pictures: 3/3" in err and "steps: 3/3" in err
    kept = json.loads((tmp_path / "dog_1.json").read_text())
    expected = {"sound": "dog.wav", "prompt": "a red picture", "number": 1, "seed": 5, "model": "small"}
    assert expected.items() <= kept.items()
    assert {"guidance_scale": 3.0, "num_inference_steps": 3, "adapter_scale": 1.0}.items() <= kept.items()
    told = Image.open(tmp_path / "dog_1.png").text
    assert {name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()} == told
    assert np.abs(pixels(tmp_path / "dog.png") - pixels(tmp_path / "dog_1.png")).max() > 1


def test_one_picture_is_one_picture_in_a_folder_of_its_own(run, model, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(model, sounds / "dog.wav")[0] == 0
    assert names_in(tmp_path / "out" / "sample") == ["dog.json", "dog.png"]


def test_it_is_the_picture_that_a_script_makes(run, model, sounds, tmp_path):
    run(model, sounds / "rain.flac", "--prompt", "a blue picture", "--num", 2, "--seed", 7, "--out", tmp_path)
    pipeline = Pipeline.load(str(model))
    heard = Listening.of(pipeline.conditioner).hear(sounds / "rain.flac")
    raw = pipeline.conditioner.compose([heard.waveform], ["a blue picture"])
    picture = pipeline(raw, generators=[generator(7, "sample", 1)]).signal[0]
    assert np.abs(pixels(tmp_path / "rain_1.png") - picture.permute(1, 2, 0).numpy()).max() <= 1


def test_a_folder_of_sounds(run, model, sounds, tmp_path):
    code, printed, said = run(model, sounds, "--out", tmp_path)
    assert code == 0
    assert printed.splitlines() == [str(tmp_path / f"{stem}.png") for stem in ("cat", "dog", "rain")]
    assert "7 files" in said  # a picture and its settings for each sound, and the contact sheet
    assert "cat.wav: 0.30 s, shorter than the 0.5 s heard: padded" in said
    assert "rain.flac: 2.00 s, longer than the 0.5 s heard: its loudest part is heard" in said
    made = {stem: pixels(tmp_path / f"{stem}.png") for stem in ("cat", "dog", "rain")}
    assert (tmp_path / "contact_sheet.png").is_file()
    assert np.abs(made["cat"] - made["dog"]).max() > 0  # by the sound alone: the noise is the same
    run(model, sounds / "dog.wav", "--out", tmp_path / "alone")
    assert np.array_equal(pixels(tmp_path / "alone" / "dog.png"), made["dog"])  # whatever else is asked for


def test_what_is_told_and_how_far_it_leads(run, model, sounds, tmp_path):
    ways = {
        "plain": (),
        "prompt": ("--prompt", "a red picture"),
        "away": ("--prompt", "a red picture", "--negative-prompt", "a blue picture"),
        "far": ("--prompt", "a red picture", "--guidance-scale", 2, "--audio-guidance-scale", 6),
        "deaf": ("--prompt", "a red picture", "--adapter-scale", 0),
    }
    made = {}
    for name, options in ways.items():
        assert run(model, sounds / "dog.wav", *options, "--out", tmp_path / name)[0] == 0
        made[name] = pixels(tmp_path / name / "dog.png")
    assert all(np.abs(made[a] - made[b]).max() > 0 for a in made for b in made if a < b)
    run(model, sounds / "cat.wav", *ways["deaf"], "--out", tmp_path / "deaf")
    assert np.array_equal(pixels(tmp_path / "deaf" / "cat.png"), made["deaf"])
    kept = json.loads((tmp_path / "away" / "dog.json").read_text())
    assert kept["negative_prompt"] == "a blue picture" and kept["audio_guidance_scale"] is None
    assert json.loads((tmp_path / "far" / "dog.json").read_text())["audio_guidance_scale"] == 6.0


def test_from_one_sound_to_another(run, model, sounds, tmp_path):
    between = ("--between", sounds / "dog.wav", sounds / "cat.wav")
    code, printed, _ = run(model, *between, "--frames", 4, "--num", 2, "--gif", "--out", tmp_path, "--json")
    assert code == 0
    assert names_in(tmp_path) == ["dog_to_cat.gif", "dog_to_cat.json", "dog_to_cat.png"]
    assert json.loads(printed.splitlines()[-1])["gifs"] == [str(tmp_path / "dog_to_cat.gif")]
    kept = json.loads((tmp_path / "dog_to_cat.json").read_text())
    assert kept["sounds"] == ["dog.wav", "cat.wav"] and kept["shares"] == [0.0, 0.3333, 0.6667, 1.0]
    assert Image.open(tmp_path / "dog_to_cat.gif").n_frames == 4
    assert Image.open(tmp_path / "dog_to_cat.png").width > 4 * 64
    assert "sounds" in Image.open(tmp_path / "dog_to_cat.png").text


def test_the_ends_of_a_strip_are_the_two_sounds(run, model, sounds, tmp_path, monkeypatch):
    rows = []
    true = sampling.draw_sheet
    monkeypatch.setattr(sampling, "draw_sheet", lambda r, *a, **k: rows.append((r, k["captions"])) or true(r, *a, **k))
    run(model, "--between", sounds / "dog.wav", sounds / "cat.wav", "--frames", 3, "--out", tmp_path)
    run(model, sounds / "dog.wav", "--strengths", 0, "0.5", 1, "--out", tmp_path)
    ([between], [captions]), ([strengths], [levels]) = rows
    assert captions == ["dog", "50%", "cat"] and levels == ["strength 0", "strength 0.5", "strength 1"]
    monkeypatch.undo()
    for name in ("dog", "cat"):
        run(model, sounds / f"{name}.wav", "--out", tmp_path)
    run(model, sounds / "dog.wav", "--adapter-scale", 0, "--out", tmp_path / "deaf")
    dog, cat, deaf = (pixels(tmp_path / place) for place in ("dog.png", "cat.png", "deaf/dog.png"))
    for picture, expected in ((between[0], dog), (between[2], cat), (strengths[0], deaf), (strengths[2], dog)):
        assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 1
    assert (tmp_path / "dog_strengths.png").is_file()
    assert json.loads((tmp_path / "dog_strengths.json").read_text())["strengths"] == [0.0, 0.5, 1.0]


def test_strengths_end_where_no_number_follows():
    parts = ["m", "--strengths", "0", "0.5", "1,2", "dog.wav", "--num", "3"]
    assert spread_values(parts, ("--strengths",), lambda arg: arg[0].isdigit()) == [
        *("m", "--strengths", "0", "--strengths", "0.5", "--strengths", "1,2", "dog.wav", "--num", "3")
    ]


def test_a_sound_that_cannot_be_used_does_not_stop_the_others(run, model, sounds, tmp_path):
    folder = tmp_path / "mixed"
    write(folder / "good.wav", melody(0.5))
    write(folder / "silent.wav", np.zeros(4000, np.float32))
    (folder / "text.wav").write_text("not a sound")
    code, printed, _ = run(model, folder, "--out", tmp_path / "out", "--json")
    values = json.loads(printed.splitlines()[-1])
    assert code == 0
    assert values["written"] == [str(tmp_path / "out" / "good.png")]
    assert ["silent" in values["skipped"][0], "cannot be read as sound" in values["skipped"][1]] == [True, True]


def test_names_that_are_not_utf_8_are_legible(run, model, sounds, tmp_path):
    folder, name = tmp_path / "in", os.fsdecode(b"h\xfcnd.wav")
    folder.mkdir()
    shutil.copy(sounds / "cat.wav", folder / name)
    (folder / os.fsdecode(b"k\xe4se.wav")).write_text("not a sound")
    code, printed, _ = run(model, folder, "--out", tmp_path / "out", "--json")
    assert code == 0
    values = json.loads(printed.splitlines()[-1])
    assert values["written"] == [str(tmp_path / "out" / "hünd.png")]
    assert "in/hünd.wav: 0.30 s" in values["notes"][0] and "in/käse.wav: cannot be read" in values["skipped"][0]
    assert json.loads((tmp_path / "out" / "hünd.json").read_text())["sound"] == "hünd.wav"
    between = ("--between", folder / name, sounds / "dog.wav", "--frames", 2, "--out", tmp_path / "strip")
    assert run(model, *between)[0] == 0
    assert names_in(tmp_path / "strip") == ["hünd_to_dog.json", "hünd_to_dog.png"]


def test_painting_goes_on_where_it_was_killed(run, model, sounds, tmp_path, monkeypatch):
    """What is whole is not drawn again; files, contact sheet and notes are those of one call."""
    monkeypatch.setattr("synesthete.tasks.sampling.Plan.cpu_batch_size", 2)
    (tmp_path / "in").mkdir()
    for path in sounds.iterdir():
        shutil.copy(path, tmp_path / "in")
    (tmp_path / "in" / "text.wav").write_text("not a sound")
    options = (model, tmp_path / "in", "--num", 2, "--json", "--out")
    save, saved = PictureResult.save, []

    def interrupted(self, path):
        if len(saved) == 7:
            saved.append(None)
            raise KeyboardInterrupt
        saved.append(path.name)
        return save(self, path)

    monkeypatch.setattr(PictureResult, "save", interrupted)
    assert run(*options, tmp_path / "out")[0] != 0
    code, printed, _ = run(*options, tmp_path / "out")
    assert code == 0
    assert saved[8:] == ["dog.png", "dog.json", "dog_1.png", "dog_1.json", *saved[-4:]]  # the batch, and the last
    found, whole = (json.loads(text.splitlines()[-1]) for text in (printed, run(*options, tmp_path / "whole")[1]))
    assert [found[name] for name in ("notes", "skipped")] == [whole[name] for name in ("notes", "skipped")]
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "out")]
    assert files[0] == files[1]


def test_sounds_of_one_name(run, model, tmp_path):
    for place in ("a/dog.wav", "b/dog.wav"):
        write_melody(tmp_path / "two" / place, 0.5)
    assert run(model, tmp_path / "two", "--out", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "a" / "dog.png").is_file() and (tmp_path / "out" / "b" / "dog.png").is_file()
    for name in ("dog.wav", "dog_1.wav"):
        write_melody(tmp_path / "alike" / name, 0.5)
    refused(
        run(model, tmp_path / "alike", "--num", 2, "--out", tmp_path / "c"),
        "dog_1.png",
        "two things would be written there",
    )
    assert not (tmp_path / "c").exists()


def test_nothing_is_overwritten_unasked(run, model, sounds, tmp_path):
    options = (model, sounds / "dog.wav", "--out", tmp_path)
    run(*options)
    before = (tmp_path / "dog.png").read_bytes()
    refused(run(*options, "--seed", 5), "dog.png: there already (2 of 2 files)", "--overwrite")
    assert (tmp_path / "dog.png").read_bytes() == before
    (tmp_path / "dog.png").unlink()
    refused(run(*options), "dog.json: there already")
    assert run(*options, "--seed", 5, "--overwrite")[0] == 0
    assert (tmp_path / "dog.png").read_bytes() != before


BAD = [
    ((), ("paints what it hears; give it sounds",)),
    (("nowhere.wav",), ("nowhere.wav: no such file",)),
    (("TEXT",), ("text.wav: cannot be read as sound",)),
    (("SILENT",), ("silent.wav: silent (-200 dB); record it louder",)),
    (("NAN",), ("nan.wav: NaN or infinite samples",)),
    (("EMPTY",), ("empty.wav: 0 samples",)),
    (("FOLDER",), ("no sounds in it",)),
    (("DOG", "--prompt", "a rod picture"), ("never read 'rod'; did you mean 'red'?",)),
    (("DOG", "--prompt", "a red picture a red picture"), ("6 words, this model reads 5; shorten it",)),
    (("DOG", "--negative-prompt", "green"), ("never read 'green'",)),
    (("DOG", "--prompt", "a", "--prompt", "red"), ("--prompt: one beside a sound, not 2",)),
    (("DOG", "--label", "red"), ("no --label",)),
    (("DOG", "--seconds", "3"), ("no --seconds",)),
    (("DOG", "--strength", "0.5"), ("no --strength;",)),
    (("DOG", "--adapter-scale", "3"), ("adapter_scale", "3", "2")),
    (("DOG", "--strengths", "nan"), ("--strengths: nan is no finite number",)),
    (("DOG", "--strengths", "0", "1", "--adapter-scale", "1"), ("leave out --adapter-scale",)),
    (("DOG", "--strengths", "much"), ("'much' is no number",)),
    (("DOG", "--gif"), ("--gif shows a strip", "--between")),
    (("DOG", "--frames", "3"), ("--frames: between which sounds?",)),
    (("DOG", "--between", "DOG", "CAT"), ("--between names its two sounds; leave out", "dog.wav")),
    (("--between", "DOG", "CAT", "--frames", "1"), ("--frames 1: give at least 2",)),
    (("--between", "DOG", "DOG"), ("two different sounds",)),
    (("--between", "DOG", "SILENT"), ("silent.wav: silent",)),
    (("--between", "DOG", "CAT", "--strengths", "0", "1"), ("one strip at a time",)),
    (("DOG", "--audio-guidance-scale", "nan"), ("--audio-guidance-scale: nan is no finite number",)),
]


@pytest.mark.parametrize(("options", "words"), BAD, ids=lambda value: " ".join(value))
def test_bad_input_is_one_line(run, model, sounds, options, words, tmp_path):
    files = {"DOG": sounds / "dog.wav", "CAT": sounds / "cat.wav", "FOLDER": tmp_path / "folder"}
    files |= {name: tmp_path / f"{name.lower()}.wav" for name in ("TEXT", "SILENT", "NAN", "EMPTY")}
    files["FOLDER"].mkdir()
    files["TEXT"].write_text("not a sound")
    write(files["SILENT"], np.zeros(4000, np.float32))
    write(files["NAN"], np.full(4000, np.nan, np.float32), subtype="FLOAT")
    write(files["EMPTY"], np.zeros(0, np.float32))
    refused(run(model, *(files.get(option, option) for option in options), "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_model_that_hears_nothing(run, sounds, tmp_path):
    tiny_pipeline().save(tmp_path / "colours")
    for options in (("--adapter-scale", "0.5"), ("--negative-prompt", "x"), ("--strengths", "0", "1")):
        result = run(tmp_path / "colours", "--label", "red", *options, "--out", tmp_path / "out")
        refused(result, options[0].strip("-").replace("-", "_") if "adapter" in options[0] else options[0])
    refused(run(tmp_path / "colours", sounds, "--out", tmp_path / "out"), "draws", str(sounds))


def test_it_is_heard_as_in_training(model, sounds, tmp_path):
    """Mono at the ear's rate, the loudest stretch of its length, zeros behind what is shorter; a recipe may say so."""
    listening = Listening.of(small_pipeline().conditioner, model)
    assert listening == Listening(RATE, LENGTH, -60.0)
    short = listening.hear(sounds / "cat.wav")
    assert short.waveform.shape == (LENGTH,) and short.seconds == pytest.approx(0.3, abs=1e-3)
    assert not short.waveform[1210:].any() and short.waveform[:1200].abs().max() > 0.1
    loud = np.concatenate([0.01 * melody(1, RATE), melody(0.5, RATE, 5), 0.01 * melody(1, RATE)])
    heard = listening.hear(write(tmp_path / "loud.wav", loud, RATE)).waveform
    torch.testing.assert_close(heard, torch.from_numpy(loud[RATE : RATE + LENGTH]), atol=1e-3, rtol=0)
    assert listening.hear(write(tmp_path / "stereo.wav", np.stack([loud, loud], 1), RATE)).waveform.equal(heard)


@pytest.fixture
def published(monkeypatch, tmp_path) -> Callable[[int], None]:
    """Put a base and a CLAP where Hub ids are looked for; the base's seed may change."""

    def put(seed: int = 0) -> None:
        shutil.rmtree(tmp_path / "weights", ignore_errors=True)
        write_stable_diffusion(tmp_path / "weights" / "tiny" / "base", seed)
        write_clap(tmp_path / "weights" / "tiny" / "clap")

    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put()
    return put


def test_adapters_find_their_base_and_refuse_another(run, sounds, published, tmp_path):
    pipeline = adapted_pipeline("tiny/base", "tiny/clap")
    save_adapters(pipeline, tmp_path / "adapters")
    pipeline.save(tmp_path / "whole")
    for name in ("adapters", "whole"):
        assert run(tmp_path / name, sounds / "dog.wav", "--prompt", "a b", "--out", tmp_path / f"of_{name}")[0] == 0
    whole, adapters = (pixels(tmp_path / f"of_{name}" / "dog.png") for name in ("whole", "adapters"))
    assert np.abs(whole - adapters).max() <= 1 and whole.std() > 0
    kept = json.loads((tmp_path / "of_adapters" / "dog.json").read_text())
    assert kept["model"] == "adapters" and kept["num_inference_steps"] == 3
    refused(
        run(tmp_path / "adapters", sounds / "dog.wav", "--prompt", "a b c d e f g", "--out", tmp_path / "out"),
        "9 tokens of tiny/base, this model reads 7; shorten it",
    )
    published(1)
    refused(
        run(tmp_path / "adapters", sounds / "dog.wav", "--out", tmp_path / "out"),
        "adapters of tiny/base, and this is another base",
    )
    assert not (tmp_path / "out").exists()


def test_encoders_that_are_not_here_are_one_line(run, sounds, published, tmp_path):
    adapted_pipeline("tiny/base", "tiny/clap").save(tmp_path / "whole")
    save_adapters(adapted_pipeline("tiny/base", "tiny/clap"), tmp_path / "adapters")
    (tmp_path / "weights" / "tiny" / "clap").rename(tmp_path / "gone")
    refused(run(tmp_path / "whole", sounds / "dog.wav", "--out", tmp_path / "out"), "tiny/clap", "not on this machine")
    (tmp_path / "weights" / "tiny" / "base").rename(tmp_path / "lost")
    refused(run(tmp_path / "whole", sounds, "--prompt", "a", "--out", tmp_path / "out"), "tiny/base", "not on this")
    refused(run(tmp_path / "adapters", sounds, "--out", tmp_path / "out"), "tiny/base", "not on this machine")
    assert not (tmp_path / "out").exists()


def test_adapters_of_what_was_trained_whole_are_refused(run, sounds, tmp_path):
    save_adapters(small_pipeline(), tmp_path / "adapters")
    refused(
        run(tmp_path / "adapters", sounds / "dog.wav", "--out", tmp_path / "out"),
        "adapters without a published base; load the model",
    )


def test_the_demo_paints_what_was_said(model, sounds):
    found = paint_spoken(str(model), [sounds / "dog.wav", sounds / "cat.wav"], 0, "cpu")
    assert [seen for _, seen in found] == [None, None]  # no classifier beside this one
    first, second = (np.asarray(picture).astype(int) for picture, _ in found)
    assert first.shape == (8, 8, 3) and np.abs(first - second).max() > 0
