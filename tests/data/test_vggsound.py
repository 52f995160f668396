"""VGGSound: its list and its clips."""

from __future__ import annotations

import pytest

from paired_files import fake_ffmpeg, write_video
from synesthete.data.audio_image_pairs import AudioImagePairs
from synesthete.data.found_pairs import divide_pairs
from synesthete.data.videos import EIGHT, VggSound, read_rows
from synesthete.recipes import find_recipe
from synesthete.types import InputError

LINES = """--abc,30,dog barking,train
--abc,90,dog barking,train
def,0,"engine accelerating, revving, vroom",test
ghi,7,sea waves,train
jkl,1,ocean burbling,train
mno,1,playing tennis,train
gone,5,thunder,train
"""


def quiet(*_):
    """Nobody watches."""


@pytest.fixture
def files(tmp_path, monkeypatch):
    log = fake_ffmpeg(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    (tmp_path / "vggsound.csv").write_text(LINES)
    names = ("--abc_000030.mp4", "--abc_90.mp4", "def.mkv", "sub/ghi_7_17.mp4", "jkl_000001.mp4", "mno_000001.mp4")
    for seed, name in enumerate(names):
        write_video(tmp_path / "clips" / name, seed)
    return tmp_path, log


def source(folder, **fields):
    return VggSound(str(folder / "vggsound.csv"), str(folder / "clips"), **fields)


def test_clips_of_the_eight_classes_are_found_by_any_of_their_names(files):
    folder, log = files
    found = source(folder).pairs(folder / "out", quiet)
    assert [(s.label, s.group, s.split) for s in found.sounds] == [
        ("dog_barking", "--abc", "train"),
        ("dog_barking", "--abc", "train"),
        ("engine", "def", "test"),
        ("ocean_waves", "ghi", "train"),
        ("ocean_waves", "jkl", "train"),
    ]
    assert found.notes == [f"1 of 6 clips of {folder / 'vggsound.csv'} are not there: gone_000005, ..."]
    calls = log.read_text()
    assert "def.mkv 0 flac" in calls  # the whole video is cut at the start that the list tells
    assert "ghi_7_17.mp4  flac" in calls  # a clip that is cut already is not


def test_two_clips_of_a_video_are_in_one_split(files):
    folder, _ = files
    found = source(folder).pairs(folder / "out", quiet)
    contents = [str(i) for i in range(len(found.sounds))]
    for share in (0.1, 0.5):
        picture_parts, sound_parts = divide_pairs(found, contents, share, share)
        assert sound_parts[0] == sound_parts[1] == picture_parts[0]
        assert sound_parts[2] == "test"


def test_all_labels_or_a_choice_of_ones_own(files):
    folder, _ = files
    everything = source(folder, classes=None).pairs(folder / "out", quiet)
    assert {s.label for s in everything.sounds} >= {"playing tennis", "engine accelerating, revving, vroom"}
    sport = source(folder, classes={"sport": ("playing tennis",)}).pairs(folder / "out", quiet)
    assert [s.label for s in sport.sounds] == ["sport"]
    with pytest.raises(InputError, match="no line of 'playing tenis'; did you mean 'playing tennis'"):
        source(folder, classes={"sport": ("playing tennis", "playing tenis")}).pairs(folder, quiet)


def test_eight_classes_of_labels_that_are_in_one_each():
    labels = [label for own in EIGHT.values() for label in own]
    assert len(EIGHT) == 8
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"abc,1,dog barking,train\nabc,one,dog barking,train\n", r"vggsound\.csv:2: not \(YouTube id, start, label"),
        (b"abc,1,dog barking\n", r"vggsound\.csv:1: not \("),
        (b"abc,1,dog barking,maybe\nx,1,dog barking,maybe\n", r"vggsound\.csv:2"),
        (b"\xff\xfe\x00PNG\x00", "cannot be read as a list"),
        (b"", "no lines; copy it again"),
        (b"youtube_id,start,label,split\n", "no lines"),
    ],
)
def test_a_list_that_cannot_be_read_is_one_line(tmp_path, content, reason):
    path = tmp_path / "vggsound.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason) as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)


def test_a_row_of_column_names_is_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffid,start,label,split\nabc,1,dog barking,train\n")
    assert [row.video for row in read_rows(tmp_path / "a.csv")] == ["abc"]


def test_missing_places_are_named(files):
    folder, _ = files
    with pytest.raises(InputError, match="no such file; VGGSound's list is in https"):
        VggSound(str(folder / "no.csv"), str(folder / "clips")).pairs(folder, quiet)
    with pytest.raises(InputError, match="no such folder; give the one of the videos"):
        VggSound(str(folder / "vggsound.csv")).pairs(folder, quiet)
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=r"none of 6 clips in it, such as --abc_000030\.mp4"):
        VggSound(str(folder / "vggsound.csv"), str(folder / "empty")).pairs(folder, quiet)
    with pytest.raises(InputError, match="no line of yodelling"):
        source(folder, classes={"a": ("yodelling",)}).pairs(folder, quiet)
    assert not VggSound().pairs(folder, quiet).sounds


def test_what_to_set_is_said_where_no_list_is_given(tmp_path):
    settings = "--set data.sources.vggsound.list_file=vggsound.csv --set data.sources.vggsound.clips=FOLDER"
    with pytest.raises(InputError, match=f"no pictures; --set data.folder=FOLDER .*, or {settings}$") as caught:
        AudioImagePairs(sources=(VggSound(),)).pairs(tmp_path)
    assert "\n" not in str(caught.value)
    recipe = find_recipe("audio-to-image")
    for setting in settings.replace("--set ", "").split():
        recipe.set(setting)
    assert recipe.data.sources[0].clips == "FOLDER"
