"""Pictures with sounds: what is found, which split it goes to, and what a batch pairs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from paired_files import write_classes, write_lines, write_pairs, write_picture
from sound_files import write_melody
from synesthete.data.audio_image_pairs import AudioImagePairs, AudioImageSamples
from synesthete.data.files import read_manifest
from synesthete.data.found_pairs import AudioEntry, FoundPairs, ImageEntry, divide_pairs
from synesthete.data.pair_sources import Fsdd, PairManifest, SoundFolders
from synesthete.data.picture import PictureFile
from synesthete.data.pictures import DIGITS, ClassFolders
from synesthete.data.recordings import Recording
from synesthete.types import InputError

PARTS = ("train", "classifier", "test", "speakers")


def quiet(*_):
    """Nobody watches."""


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


def told(sound, text, precomputed):
    return sound, text


def samples(labels, sound_labels, **fields):
    """Pictures whose pixels are their number, sounds whose samples are theirs."""
    labels, sound_labels = torch.tensor(labels), torch.tensor(sound_labels)
    pictures = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    sounds = torch.arange(len(sound_labels), dtype=torch.int16)[:, None].expand(-1, 5)
    return AudioImageSamples(pictures, labels, sounds, sound_labels, told, **fields)


def heard_in(batch):
    return (batch.raw[0][:, 0] * 32768).long()


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_picture_is_told_with_sounds_of_its_class_alone():
    pairs = samples([0, 1, 0, 1, 1], [0, 0, 0, 1, 1])
    seen = set()
    for seed in range(30):
        batch = pairs.batch(torch.tensor([0, 1, 2, 3, 4]), drawn(seed))
        assert torch.equal(pairs.sound_labels[heard_in(batch)], batch.label)
        assert torch.equal(batch.signal[:, 0, 0, 0].long(), torch.arange(5))
        seen |= set(heard_in(batch).tolist())
    assert seen == {0, 1, 2, 3, 4}


def test_a_fixed_pair_stays_a_pair():
    own = torch.tensor([[0, 2], [0, 1], [1, 4]])
    pairs = samples([0, 1, 1], [0, 0, 0, 1, 1], pairs=own)
    heard = torch.stack([heard_in(pairs.batch(torch.arange(3), drawn(seed))) for seed in range(40)])
    assert set(heard[:, 0].tolist()) == {1, 2}
    assert set(heard[:, 1].tolist()) == {4}
    assert set(heard[:, 2].tolist()) == {3, 4}  # in no pair: any sound of its class
    assert pairs.partners(0) == [2, 1]


def test_a_batch_is_a_function_of_its_generator():
    pairs = samples([0] * 8, [0] * 50, captions=torch.tensor([[0, 1]] * 8), texts=torch.tensor([[5, 6], [7, 8]]))
    first, again, other = (pairs.batch(torch.arange(8), drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(heard_in(first), heard_in(again))
    assert torch.equal(first.raw[1], again.raw[1])
    assert not torch.equal(heard_in(first), heard_in(other))
    assert set(map(tuple, first.raw[1].tolist())) == {(5, 6), (7, 8)}


def test_a_view_that_was_encoded_and_a_sound_that_was_heard_beforehand_are_taken():
    x_0 = torch.arange(4.0).view(2, 2, 1, 1, 1).half()
    heard = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    pairs = samples([0, 1], [0, 1], x_0=x_0, heard=heard)
    batch = pairs.batch(torch.tensor([1, 0]), drawn())
    assert batch.encoded
    assert torch.equal(batch.raw[0], heard[[1, 0]])
    assert set(batch.signal[0].flatten().tolist()) <= {2.0, 3.0}
    assert batch.raw[1] is None


def test_every_class_is_seen_as_often_in_balance():
    pairs = samples([0] * 9 + [1] * 2 + [2], [0, 1, 2])
    assert pairs.class_weights().tolist() == pytest.approx([12 / 27, 2.0, 4.0])
    weights = pairs.class_weights()[pairs.labels]
    assert weights.mean() == pytest.approx(1)
    even = pairs.in_balance()
    assert len(even) == 27
    batch = even.batch(torch.arange(27), drawn())
    assert torch.bincount(batch.label).tolist() == [9, 9, 9]
    assert set(batch.signal[:, 0, 0, 0].tolist()) == set(range(12))  # all of them, the rare ones again
    assert even.class_weights().tolist() == [1, 1, 1]


def test_a_class_without_a_sound_is_refused():
    with pytest.raises(InputError, match="pictures but no sound"):
        samples([0, 1], [0])


def unit(label, number, group=None, speaker=None, split=None):
    group = group or f"{label}{number}"
    return AudioEntry(Recording(f"{label}{number}.wav", f"{label}{number}.wav"), label, group, speaker, split)


def test_what_belongs_together_is_in_one_split():
    """Sounds of one group or content, and pictures with a sound in common, however long the chain."""
    sounds = [unit("a", i, group=f"g{i // 2}") for i in range(40)]
    contents = [f"content {i}" for i in range(39)] + ["content 0"]
    pictures = [ImageEntry(PictureFile(f"{i}.png"), "a", f"{i}.png") for i in range(20)]
    pairs = [(i, 2 * i) for i in range(20)] + [(0, 4), (2, 6)]
    picture_parts, sound_parts = divide_pairs(FoundPairs(pictures, sounds, pairs), contents, 0.2, 0.2)
    assert all(sound_parts[2 * i] == sound_parts[2 * i + 1] for i in range(20))
    assert sound_parts[39] == sound_parts[0] == sound_parts[4] == sound_parts[6]
    assert all(picture_parts[picture] == sound_parts[sound] for picture, sound in pairs)
    assert {"train", "classifier", "test"} == set(picture_parts)


def test_a_held_out_speaker_is_in_no_other_split():
    sounds = [unit(label, i, speaker=("ann", "bob")[i % 2]) for label in "ab" for i in range(20)]
    _, parts = divide_pairs(FoundPairs([], sounds), [str(i) for i in range(40)], 0.1, 0.1, ["bob"])
    for sound, part in zip(sounds, parts, strict=True):
        assert (part == "speakers") == (sound.speaker == "bob")
    assert [parts[:20].count("test"), parts[20:].count("test")] == [1, 1]
    assert "classifier" not in parts  # which learns from pictures


def test_a_source_says_the_split_and_a_new_file_moves_no_other():
    sounds = [unit("a", i, split="test" if i < 3 else None) for i in range(30)]
    contents = [str(i) for i in range(31)]
    _, before = divide_pairs(FoundPairs([], sounds), contents[:30], 0.1, 0)
    assert before[:3] == ["test"] * 3
    _, after = divide_pairs(FoundPairs([], [*sounds, unit("b", 0)]), contents, 0.1, 0)
    assert after[:30] == before
    assert after[30] == "train"  # the only one of its class


def test_no_file_is_in_two_splits(tmp_path):
    write_classes(tmp_path)
    listing = AudioImagePairs(folder=str(tmp_path)).pairs(tmp_path / "made")
    assert listing.class_names == ("cat", "dog")
    assert [listing.picture_parts.count(part) for part in PARTS] == [29, 7, 4, 0]
    assert [listing.sound_parts.count(part) for part in PARTS] == [18, 0, 2, 0]
    assert len({shown.picture.name for shown in listing.found.pictures}) == 40
    for part, num in (("classifier", 3), ("test", 1)):
        labels = [p.label for p, own in zip(listing.found.pictures, listing.picture_parts, strict=True) if own == part]
        assert min(labels.count("cat"), labels.count("dog")) >= num
    again = AudioImagePairs(folder=str(tmp_path), seed=5).pairs(tmp_path / "made")
    assert again.picture_parts == listing.picture_parts  # whatever the seed of a run, what is held out is held out


def test_fixed_pairs_of_a_manifest_go_to_a_split_together(tmp_path):
    write_pairs(tmp_path, 40)
    listing = AudioImagePairs(folder=str(tmp_path)).pairs(tmp_path / "made")
    for picture, sound in listing.found.pairs:
        assert listing.picture_parts[picture] == listing.sound_parts[sound]
        assert listing.found.pictures[picture].place.split(".")[0] == listing.found.sounds[sound].group.split(".")[0]
    assert [listing.picture_parts.count(part) for part in PARTS] == [30, 6, 4, 0]


def test_a_manifests_own_splits_are_kept(tmp_path):
    write_pairs(tmp_path, 8, split="train")
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    lines[0]["split"], lines[1]["split"] = "val", "test"
    write_lines(tmp_path, lines)
    listing = AudioImagePairs(folder=str(tmp_path), classifier_share=0).pairs(tmp_path / "made")
    assert [part == "test" for part in listing.picture_parts] == [True, True, *[False] * 6]


def test_a_list_of_class_pairs_holds_each_file_once(tmp_path):
    write_classes(tmp_path / "files", 4, 4)
    lines = [
        {"class": name, "image": f"pictures/{name}/{i % 4}.png", "audio": f"sounds/{name}/{i % 3}.wav"}
        for name in ("cat", "dog")
        for i in range(12)
    ]
    lines.append({"class": "dog", "audio": "sounds/dog/3.wav"})
    path = write_lines(tmp_path, lines, "list.jsonl")
    source = PairManifest(str(path), root=str(tmp_path / "files"), pairing="class", names={"cat": "Cat"})
    found = source.pairs(tmp_path, quiet)
    assert (len(found.pictures), len(found.sounds), found.pairs) == (8, 7, [])
    assert {p.label for p in found.pictures} == {"Cat", "dog"}
    assert Path(found.sounds[0].recording.name) == tmp_path / "files" / "sounds" / "cat" / "0.wav"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"class": "cat", "image": "7.png"}, r"the line of 7\.png has no 'audio'; add it, remove the line"),
        ({"class": "cat", "audio": "7.wav"}, r"the line of 7\.wav has no 'image'"),
        ({"class": "cat"}, r"a line of class 'cat' has no"),
    ],
)
def test_a_line_without_audio_or_image_is_named(tmp_path, line, reason):
    write_pairs(tmp_path, 2)
    lines = [*(json.loads(row) for row in (tmp_path / "metadata.jsonl").read_text().splitlines()), line]
    write_lines(tmp_path, lines)
    with pytest.raises(InputError, match=reason) as caught:
        PairManifest(str(tmp_path)).pairs(tmp_path, quiet)
    assert str(tmp_path / "metadata.jsonl") in one_line(caught) or str(tmp_path) in one_line(caught)


def test_a_class_needs_pictures_and_sounds(tmp_path):
    write_classes(tmp_path, 3, 3)
    write_picture(tmp_path / "pictures" / "cow" / "0.png")
    with pytest.raises(InputError, match="class 'cow': pictures but no sound; add some, or leave it out") as caught:
        AudioImagePairs(folder=str(tmp_path)).pairs(tmp_path)
    one_line(caught)
    write_melody(tmp_path / "sounds" / "eel" / "0.wav", 0.5)
    with pytest.raises(InputError, match="class 'eel': sounds but no picture"):
        AudioImagePairs(folder=str(tmp_path), class_names=("cat", "eel")).pairs(tmp_path)
    with pytest.raises(InputError, match=r"class 'owl' of data\.class_names: no picture and no sound"):
        AudioImagePairs(folder=str(tmp_path), class_names=("cat", "owl")).pairs(tmp_path)
    chosen = AudioImagePairs(folder=str(tmp_path), class_names=("dog", "cat")).pairs(tmp_path)
    assert chosen.class_names == ("dog", "cat")
    assert {entry.label for entry in chosen.entries} == {0, 1}
    assert len(chosen.entries) == len(chosen.found.sounds) == 6


def test_nothing_to_pair_is_one_line(tmp_path):
    for sources, what in (((), "pictures"), ((ClassFolders(str(tmp_path / "pictures")),), "sounds")):
        write_picture(tmp_path / "pictures" / "cat" / "0.png")
        with pytest.raises(InputError, match=f"no {what}; --set data.folder=FOLDER") as caught:
            AudioImagePairs(sources).pairs(tmp_path)
        one_line(caught)
    with pytest.raises(InputError, match="no such folder"):
        AudioImagePairs(folder=str(tmp_path / "nowhere")).pairs(tmp_path)
    with pytest.raises(InputError, match="'text' for the manifest's own"):
        AudioImagePairs(captions="a picture")
    with pytest.raises(InputError, match=r"shares 0\.6 and 0\.6"):
        AudioImagePairs(test_share=0.6, classifier_share=0.6)


def test_sounds_that_cannot_be_opened_are_named_and_their_pictures_go_with_them(tmp_path):
    write_pairs(tmp_path, 10)
    (tmp_path / "3.wav").write_text("no sound")
    (tmp_path / "4.wav").unlink()
    listing = AudioImagePairs(folder=str(tmp_path)).pairs(tmp_path)
    assert len(listing.found.sounds) == len(listing.entries) == len(listing.found.pictures) == 8
    assert [line.split(":")[0] for line in listing.found.skipped] == [str(tmp_path / f"{i}.wav") for i in (3, 4)]
    for i in range(10):
        (tmp_path / f"{i}.wav").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"not one of 10 sounds can be read; the first: .*0\.wav: cannot be read"):
        AudioImagePairs(folder=str(tmp_path)).pairs(tmp_path)


def test_balanced_keeps_as_many_pictures_of_every_class(tmp_path):
    write_classes(tmp_path, 20, 4)
    for i in range(15):
        (tmp_path / "pictures" / "cat" / f"{i}.png").unlink()
    plain = AudioImagePairs(folder=str(tmp_path), num_classifier=2).pairs(tmp_path)
    even = AudioImagePairs(folder=str(tmp_path), num_classifier=2, balanced=True).pairs(tmp_path)

    def counts(listing):
        shown = zip(listing.found.pictures, listing.picture_parts, strict=True)
        labels = [picture.label for picture, part in shown if part == "train"]
        return labels.count("cat"), labels.count("dog")

    assert counts(plain)[0] < counts(plain)[1]
    assert counts(even) == (counts(plain)[0],) * 2
    limited = AudioImagePairs(folder=str(tmp_path), num_classifier=2, limit=2).pairs(tmp_path)
    assert counts(limited) == (1, 1)


def test_free_spoken_digits_tell_class_and_speaker(tmp_path):
    for digit in (0, 7):
        for speaker in ("ann", "bob"):
            write_melody(tmp_path / "recordings" / f"{digit}_{speaker}_3.wav", 0.3)
    found = Fsdd(str(tmp_path)).pairs(tmp_path, quiet)
    assert {(s.label, s.speaker) for s in found.sounds} == {(DIGITS[d], s) for d in (0, 7) for s in ("ann", "bob")}
    assert Fsdd().pairs(tmp_path, quiet) == FoundPairs()
    write_classes(tmp_path / "other", 1, 1)
    with pytest.raises(InputError, match=r"no file such as 7_jackson_12\.wav"):
        Fsdd(str(tmp_path / "other")).pairs(tmp_path, quiet)


def test_a_speaker_nobody_knows_is_refused(tmp_path):
    write_classes(tmp_path)
    with pytest.raises(InputError, match=r"data\.speakers 'eve': no sound by that speaker"):
        AudioImagePairs(folder=str(tmp_path), speakers=("eve",)).pairs(tmp_path)


def test_folders_of_sounds_may_be_split_already_and_name_speakers_and_groups(tmp_path):
    for split in ("train", "validation"):
        for take in "AB":
            write_melody(tmp_path / split / "dog" / f"1-{split}-{take}.wav", 0.3)
    found = SoundFolders(str(tmp_path), group=r"1-(\w+)-", speaker=r"-(\w)\.wav").pairs(tmp_path, quiet)
    assert {(s.label, s.group, s.split) for s in found.sounds} == {
        ("dog", "train", "train"),
        ("dog", "validation", "test"),
    }
    assert {s.speaker for s in found.sounds} == {"A", "B"}
    with pytest.raises(InputError, match="no regular expression"):
        SoundFolders(group="(")
    with pytest.raises(InputError, match="no group in it"):
        PairManifest(speaker="x")


def test_a_manifest_of_another_name_is_read(tmp_path):
    path = write_lines(tmp_path, [{"class": "a", "audio": "x.wav"}], "other.jsonl")
    assert [entry.audio for entry in read_manifest(path)] == ["x.wav"]


@pytest.mark.parametrize(("name", "num_classes"), [("digits", 10), ("events", None), ("instruments", None)])
def test_the_lists_beside_the_project_are_read(shared_data, tmp_path, name, num_classes):
    path = shared_data / "pairs" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    found = PairManifest(str(path), root=str(shared_data), pairing="class", speaker=r"/\d_(\w+?)_").pairs(
        tmp_path, quiet
    )
    assert {p.label for p in found.pictures} == {s.label for s in found.sounds}
    assert num_classes in (None, len({p.label for p in found.pictures}))
    assert all(Path(s.recording.name).is_file() for s in found.sounds[::50])
    if name == "digits":
        assert len({s.speaker for s in found.sounds}) == 4
