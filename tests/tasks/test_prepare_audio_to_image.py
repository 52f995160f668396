"""Pictures and their sounds prepared: fitted, decoded, heard, each once, and every broken file named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from paired_files import (
    CAPTIONS,
    LENGTH,
    RATE,
    fake_ffmpeg,
    tiny_hearing,
    write_classes,
    write_lines,
    write_pairs,
    write_picture,
    write_video,
)
from sound_files import melody, write, write_melody
from synesthete import tasks
from synesthete.cli.app import app
from synesthete.codecs.autoencoder import AutoencoderCodec
from synesthete.conditioning.audio_text import SoundAndText
from synesthete.config import build
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.augmentation import AudioAugmentation, FlipCrop
from synesthete.data.pair_sources import PairManifest, SoundFolders, SpokenWords
from synesthete.data.picture import read_picture
from synesthete.data.pictures import BuiltInDigits, ClassFolders
from synesthete.data.rows import loudest_stretch
from synesthete.data.videos import VggSound
from synesthete.nn.part import autocast
from synesthete.recipes import find_recipe
from synesthete.types import InputError

EVERY = torch.arange(4)


class Listener(nn.Module):
    """A frozen encoder that hears how loud a sound is, and counts how many it was given."""

    sample_rate, has_fixed_features, reads, given = RATE, True, "audio_text", 0

    def identity(self):
        return {"model": "loudness"}

    def extract_features(self, raw):
        Listener.given += len(raw)
        return SoundAndText(sound=torch.stack([raw.sound.abs().mean(1), raw.sound.abs().amax(1)], dim=1))


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def one_line(caught):
    assert "\n" not in str(caught.value)


def test_class_pairs_are_prepared(tmp_path):
    write_classes(tmp_path / "in")
    recipe = tiny_hearing(folder=str(tmp_path / "in"))
    found = tasks.prepare(recipe, tmp_path / "out")
    assert found.class_names == ("cat", "dog")
    assert [len(part) for part in (found.train, found.classifier, found.test)] == [29, 7, 4]
    assert [len(part.sounds) for part in (found.train, found.test)] == [18, 2]
    assert found.speakers is None
    assert found.train.sounds.shape[1] == LENGTH  # a second at 4 kHz, of files of half a second at 8 kHz
    assert not found.train.sounds[0][LENGTH // 2 + 10 :].any()
    assert found.train.waveform(torch.tensor([0])).abs().max() > 0.1
    assert "20 of 20 sounds are shorter than 1 s, down to 0.5 s: silence follows them" in found.notes
    assert found.skipped == ()
    batch = found.train.batch(EVERY, drawn())
    assert isinstance(batch.raw, SoundAndText)
    assert (batch.signal.shape, batch.signal.dtype) == ((4, 3, 8, 8), torch.uint8)
    assert (batch.raw.sound.shape, batch.raw.sound.dtype) == ((4, LENGTH), torch.float32)
    codec = recipe.codec()
    codec.load_state_dict(found.statistics)
    x_0 = codec.encode(found.train.pictures[:])
    assert x_0.mean((0, 2, 3)).abs().max() < 1e-4
    conditioner = recipe.conditioner()
    assert torch.equal(batch.raw.text, conditioner.compose(prompts=read(found.train, batch)).text)
    assert len(conditioner.encode(batch.raw)) == 4


def read(samples, batch):
    """The captions of a batch as people read them."""
    ids = {tuple(row): text for row, text in zip(samples.texts.tolist(), samples.texts_read, strict=True)}
    return [ids[tuple(row)] for row in batch.raw.text.tolist()]


def test_captions_tell_the_looks(tmp_path):
    write_classes(tmp_path / "in")
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    assert set(found.train.texts_read) == {
        f"{c.format(light=w)}" for c in CAPTIONS for w in ("dark", "medium", "bright")
    }
    light = found.train.pictures[:].float().mean((1, 2, 3))
    for label in (0, 1):
        own = (found.train.labels == label).nonzero().flatten()
        darkest = own[light[own].argmin()]
        assert {found.train.texts_read[i].split()[-1] for i in found.train.captions[darkest][1:].tolist()} == {"dark"}
    told = {text for seed in range(20) for text in read(found.test, found.test.batch(EVERY, drawn(seed)))}
    assert any(text.startswith("a ") for text in told)
    assert any(text.startswith("something") for text in told)
    silent = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in"), captions=()), tmp_path / "out")
    assert silent.train.batch(EVERY, drawn()).raw.text is None


def test_a_manifests_own_captions_and_those_that_name_the_class(tmp_path):
    write_pairs(tmp_path / "in", 40, text="something bright")
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in"), captions="text"), tmp_path / "out")
    assert found.test.texts_read == ("something bright",)
    assert not any("name a class" in note for note in found.notes)
    recipe = tiny_hearing(folder=str(tmp_path / "in"), captions=("a {class}", "a picture"))
    recipe.conditioner.text.captions = ("a cat", "a dog", "a picture")
    named = tasks.prepare(recipe, tmp_path / "out")
    assert any(note.startswith("2 captions name a class") and "a cat, a dog" in note for note in named.notes)
    write_pairs(tmp_path / "bare", 40)
    with pytest.raises(InputError, match="no line of the manifest has a 'text'") as caught:
        tasks.prepare(tiny_hearing(folder=str(tmp_path / "bare"), captions="text"), tmp_path / "out")
    one_line(caught)


def test_fixed_pairs_stay_pairs_through_all_that_is_left_out(tmp_path):
    """A picture that cannot be read, a sound that cannot, a silent one: the others keep their own partners."""
    write_pairs(tmp_path / "in", 40)
    recipe = tiny_hearing(folder=str(tmp_path / "in"))
    tasks.prepare(recipe, tmp_path / "out")
    (tmp_path / "in" / "5.png").write_text("broken")
    (tmp_path / "in" / "6.wav").write_text("broken")
    write(tmp_path / "in" / "7.wav", np.zeros(4000, np.float32))
    write(tmp_path / "in" / "8.wav", np.full(4000, np.nan, np.float32), subtype="FLOAT")
    found = tasks.prepare(recipe, tmp_path / "out")
    assert len(found.skipped) == 4
    for name, reason in (("5.png", "no readable"), ("6.wav", "cannot be read"), ("7.wav", "silent"), ("8.wav", "NaN")):
        assert any(f"{name}: " in line and reason in line for line in found.skipped)
    assert sum(len(getattr(found, part)) for part in ("train", "classifier", "test")) == 36
    assert any(note.startswith("skipped 4 unusable files") for note in found.notes)
    number_of = {fitted(recipe, tmp_path / "in" / f"{i}.png"): i for i in range(40) if i != 5}
    for samples in (found.train, found.test):
        for place in range(len(samples)):
            (sound,) = samples.partners(place)
            own = torch.from_numpy(melody(0.5, 8000, number_of[samples.pictures[place].numpy().tobytes()]))[::2]
            heard = samples.waveform(torch.tensor([sound]))[0][: len(own)]
            assert torch.corrcoef(torch.stack([own, heard]))[0, 1] > 0.9


def fitted(recipe, path):
    return recipe.codec().preprocess([read_picture(path)])[0].numpy().tobytes()


def test_no_profile_is_measured_that_nobody_compares(tmp_path, monkeypatch):
    def measure_profile(*_):
        raise AssertionError("a profile was measured")

    monkeypatch.setattr("synesthete.data.waveforms.measure_profile", measure_profile)
    write_classes(tmp_path / "in", num_sounds=4)
    assert len(tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out").train)


def test_what_is_there_is_kept(tmp_path):
    write_classes(tmp_path / "in")
    recipe = tiny_hearing(folder=str(tmp_path / "in"))
    first = tasks.prepare(recipe, tmp_path / "out")
    before = files(tmp_path / "out")
    again = tasks.prepare(recipe, tmp_path / "out")
    assert files(tmp_path / "out") == before
    batches = [found.train.batch(EVERY, drawn(3)) for found in (first, again)]
    assert torch.equal(batches[0].raw.sound, batches[1].raw.sound)
    assert torch.equal(batches[0].signal, batches[1].signal)


def test_a_frozen_encoder_listens_once(tmp_path):
    write_classes(tmp_path / "in", num_sounds=5)
    write(tmp_path / "in" / "sounds" / "cat" / "silent.wav", np.zeros(4000, np.float32))
    recipe = tiny_hearing(folder=str(tmp_path / "in"), captions=(), sound_augmentation=build(AudioAugmentation))
    recipe.conditioner = build(Listener)
    recipe.data.seconds = 1.0
    Listener.given = 0
    found = tasks.prepare(recipe, tmp_path / "out")
    assert Listener.given == 11
    tasks.prepare(recipe, tmp_path / "out")
    assert Listener.given == 11
    for samples in (found.train, found.test):
        sound = samples.waveform(torch.arange(len(samples.sounds)))
        expected = torch.stack([sound.abs().mean(1), sound.abs().amax(1)], dim=1)
        torch.testing.assert_close(samples.heard[:], expected)
        batch = samples.batch(EVERY[:2], drawn())
        assert batch.raw.sound.shape == (2, 2)
    assert any("data.sound_augmentation is left out" in note for note in found.notes)
    assert found.train.sound_augmentation is None


def test_training_sounds_are_varied_and_held_out_ones_are_not(tmp_path):
    write_classes(tmp_path / "in", num_sounds=4)
    variation = build(AudioAugmentation, semitones=(5.0, 5.0), gain_db=(0.0, 0.0))
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in"), sound_augmentation=variation), tmp_path / "out")
    plain = found.train.plain().listened(EVERY, drawn())
    assert not torch.allclose(found.train.listened(EVERY, drawn()), plain, atol=0.05)
    assert torch.equal(found.test.listened(EVERY[:2], drawn()), found.test.waveform(EVERY[:2]))


def encoded_hearing(**data):
    """Pictures through an autoencoder."""
    network = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 2,
        "block_out_channels": [8, 8],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
        "kind": "AutoencoderKL",
    }
    recipe = tiny_hearing(**data)
    recipe.codec = build(AutoencoderCodec, model=None, network=network, size=8)
    return recipe


def test_an_autoencoders_latents_are_kept(tmp_path):
    write_classes(tmp_path / "in", num_sounds=4)
    recipe = encoded_hearing(folder=str(tmp_path / "in"), augmentation=build(FlipCrop))
    found = tasks.prepare(recipe, tmp_path / "out")
    assert found.train.x_0.shape == (29, 4, 2, 4, 4)
    assert found.test.x_0.shape == (4, 1, 2, 4, 4)
    batch = found.train.batch(EVERY, drawn())
    assert batch.encoded
    assert batch.signal.shape == (4, 2, 4, 4)
    assert found.classifier.x_0 is None
    assert len(found.classifier.pictures) == 7
    torch.rand(3)  # an autoencoder without published weights is the same, whatever was drawn before
    again = tasks.prepare(recipe, tmp_path / "again")
    assert torch.equal(again.train.x_0[:], found.train.x_0[:])
    assert all(torch.equal(again.statistics[name], kept) for name, kept in found.statistics.items())


def test_latents_are_of_their_own_pictures_when_others_come(tmp_path):
    """One more held out, and those to train on the other way round: what was kept of others is not taken for theirs."""
    write_pairs(tmp_path / "in", 13)
    lines = [json.loads(line) for line in (tmp_path / "in" / "metadata.jsonl").read_text().splitlines()]
    lines = [line | {"split": "test" if i < 5 else "train"} for i, line in enumerate(lines)]
    recipe = encoded_hearing(folder=str(tmp_path / "in"), classifier_share=0.0)
    for listed in (lines[1:], lines[::-1]):
        write_lines(tmp_path / "in", listed)
        found = tasks.prepare(recipe, tmp_path / "out")
        codec = recipe.codec()
        codec.load_state_dict(found.statistics)
        for part, num in ((found.train, 8), (found.test, len(listed) - 8)):
            assert len(part) == num
            with torch.inference_mode(), autocast(torch.device("cpu"), "auto"):  # as they were encoded
                expected = codec.encode(part.pictures[:]).float()
            torch.testing.assert_close(part.x_0[:][:, 0].float(), expected, atol=1e-2, rtol=1e-2)


def test_of_a_long_sound_the_loudest_stretch_is_heard(tmp_path):
    """A dog that barks after two seconds of nothing: its beginning alone would be thrown away as silent."""
    write_classes(tmp_path / "in", num_sounds=4)
    bark = np.concatenate([np.zeros(2 * RATE), melody(0.6, RATE, 3), np.zeros(RATE)]).astype(np.float32)
    write(tmp_path / "in" / "sounds" / "dog" / "late.wav", bark, RATE)
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    assert not found.skipped
    heard = torch.cat([part.waveform(torch.arange(len(part.sounds))) for part in (found.train, found.test)])
    whole = torch.from_numpy(bark)
    assert any(sound.square().sum() > 0.99 * whole.square().sum() and sound.shape == (LENGTH,) for sound in heard)
    torch.testing.assert_close(loudest_stretch(whole, LENGTH, RATE).square().sum(), whole.square().sum())
    assert torch.equal(loudest_stretch(whole[:LENGTH], LENGTH, RATE), whole[:LENGTH])
    assert len(loudest_stretch(whole, LENGTH, RATE)) == LENGTH


def test_speakers_never_heard_are_a_split_of_their_own(tmp_path):
    write_classes(tmp_path / "in", num_sounds=0)
    for number, name in enumerate(("cat", "dog")):
        for i in range(12):
            speaker = ("ann", "bob", "eve")[i % 3]
            write_melody(tmp_path / "in" / "sounds" / name / f"{speaker}_{i}.wav", 0.5, 100 * number + i)
    recipe = tiny_hearing(folder=str(tmp_path / "in"), speakers=("eve",))
    folders = ClassFolders(str(tmp_path / "in" / "pictures"), num_test=0)
    recipe.data.sources = (folders, SoundFolders(str(tmp_path / "in" / "sounds"), speaker=r"(\w+)_"))
    recipe.data.folder = None
    found = tasks.prepare(recipe, tmp_path / "out")
    assert set(found.speakers.speakers) == {"eve"}
    assert set(found.train.speakers) | set(found.test.speakers) == {"ann", "bob"}
    assert [len(found.speakers.sounds), len(found.speakers), found.train.num_speakers] == [8, 4, 2]
    assert torch.equal(found.speakers.pictures[:], found.test.pictures[:])


def test_balanced_batches(tmp_path):
    write_classes(tmp_path / "in")
    for i in range(14):
        (tmp_path / "in" / "pictures" / "cat" / f"{i}.png").unlink()
    recipe = tiny_hearing(folder=str(tmp_path / "in"), balanced_batches=True, num_classifier=2)
    found = tasks.prepare(recipe, tmp_path / "out")
    assert len(found.train) > len(found.train.pictures)
    batch = found.train.batch(torch.arange(len(found.train)), drawn())
    counts = torch.bincount(batch.label)
    assert counts[0] == counts[1]
    assert len(found.test) == len(found.test.pictures)


def test_a_class_whose_sounds_are_all_silent_is_refused(tmp_path):
    write_classes(tmp_path / "in", num_sounds=3)
    for i in range(3):
        write(
            tmp_path / "in" / "sounds" / "dog" / f"{i}.wav", np.full(4000, 1e-5 * (i + 1), np.float32), subtype="FLOAT"
        )
    with pytest.raises(
        InputError, match=r"class 'dog': pictures but no sound to train on \(.*: silent \(-\d+ dB\)"
    ) as caught:
        tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    one_line(caught)


def test_a_class_without_readable_pictures_is_refused(tmp_path):
    write_classes(tmp_path / "in", num_sounds=3)
    for i in range(20):
        (tmp_path / "in" / "pictures" / "dog" / f"{i}.png").write_text("broken")
    with pytest.raises(InputError, match="not one readable training picture of class 'dog'") as caught:
        tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    one_line(caught)


def test_nothing_held_out_is_refused(tmp_path):
    write_classes(tmp_path / "in", num_sounds=1)
    with pytest.raises(InputError, match=r"nothing is held out: .*raise data\.test_share") as caught:
        tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    one_line(caught)
    write_classes(tmp_path / "in", num_sounds=1, classes=("cat",))
    for i in range(5):
        write_melody(tmp_path / "in" / "sounds" / "cat" / f"more{i}.wav", 0.5, 50 + i)
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    assert "test leaves out 1 classes without a held-out sound: dog" in found.notes
    assert set(found.test.labels.tolist()) == {0}


def test_a_picture_in_two_splits_is_taken_out_of_training(tmp_path):
    write_classes(tmp_path / "in", num_sounds=4)
    first = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    for i in range(20):
        write_picture(tmp_path / "in" / "pictures" / "cat" / f"copy{i}.png", i)
    found = tasks.prepare(tiny_hearing(folder=str(tmp_path / "in")), tmp_path / "out")
    shown = [
        {part.pictures[i].numpy().tobytes() for i in range(len(part.pictures))}
        for part in (found.train, found.classifier, found.test)
    ]
    assert not shown[0] & shown[1]
    assert not (shown[0] | shown[1]) & shown[2]
    assert len(first.test) <= len(found.test)


def test_videos_are_cut_and_prepared(tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    rows = []
    for i in range(24):
        write_video(tmp_path / "clips" / f"v{i}_000010.mp4", i)
        label, split = ("thunder", "raining")[i % 2], "test" if i < 4 else "train"
        rows.append(f"v{i},10,{label},{split}\n")
    (tmp_path / "clips" / "v5_000010.mp4").write_text("corrupt")
    (tmp_path / "vggsound.csv").write_text("".join(rows))
    source = build(VggSound, list_file=str(tmp_path / "vggsound.csv"), clips=str(tmp_path / "clips"), num_frames=1)
    found = tasks.prepare(tiny_hearing(sources=(source,)), tmp_path / "out")
    assert found.class_names == ("rain", "thunder")
    assert (len(found.test), len(found.train) + len(found.classifier)) == (4, 19)
    assert any("v5_000010.mp4: no sound (moov atom not found)" in line for line in found.skipped)


def test_built_in_digits_are_told_by_built_in_voices(tmp_path, monkeypatch):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # no processes are started for so little
    words = {"one": "one", "two": "two"}
    recipe = tiny_hearing(
        sources=(build(BuiltInDigits, num_test=1700), build(SpokenWords, words=words, takes=1)),
        class_names=("one", "two"),
        captions=("something {weight}",),
    )
    recipe.conditioner.text.captions = ("something thin", "something medium", "something bold")
    found = tasks.prepare(recipe, tmp_path)
    assert found.train.num_speakers > 20
    assert not set(found.speakers.speakers) & (set(found.train.speakers) | set(found.test.speakers))
    assert set(found.speakers.sound_labels.tolist()) == {0, 1}
    assert len(found.train.sounds) + len(found.test.sounds) + len(found.speakers.sounds) == 76
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}
    tasks.prepare(recipe, tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.wav")}


def test_the_command_says_how_much_there_is(tmp_path):
    write_classes(tmp_path / "in", num_sounds=6)
    lines = [
        {
            "class": name,
            "audio": f"sounds/{name}/{i}.wav",
            "image": f"pictures/{name}/{i + k}.png",
            "speaker": "abc"[i % 3],
        }
        for name in ("cat", "dog")
        for i in range(6)
        for k in (0, 6, 12)
    ]
    write_lines(tmp_path / "in", lines)
    recipe = tiny_hearing(
        sources=(build(PairManifest, path=str(tmp_path / "in"), pairing="class"),), speakers=("c",), captions=()
    )
    (tmp_path / "tiny.yaml").write_text(recipe.to_yaml())
    arguments = ["prepare", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    values = json.loads(result.stdout.splitlines()[-1])
    assert values["train_pictures"] + values["classifier_pictures"] + values["test_pictures"] == 36
    assert values["train_sounds"] + values["test_sounds"] + values["speakers_sounds"] == 12
    assert (values["speakers_sounds"], values["speakers_speakers"], values["train_speakers"]) == (4, 1, 2)
    told = " ".join(CliRunner().invoke(app, arguments).stderr.split())
    assert "6 sounds of 2 speakers to train on" in told
    assert "that are in no other" in told


def test_settings_survive_yaml(tmp_path):
    recipe = tiny_hearing(
        folder=str(tmp_path / "later"), speakers=("a",), captions=CAPTIONS, seconds=0.5, balanced=True
    )
    (tmp_path / "tiny.yaml").write_text(recipe.to_yaml())
    again = find_recipe(str(tmp_path / "tiny.yaml"))
    assert again.data == recipe.data
    assert isinstance(again.data(), AudioImagePairs)  # the folder is looked at when it is needed
    with pytest.raises(InputError, match=r"later: no such folder; give one with a metadata\.jsonl"):
        tasks.prepare(again, tmp_path / "out")
