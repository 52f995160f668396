"""Videos become pairs, with an ffmpeg that the tests write."""

from __future__ import annotations

import time

import numpy as np
import pytest
import soundfile

from paired_files import fake_ffmpeg, write_video
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.videos import Videos
from synesthete.types import InputError


def quiet(*_):
    """Nobody watches."""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    log = fake_ffmpeg(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return log


def clips(folder, *names):
    for seed, name in enumerate(names):
        write_video(folder / name, seed)
    return folder


def test_every_video_gives_a_sound_and_frames_that_belong_to_it(tmp_path, calls):
    root = clips(tmp_path / "in", "dog/a.mp4", "dog/deep/b.webm", "cat/-c: 1.mkv")
    seen = []
    found = Videos(str(root), num_frames=2).pairs(tmp_path / "out", lambda *told: seen.append(told))
    assert [sound.label for sound in found.sounds] == ["cat", "dog", "dog"]
    assert found.pairs == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    assert len({picture.place for picture in found.pictures}) == 6
    assert all(sound.recording.num_samples() == 4000 for sound in found.sounds)
    assert found.pictures[0].picture.read().size == (12, 12)
    assert seen[-1] == ("videos cut", 3, 3)
    asked = sorted(line.rsplit(" ", 2)[1:] for line in calls.read_text().splitlines() if "a.mp4" in line)
    assert asked == [["", "flac"], ["0.125", "jpg"], ["0.375", "jpg"]]


def test_what_is_cut_is_kept_until_the_video_changes(tmp_path, calls):
    root = clips(tmp_path / "in", "dog/a.mp4", "cat/b.mp4")
    Videos(str(root)).pairs(tmp_path / "out", quiet)
    before = calls.read_text()
    Videos(str(root)).pairs(tmp_path / "out", quiet)
    assert calls.read_text() == before
    (root / "dog" / "a.mp4").write_text("another video")
    Videos(str(root)).pairs(tmp_path / "out", quiet)
    assert len(calls.read_text().splitlines()) == len(before.splitlines()) + 2


def test_without_ffmpeg_it_is_one_clear_line_unless_all_is_cut(tmp_path, calls, monkeypatch):
    root = clips(tmp_path / "in", "dog/a.mp4")
    Videos(str(root)).pairs(tmp_path / "out", quiet)
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert len(Videos(str(root)).pairs(tmp_path / "out", quiet).sounds) == 1
    with pytest.raises(InputError, match="ffmpeg: not found on the PATH; install it") as caught:
        Videos(str(root)).pairs(tmp_path / "elsewhere", quiet)
    assert "\n" not in str(caught.value)


def test_bad_videos_are_left_out_each_with_a_reason(tmp_path, calls):
    root = clips(tmp_path / "in", "dog/good.mp4", "dog/broken.mp4", "dog/mute.mp4", "dog/blind.mp4", "dog/empty.mp4")
    (root / "dog" / "broken.mp4").write_text("corrupt")
    (root / "dog" / "mute.mp4.flac").unlink()
    (root / "dog" / "blind.mp4.jpg").unlink()
    soundfile.write(root / "dog" / "empty.mp4.flac", np.zeros(0), 8000, format="WAV")
    found = Videos(str(root)).pairs(tmp_path / "out", quiet)
    assert [sound.group for sound in found.sounds] == ["dog/good.mp4"]
    reasons = {line.split(":")[0].rsplit("/")[-1]: line for line in found.skipped}
    assert "no sound (moov atom not found); copy the video again or remove it" in reasons["broken.mp4"]
    assert "no sound; copy the video again" in reasons["mute.mp4"]
    assert "no frame at 0.2 s; copy" in reasons["blind.mp4"]
    assert "no sound (0 samples)" in reasons["empty.mp4"]
    assert not list((tmp_path / "out" / "cut").glob(".partial*"))
    with pytest.raises(InputError, match=r"not one of 1 videos can be cut; the first: .*moov atom"):
        (tmp_path / "bad" / "dog").mkdir(parents=True)
        (root / "dog" / "broken.mp4").rename(tmp_path / "bad" / "dog" / "broken.mp4")
        Videos(str(tmp_path / "bad")).pairs(tmp_path / "out", quiet)


def test_a_video_that_hangs_is_given_up(tmp_path, calls, monkeypatch):
    root = clips(tmp_path / "in", "dog/a.mp4")
    (tmp_path / "bin" / "ffmpeg").write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr("synesthete.data.videos.PATIENCE", 0.2)
    first = time.perf_counter()
    with pytest.raises(InputError, match="longer than 0 s"):
        Videos(str(root)).pairs(tmp_path / "out", quiet)
    assert time.perf_counter() - first < 25


def test_split_folders_are_the_splits(tmp_path, calls):
    root = clips(tmp_path / "in", "train/dog/a.mp4", "test/dog/b.mp4")
    found = Videos(str(root)).pairs(tmp_path / "out", quiet)
    assert {(sound.label, sound.split) for sound in found.sounds} == {("dog", "train"), ("dog", "test")}
    with pytest.raises(InputError, match="no class folders with videos in it"):
        Videos(str(tmp_path / "bin")).pairs(tmp_path, quiet)
    with pytest.raises(InputError, match="no such folder"):
        Videos(str(tmp_path / "nowhere")).pairs(tmp_path, quiet)
    with pytest.raises(InputError, match="num_frames 0"):
        Videos(num_frames=0)


def test_a_folder_of_videos_is_known_as_such_and_a_video_is_in_one_split(tmp_path, calls):
    root = clips(tmp_path / "in", *(f"{name}/{i}.mp4" for name in ("cat", "dog") for i in range(12)))
    data = AudioImagePairs(sources=(Videos(str(root), num_frames=2),))
    listing = data.pairs(tmp_path / "out")
    of_video = {}
    for picture, sound in listing.found.pairs:
        of_video.setdefault(sound, set()).update({listing.picture_parts[picture], listing.sound_parts[sound]})
    assert {len(parts) for parts in of_video.values()} == {1}
    assert {"train", "classifier", "test"} == {next(iter(parts)) for parts in of_video.values()}


def test_ffmpeg_may_open_nothing_but_the_video(tmp_path, calls):
    """A list of files or addresses may be called a video; ffmpeg is told to take neither before its name."""
    (tmp_path / "bin" / "ffmpeg").write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit 1\n')
    with pytest.raises(InputError, match="not one of 1 videos can be cut"):
        Videos(str(clips(tmp_path / "in", "dog/a.mp4"))).pairs(tmp_path / "out", quiet)
    before, _, after = calls.read_text().partition(" -i ")
    assert "-protocol_whitelist file " in f"{before} "
    assert "hls" not in before and "concat" not in before and "-format_whitelist mov,mp4," in before
    assert after.startswith("file:")
