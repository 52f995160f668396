"""Sounds of every kind, read whole, in blocks and for their length; the files are made by other libraries."""

from __future__ import annotations

import os
import shutil
from functools import partial

import numpy as np
import pytest
from benchmarks.sounds_vs_ffmpeg import (
    KINDS,
    changed,
    cut,
    decibels,
    flac,
    joined,
    judge,
    make_file,
    mp3,
    opus,
    read,
    same_mp3,
    same_vorbis,
    vbr,
    vorbis,
    wav,
    with_total,
)

from sound_files import melody, write
from synesthete.data import audio as audio_module
from synesthete.data.audio import SoundFile, missing_pages, read_audio
from synesthete.data.recordings import Recording
from synesthete.data.waveforms import keep_waveforms
from synesthete.types import InputError

LOSSLESS = ("wav", "aiff", "w64", "au", "caf", "flac")
BROKEN = ("cut short", "damaged", "other rates", "promises", "big-endian")
# Nothing in these tells the delay of their encoder, or FFmpeg does not heed it in the second part.
DELAYED = ("no header", "reservoir", "mp2", "mp3 joined", "chained")


def least_decibels(kind):
    """That the error of a kind is below the sound at the least: a shift by a few samples takes it below zero."""
    return 20 if kind.startswith(LOSSLESS) and "ADPCM" not in kind and "GSM" not in kind else 1


@pytest.mark.parametrize("number", range(len(KINDS)), ids=list(KINDS))
def test_a_file_is_the_same_whole_and_in_blocks_as_it_was_written(tmp_path, number, monkeypatch):
    """And as ffmpeg decodes it, where that is installed."""
    monkeypatch.setattr(audio_module, "BLOCK", 3000)
    kind = list(KINDS)[number]
    path, written = make_file(tmp_path, kind, number, seed=0)
    right, said = judge(path, shutil.which("ffmpeg"))
    assert right, said
    if any(word in kind for word in BROKEN):
        return
    whole, blocks, num_samples = read(path)
    np.testing.assert_array_equal(whole, blocks)
    found = whole.reshape(num_samples, -1).mean(axis=1)  # the order of six channels is the kind's own
    if any(word in kind for word in DELAYED) or kind == "opus":  # which is 48 kHz, whatever went in
        return
    if "ADPCM" in kind or "GSM" in kind:  # in packets, of which the last is filled up
        assert 0 <= len(found) - len(written) < 2048
        found = found[: len(written)]
    assert decibels(found, written.mean(axis=1)) > least_decibels(kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if any(word in kind for word in BROKEN[:4])])
def test_what_is_left_of_a_broken_file_is_given_before_it_is_said(tmp_path, kind):
    path, _ = make_file(tmp_path, kind, 5, seed=2)
    recording, num = Recording(str(path), ""), 0
    try:
        for block in recording.blocks():
            num += len(block)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error) and ";" in str(error)
    else:
        assert kind in ("mp3 damaged", "vorbis damaged")  # which are as long as they should be
    assert num == recording.num_samples() > 0


@pytest.mark.parametrize(("make", "num_parts"), [(same_vorbis, 2), (same_mp3, 2)], ids=["ogg", "mp3"])
def test_of_joined_files_all_parts_are_heard(tmp_path, make, num_parts):
    path = tmp_path / "joined"
    written = joined(path, np.random.default_rng(0), make)
    rate = 44_100
    found = read_audio(path, rate, mono=False).numpy().T
    assert len(found) == pytest.approx(len(written), abs=2 * 2304)
    last = found[-rate // 4 :]
    assert np.square(last).mean() == pytest.approx(np.square(written[-rate // 4 :]).mean(), rel=0.3)


@pytest.mark.parametrize(
    ("make", "harm", "words"),
    [
        (vorbis, partial(cut, 0.6), "its last page is missing"),
        (opus, partial(cut, 0.95), "its last page is missing"),
        (opus, lambda content: content[: content.rindex(b"OggS")], "its last page is missing"),
        (mp3, partial(cut, 0.6), "it counts"),
        (partial(mp3, **vbr(2)), partial(cut, 0.6), "it counts"),
    ],
    ids=["vorbis", "opus", "a page", "mp3", "variable"],
)
def test_what_seems_cut_short_is_read_and_said(tmp_path, caplog, make, harm, words):
    """Containers that only estimate are no reason to refuse a sound, and none to say nothing."""
    path = tmp_path / "a"
    make(path, np.random.default_rng(2))
    assert len(read_audio(path, 16_000)) and not caplog.records
    path.write_bytes(harm(path.read_bytes()))
    found = read_audio(path, 16_000)
    [line] = [record.getMessage() for record in caplog.records]
    assert f"{path}: seems cut short, {len(found) / 16_000:.1f} s are there (" in line and words in line
    [waveform] = keep_waveforms(tmp_path / "shard", [Recording(str(path), "a")], 16_000)
    assert waveform.note == line and len(waveform.samples) == len(found)


def test_pages_that_are_missing_are_counted_also_of_joined_files(tmp_path):
    path = tmp_path / "a.ogg"
    joined(path, np.random.default_rng(0), same_vorbis)
    assert missing_pages(path.read_bytes()) == ""
    pages = path.read_bytes().split(b"OggS")
    path.write_bytes(b"OggS".join([*pages[:4], *pages[5:]]))
    assert missing_pages(path.read_bytes()) == "pages missing: 1"


def test_a_promise_in_a_header_costs_nothing(tmp_path):
    path = tmp_path / "a.flac"
    written = changed(path, np.random.default_rng(0), flac, partial(with_total, 2**36 - 1))
    assert Recording(str(path), "").num_samples() == len(written)
    with pytest.raises(InputError, match=r"cut short or damaged, \d\.\d of \d+\.\d s can be decoded; copy it"):
        read_audio(path, 24_000)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\nfile://{}\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_a_list_of_files_is_no_sound(tmp_path, text):
    """FFmpeg reads such lists whatever they are called, and would open what they name."""
    inner, path = tmp_path / "secret.mp3", tmp_path / "innocent.wav"
    mp3(inner, np.random.default_rng(0))
    path.write_text(text.format(inner))
    with pytest.raises(InputError, match="cannot be read as sound"):
        read_audio(path, 24_000)


def test_sound_is_found_by_its_content_under_any_name(tmp_path):
    for name, make in (("a:b.wav", mp3), ("%03d.mp3", wav), ("file", vorbis), (os.fsdecode(b"\xff\xfe.ogg"), flac)):
        written = make(tmp_path / "made", np.random.default_rng(1))
        (tmp_path / "made").rename(tmp_path / name)
        with SoundFile(tmp_path / name) as file:
            assert file.num_channels == written.shape[1]
            assert file.num_samples() == len(written)


def test_what_is_too_long_to_be_read_whole_is_refused_before_it_is(tmp_path, monkeypatch):
    path = write(tmp_path / "a.flac", melody(3.0))
    monkeypatch.setattr(audio_module, "MOST", 8000)
    monkeypatch.setattr(audio_module, "BLOCK", 1000)
    with pytest.raises(InputError, match="longer than can be read whole"):
        read_audio(path, 8000)
    assert Recording(str(path), "").num_samples() == 24_000


@pytest.mark.parametrize("rate", [0, 3, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused(tmp_path, rate):
    path = write(tmp_path / "a.wav", melody(0.5))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as sound"):
        read_audio(path, 8000)
