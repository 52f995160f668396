"""Recordings listed, opened and decoded, of any kind and however broken."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

from sound_files import melody, write, write_melody
from synesthete.data import audio as audio_module
from synesthete.data import recordings as recordings_module
from synesthete.data.audio import as_float
from synesthete.data.recordings import Recording, Recordings, open_recording, open_recordings
from synesthete.data.synthetic import TIMBRES, Tones
from synesthete.data.waveforms import Decoder, keep_waveforms, read_shard
from synesthete.types import InputError

RATE = 8000


def decode(path, sample_rate=RATE):
    """(samples int16, the decoder with what it found)."""
    decoder = Decoder(Recording(str(path), path.name), sample_rate)
    return np.concatenate([np.zeros(0, np.int16), *decoder]), decoder


def loudest_hz(samples, rate=RATE):
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


def test_a_folder_is_listed_with_the_folders_in_it_and_nothing_else(tmp_path):
    for name in ("b.wav", "a.FLAC", "deep/er/c.ogg", ".hidden.wav", ".trash/d.wav"):
        write_melody(tmp_path / name, 0.5)
    (tmp_path / "notes.txt").write_text("no sound")
    found = Recordings(str(tmp_path)).recordings()
    assert [recording.place for recording in found] == ["a.FLAC", "b.wav", "deep/er/c.ogg"]
    chosen = Recordings(str(tmp_path), patterns=("deep/*", "b*")).recordings()
    assert [recording.place for recording in chosen] == ["b.wav", "deep/er/c.ogg"]
    assert [recording.place for recording in Recordings(str(tmp_path / "b.wav")).recordings()] == ["b.wav"]
    assert Recordings().recordings() == []


@pytest.mark.parametrize(
    ("make", "patterns", "message"),
    [
        (False, ("*",), r"no such folder; give one with recordings in it \(\.wav"),
        (True, ("*",), r"no recordings in it; put some there"),
        (True, ("loop_*",), r"none of 1 recordings fits loop_\*; mend the patterns"),
    ],
)
def test_a_source_without_sound_says_so_in_one_line(tmp_path, make, patterns, message):
    folder = tmp_path / "folder"
    if make:
        folder.mkdir()
    if patterns != ("*",):
        write_melody(folder / "a.wav", 0.5)
    with pytest.raises(InputError, match=message) as caught:
        Recordings(str(folder), patterns).recordings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (44_100, 2), (48_000, 6), (96_000, 1)])
def test_any_format_rate_and_channels_become_mono_at_the_rate(tmp_path, suffix, rate, channels):
    if suffix == "mp3" and (rate > 48_000 or channels > 2):
        pytest.skip("MP3 has no such sound")
    time = np.arange(rate) / rate
    sound = np.zeros((rate, channels), np.float32)
    sound[:, 0] = 0.4 * np.sin(2 * np.pi * 440 * time)  # in one channel: the mean is 1 / channels of it
    samples, decoder = decode(write(tmp_path / f"a.{suffix}", sound, rate))
    assert len(samples) == pytest.approx(RATE, abs=256 if suffix == "ogg" else 1)  # of ogg, FFmpeg counts by packets
    assert samples.dtype == np.int16
    assert decoder.own_rate == rate
    assert not decoder.note
    middle = samples[2000:6000] / 32768
    assert loudest_hz(middle) == pytest.approx(440, abs=3)
    if suffix != "mp3":  # which keeps less of a tone
        assert middle.std() * 2**0.5 == pytest.approx(0.4 / channels, rel=0.02)


def test_the_resampling_does_not_depend_on_the_blocks(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", melody(2.0, 44_100), 44_100, subtype="FLOAT")
    whole, _ = decode(path)
    monkeypatch.setattr(audio_module, "BLOCK", 1000)
    parts, _ = decode(path)
    np.testing.assert_array_equal(whole, parts)


def test_a_long_recording_is_never_whole_in_memory(tmp_path, monkeypatch):
    """Two hours, six channels: the largest block that is ever read is a fraction of a megabyte."""
    path, rate, seconds = tmp_path / "mix.flac", 400, 7500
    second = np.repeat(melody(1.0, rate)[:, None], 6, axis=1)
    with soundfile.SoundFile(path, "w", rate, 6) as file:
        for _ in range(seconds // 100):
            file.write(np.tile(second, (100, 1)))
    monkeypatch.setattr(audio_module, "BLOCK", 2**14)
    sizes = []

    class Watched(Recording):
        def blocks(self):
            for block in super().blocks():
                sizes.append(block.nbytes)
                yield block

    (found,) = keep_waveforms(tmp_path / "shard.safetensors", [Watched(str(path), "mix.flac")], rate)
    assert len(found.samples) == seconds * rate
    assert sum(sizes) == 4 * 6 * seconds * rate
    assert max(sizes) <= 4 * 6 * 2**15
    written = as_float(found.samples[-3 * rate :]).numpy()
    np.testing.assert_allclose(written, np.tile(second[:, 0], 3), atol=1e-4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"these are words, not sound\n" * 50, r"cannot be read as sound \(.+\); give wav, flac, ogg or mp3"),
        (b"", r"cannot be read as sound"),
        (None, r"0 samples; record it again or remove it"),
    ],
    ids=["text", "empty", "0 samples"],
)
def test_what_is_no_sound_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "a.wav"
    if content is None:
        write(path, np.zeros(0, np.float32))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        Recording(str(path), "a.wav").num_samples()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    samples, decoder = decode(path)
    assert not len(samples)
    assert str(path) in decoder.note


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_of_a_truncated_file_what_can_be_decoded_is_used(tmp_path, suffix):
    rate = 16_000
    path = write(tmp_path / f"a.{suffix}", melody(8.0, rate), rate)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    samples, decoder = decode(path, rate)
    assert len(samples) == Recording(str(path), path.name).num_samples()
    assert str(path) in decoder.note
    assert 3 < len(samples) / rate < 6
    np.testing.assert_allclose(np.abs(samples[: 2 * rate]).max() / 32768, np.abs(melody(8.0, rate)).max(), rtol=0.2)


def test_samples_that_are_not_finite_are_kept_out_of_the_others(tmp_path):
    sound = melody(4.0)
    sound[9000:9010], sound[20_000] = np.nan, np.inf
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    samples, decoder = decode(path, 4000)
    clean, _ = decode(write(tmp_path / "b.wav", melody(4.0), subtype="FLOAT"), 4000)
    assert [(a // 100, b // 100) for a, b in decoder.damaged] == [(45, 45), (100, 100)]
    far = np.ones(len(samples), bool)
    for first, last in decoder.damaged:
        far[first - 200 : last + 200] = False
    np.testing.assert_allclose(samples[far], clean[far], atol=2)


def test_sound_above_full_scale_is_clipped_and_said(tmp_path):
    path = write(tmp_path / "a.wav", 8 * melody(1.0), subtype="FLOAT")
    samples, decoder = decode(path)
    assert (samples.min(), samples.max()) == (-32768, 32767)
    assert "above full scale, clipped" in decoder.note


def test_copies_have_one_content_and_a_changed_sample_another(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings_module, "HASHED_BYTES", 4096)
    a = write_melody(tmp_path / "a.wav", seed=1)
    (tmp_path / "b.wav").write_bytes(a.read_bytes())
    write_melody(tmp_path / "c.wav", seed=2)
    contents = [Recording(str(tmp_path / f"{name}.wav"), "").content() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_a_shard_is_kept_until_it_is_damaged(tmp_path):
    files = [write_melody(tmp_path / f"{name}.wav", 1.0) for name in "ab"]
    (tmp_path / "no.wav").write_text("words")
    files.insert(1, tmp_path / "no.wav")
    recordings = [Recording(str(path), path.name) for path in files]
    shard = tmp_path / "kept" / "shard.safetensors"
    made = keep_waveforms(shard, recordings, RATE)
    assert [len(waveform.samples) for waveform in made] == [RATE, 0, RATE]
    assert "cannot be read as sound" in made[1].note
    before = shard.read_bytes()
    for path in files:
        path.unlink()
    again = keep_waveforms(shard, recordings, RATE)
    assert torch.equal(again[2].samples, made[2].samples)
    shard.write_bytes(before[: len(before) // 2])
    write_melody(files[0], 1.0)
    assert [len(waveform.samples) for waveform in keep_waveforms(shard, recordings, RATE)] == [RATE, 0, 0]
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_profiles_are_there_where_they_are_asked_for(tmp_path):
    """Whichever was asked for first: a shard without them is made again, one with them is good for both."""
    path = write_melody(tmp_path / "a.wav", 1.0)
    shard, recordings = tmp_path / "shard.safetensors", [Recording(str(path), path.name)]
    [without] = keep_waveforms(shard, recordings, RATE, profiled=False)
    small = shard.stat().st_size
    [asked] = keep_waveforms(shard, recordings, RATE)
    before = shard.stat()
    [again] = keep_waveforms(shard, recordings, RATE, profiled=False)
    assert asked.profile is not None and without.profile is None and again.profile is None
    assert small < before.st_size and shard.stat().st_mtime_ns == before.st_mtime_ns
    for waveform in (without, again):
        assert torch.equal(waveform.samples, asked.samples) and torch.equal(waveform.energy, asked.energy)


def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = write_melody(tmp_path / "a.wav", 1.0)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synesthete.data.waveforms.measure_energy", full)
    shard = tmp_path / "kept" / "shard.safetensors"
    with pytest.raises(InputError, match=r"cannot be written \(.*No space left.*\); free some space") as caught:
        keep_waveforms(shard, [Recording(str(path), path.name)], RATE)
    assert "\n" not in str(caught.value)
    assert list(shard.parent.iterdir()) == []
    assert path.is_file()


def test_a_shard_opens_in_other_programs(tmp_path):
    """Its header is written last, after samples that were streamed; the format allows no gap and no overlap."""
    from safetensors.torch import load_file

    path = write_melody(tmp_path / "a.wav", 1.0)
    shard = tmp_path / "shard.safetensors"
    keep_waveforms(shard, [Recording(str(path), path.name)], RATE)
    tensors = load_file(shard)
    assert tensors["samples"].shape == (RATE,)
    assert torch.equal(tensors["samples"], read_shard(shard)[0].samples)


def test_tones_sound_different_and_always_the_same():
    found = Tones(num=2, seconds=1.0, sample_rate=RATE).recordings()
    assert len({recording.content() for recording in found}) == 2 * len(TIMBRES)
    played = [np.concatenate(list(recording.blocks())) for recording in found]
    for recording, samples in zip(found, played, strict=True):
        assert (recording.sample_rate, recording.num_samples()) == (RATE, RATE)
        assert samples.shape == (RATE, 1)
        assert 0.25 < np.abs(samples).max() <= 0.9
        np.testing.assert_array_equal(samples, np.concatenate(list(recording.blocks())))
    flatness = {
        recording.timbre: np.exp(np.log(power).mean()) / power.mean()
        for recording, samples in zip(found, played, strict=True)
        if len(power := np.abs(np.fft.rfft(samples[:, 0])) ** 2 + 1e-6)
    }
    assert max(flatness["organ"], flatness["plucked"]) < min(flatness["drum"], flatness["noise"])


def test_what_was_opened_is_not_opened_again_until_it_changes(tmp_path, monkeypatch):
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", np.full(800 + number, 0.1), 8000)
    (tmp_path / "4.wav").write_bytes(b"no sound")
    kept, opened = tmp_path / "opened.jsonl", []
    found = Recordings(str(tmp_path)).recordings()
    first = open_recordings(found, kept=kept)
    assert [isinstance(one, str) for one in first] == [False] * 4 + [True]
    assert first[:4] == open_recordings(found)[:4]
    monkeypatch.setattr(
        "synesthete.data.recordings.open_recording", lambda one: opened.append(one.place) or open_recording(one)
    )
    assert open_recordings(found, kept=kept) == first and opened == ["4.wav"]  # it may have been mended
    soundfile.write(tmp_path / "2.wav", np.full(1600, 0.2), 8000)
    kept.write_bytes(kept.read_bytes()[:-9])  # killed in the middle of a line
    again = open_recordings(found, kept=kept)
    assert {"2.wav", "4.wav"} <= {*opened[1:]} and len(opened) <= 4
    assert again == open_recordings(found) and again[2] != first[2]
