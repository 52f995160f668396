"""Music: classes, splits, pieces and their views."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sound_files import melody, write_melody
from synesthete.config import build
from synesthete.data.augmentation import AudioAugmentation
from synesthete.data.labelled import PARTS
from synesthete.data.music import Music, MusicSamples
from synesthete.data.recordings import Recording, RecordingEntry, Recordings, divide_recordings
from synesthete.data.rows import Pieces, cut_starts
from synesthete.data.synthetic import TIMBRES, Tones
from synesthete.data.waveforms import Decoder, measure_energy, measure_profile
from synesthete.tasks.music.cutting import Track, alike_pieces, find_alike
from synesthete.types import InputError

RATE = 8000


def places(data, part):
    return [recording.place for recording in data.recordings(part)]


def entries(*seconds):
    return [RecordingEntry(Recording(str(i), ""), f"content {i}", float(length)) for i, length in enumerate(seconds)]


def counts(parts):
    return [parts.count(part) for part in PARTS]


# --- classes -----------------------------------------------------------------------------------------------------


def test_the_first_glob_that_fits_is_the_class_and_others_are_left_out():
    classes = {"beaten": ("drum/00[0-3]*",), "rest": ("drum/*", "noise/*")}
    data = Music(sources=(Tones(num=6),), classes=classes)
    assert data.class_names == ("beaten", "rest")
    found = {entry.recording.place: entry.label for entry in data.listing.entries}
    assert found == {f"drum/00{i}.wav": int(i > 3) for i in range(6)} | {f"noise/00{i}.wav": 1 for i in range(6)}
    assert data.listing.notes[0].startswith("12 recordings of no class left out: ")


def test_folders_are_classes_and_their_own_folder_takes_the_place_of_the_globs(tmp_path):
    for seed, name in enumerate(("b/1.wav", "b/2.wav", "a/1.wav", "a/2.wav", "loose.wav")):
        write_melody(tmp_path / name, 0.5, seed=seed)
    assert Music(folder=str(tmp_path), classes="folders").class_names == ("a", "b")
    assert Music(sources=(Tones(),), folder=str(tmp_path), classes={"x": ("x*",)}).class_names == ("a", "b")
    data = Music(folder=str(tmp_path))
    assert data.class_names == ()
    assert sum(len(data.recordings(part)) for part in PARTS) == 5


def test_a_class_without_recordings_is_refused():
    data = Music(sources=(Tones(num=2),), classes={"drums": ("drum*",), "harps": ("harp*",)})
    with pytest.raises(InputError, match=r"no recording of class 'harps'; mend its globs"):
        data.recordings("train")


def test_nothing_to_read_says_what_to_set(tmp_path):
    with pytest.raises(InputError, match=r"no recordings to train on; --set data\.folder=FOLDER"):
        Music(sources=(Recordings(),)).recordings("train")
    for name in "ab":
        (tmp_path / f"{name}.wav").write_text("words")
    with pytest.raises(InputError, match=r"not one of 2 recordings can be read; the first: .*a\.wav.*as sound"):
        Music(folder=str(tmp_path)).recordings("train")


@pytest.mark.parametrize("wrong", [{"stride": 0.0}, {"num_views": 0}, {"test_share": 0.6, "classifier_share": 0.5}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(InputError, match="data: stride"):
        Music(**wrong)


# --- splits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num", "expected"), [(1, [1, 0, 0]), (2, [1, 0, 1]), (3, [1, 1, 1]), (20, [14, 3, 3])])
def test_few_recordings_go_to_training_then_testing_then_the_classifier(num, expected):
    assert counts(divide_recordings(entries(*[10] * num), {"test": 0.15, "classifier": 0.15})) == expected


@pytest.mark.parametrize("seed", range(5))
def test_splits_are_by_seconds_and_one_long_recording_makes_none(seed):
    seconds = np.random.default_rng(seed).permutation([3000, *[60] * 30]).tolist()
    found = entries(*seconds)
    parts = divide_recordings(found, {"test": 0.15, "classifier": 0.15})
    assert parts[seconds.index(3000)] == "train"
    for part in ("test", "classifier"):
        taken = sum(length for length, where in zip(seconds, parts, strict=True) if where == part)
        assert 0.13 <= taken / sum(seconds) <= 0.19


def test_a_share_of_none_holds_nothing_out():
    assert counts(divide_recordings(entries(*[10] * 9), {"test": 0.2, "classifier": 0.0})) == [7, 0, 2]


def test_a_recording_stays_in_its_split_whatever_it_is_called_and_each_class_trains(tmp_path):
    for number in range(8):
        write_melody(tmp_path / "one" / "a" / f"{number}.wav", 0.5, seed=number)
        write_melody(tmp_path / "other" / "b" / f"named {7 - number}.wav", 0.5, seed=number)
    found = []
    for folder in ("one", "other"):
        data = Music(folder=str(tmp_path / folder), classes="folders")
        found.append({entry.content: entry.part for entry in data.listing.entries})
    assert found[0] == found[1]
    data = Music(sources=(Tones(num=2),), classes="folders")
    assert sorted(place.split("/")[0] for place in places(data, "train")) == sorted(TIMBRES)
    everywhere = [place for part in PARTS for place in places(data, part)]
    assert len(everywhere) == len(set(everywhere)) == 8


def test_a_copied_file_is_used_once_and_named(tmp_path):
    for number in range(4):
        write_melody(tmp_path / f"{number}.wav", 0.5, seed=number)
    (tmp_path / "copy.wav").write_bytes((tmp_path / "3.wav").read_bytes())
    (tmp_path / "words.wav").write_text("words")
    listing = Music(folder=str(tmp_path)).listing
    assert len(listing.entries) == 4
    assert listing.notes == [f"1 copies of other recordings left out: {tmp_path}/copy.wav = {tmp_path}/3.wav"]
    assert len(listing.skipped) == 1
    assert "words.wav: cannot be read as sound" in listing.skipped[0]


# --- pieces ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_samples", "length", "stride", "expected"),
    [
        (40, 10, 10, [0, 10, 20, 30]),
        (44, 10, 10, [0, 10, 20, 30]),  # a last one less than half full
        (45, 10, 10, [0, 10, 20, 30, 40]),
        (15, 10, 4, [0, 4, 8]),
        (14, 10, 4, [0, 4]),
        (3, 10, 4, [0]),  # the only one
        (10, 10, 99, [0]),
    ],
)
def test_pieces_begin_a_stride_apart_and_the_last_is_half_full(num_samples, length, stride, expected):
    assert cut_starts(num_samples, length, stride) == expected


def test_pieces_are_read_like_one_tensor_with_silence_after_the_end():
    sounds = [torch.arange(1, 11, dtype=torch.int16), torch.arange(101, 104, dtype=torch.int16)]
    pieces = Pieces(sounds, torch.tensor([0, 0, 1]), torch.tensor([0, 7, 0]), 5)
    assert pieces.shape == (3, 5)
    expected = torch.tensor([[1, 2, 3, 4, 5], [8, 9, 10, 0, 0], [101, 102, 103, 0, 0]], dtype=torch.int16)
    assert torch.equal(pieces[:], expected)
    assert torch.equal(torch.stack(list(pieces)), expected)
    assert torch.equal(pieces[torch.tensor([2, 0])], expected[[2, 0]])
    assert torch.equal(pieces[1], expected[1])
    assert torch.equal(pieces.take(torch.tensor([False, True, True]))[:], expected[1:])
    assert pieces.cut(0, -2, 4).tolist() == [0, 0, 1, 2]
    assert pieces.cut(2, 4, 3).tolist() == [0, 0, 0]
    assert pieces.num_covered == 5 + 3 + 3
    assert torch.equal(Pieces.of(expected)[:], expected)


def test_the_energy_is_that_of_the_samples():
    samples = (melody(1.03) * 32767).astype(np.int16)
    energy = measure_energy(samples, RATE)
    assert len(energy) == 21
    assert energy.sum() == pytest.approx(np.square(samples / 32768).sum(), rel=1e-4)
    assert energy[3] == pytest.approx(np.square(samples[1200:1600] / 32768).sum(), rel=1e-4)


# --- near-duplicates ---------------------------------------------------------------------------------------------


def track(samples, rate=RATE):
    profile = torch.from_numpy(measure_profile((samples * 32767).astype(np.int16), rate))
    return Track(profile, torch.arange(0, max(1, len(profile) - 7), 4))


def test_a_copy_is_found_under_another_level_length_rate_and_format(tmp_path):
    sounds = [melody(6.0, 16_000, seed) for seed in range(6)]
    import soundfile

    soundfile.write(tmp_path / "copy.mp3", 0.3 * sounds[2][7500:], 16_000)
    copy = np.concatenate(list(Decoder(Recording(str(tmp_path / "copy.mp3"), ""), 16_000))) / 32768
    tracks = [track(sound, 16_000) for sound in (*sounds, copy)]
    assert find_alike(tracks, seconds=2.0) == [(2, 6)]
    assert alike_pieces(tracks[6], [tracks[2]], seconds=2.0).float().mean() > 0.7
    assert not alike_pieces(tracks[6], [tracks[0], tracks[1]], seconds=2.0).any()


def test_another_note_and_silence_are_no_copies():
    time = np.arange(2 * RATE) / RATE
    notes = [
        sum(np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 6)) * np.exp(-2 * time) / 4
        for pitch in (220, 233.1, 246.9)
    ]
    silent = [np.zeros(2 * RATE), np.zeros(2 * RATE)]
    assert find_alike([track(sound) for sound in (*notes, *silent)], seconds=2.0) == []
    assert find_alike([], seconds=2.0) == []


# --- samples -----------------------------------------------------------------------------------------------------


def samples(**fields):
    waveforms = torch.stack([torch.from_numpy((melody(0.5, RATE, i) * 32767).astype(np.int16)) for i in range(6)])
    which = torch.arange(6)
    return MusicSamples(waveforms, which % 2, which, tuple("abcdef"), sample_rate=RATE, **fields)


def test_a_batch_of_waveforms_and_one_of_what_was_encoded():
    found, generator = samples(), torch.Generator().manual_seed(0)
    batch = found.batch(torch.tensor([3, 0]), generator)
    assert not batch.encoded
    assert torch.equal(batch.signal, found.waveform(torch.tensor([3, 0])))
    assert batch.signal.abs().max() <= 1
    assert torch.equal(batch.raw, torch.tensor([1, 0]))
    x_0 = torch.arange(6.0).half().view(6, 1, 1, 1, 1).expand(6, 1, 1, 2, 2)
    batch = samples(x_0=x_0).batch(torch.tensor([3, 0]), generator)
    assert batch.encoded
    assert batch.signal[:, 0, 0, 0].tolist() == [3, 0]
    assert samples(x_0=x_0).signals().x_0 is None
    with pytest.raises(ValueError, match="6 pieces with 6 labels"):
        samples(x_0=x_0[:5])


def test_views_are_drawn_while_there_is_augmentation_and_a_listening_conditioner_hears_the_one_that_was():
    x_0 = torch.arange(3.0).half().view(1, 3, 1, 1, 1).expand(6, 3, 1, 1, 1)
    found = samples(x_0=x_0, augmentation=AudioAugmentation(gain_db=(-9.0, -3.0)), reads="sound")
    indices = torch.arange(6).repeat(4)
    batch = found.batch(indices, torch.Generator().manual_seed(0))
    views = batch.signal.flatten().long()
    assert set(views.tolist()) == {0, 1, 2}
    assert torch.equal(batch.raw, found.views(indices, views))
    heard = (batch.raw == found.waveform(indices)).all(1)
    assert torch.equal(heard, views == 0)
    plain = found.plain().batch(indices, torch.Generator().manual_seed(0))
    assert not plain.signal.any()
    assert torch.equal(plain.raw, found.waveform(indices))


def test_taken_pieces_keep_what_belongs_to_them():
    found = samples(x_0=torch.arange(6.0).view(6, 1, 1, 1, 1)).take(torch.tensor([4, 1]))
    assert found.labels.tolist() == [0, 1]
    assert found.recordings.tolist() == [4, 1]
    assert found.x_0.flatten().tolist() == [4, 1]
    assert torch.equal(found.waveforms, samples().waveforms[[4, 1]])


# --- augmentation ------------------------------------------------------------------------------------------------


def sine(seconds, pitch=500.0):
    time = torch.arange(round(seconds * RATE)) / RATE
    return (0.5 * torch.sin(2 * torch.pi * pitch * time) * 32767).to(torch.int16)


def pitch_of(sound):
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs()
    return spectrum.argmax().item() * RATE / len(sound)


@pytest.mark.parametrize("semitones", [-12.0, -3.0, 0.0, 5.0, 12.0])
def test_pitch_moves_by_semitones_and_the_piece_goes_on_in_its_recording(semitones):
    pieces = Pieces([sine(4.0)], torch.tensor([0, 0]), torch.tensor([0, RATE]), RATE)
    varied = AudioAugmentation(semitones=(semitones, semitones), gain_db=(0.0, 0.0))
    sound = varied(pieces, 1, RATE, torch.Generator().manual_seed(0))
    assert sound.shape == (RATE,)
    assert pitch_of(sound) == pytest.approx(500 * 2 ** (semitones / 12), abs=1.5)
    assert sound[-500:].abs().max() > 0.4  # no silence at the end


def test_gain_never_clips_and_the_same_draw_gives_the_same_sound():
    pieces = Pieces.of(sine(0.5)[None])
    loud = AudioAugmentation(semitones=(0.0, 0.0), gain_db=(40.0, 40.0))(
        pieces, 0, RATE, torch.Generator().manual_seed(0)
    )
    assert loud.abs().max() == pytest.approx(1.0, abs=1e-4)
    quiet = AudioAugmentation(semitones=(0.0, 0.0), gain_db=(-6.0, -6.0))(
        pieces, 0, RATE, torch.Generator().manual_seed(0)
    )
    assert quiet.abs().max() == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-3)
    draws = [AudioAugmentation()(pieces, 0, RATE, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_shift_never_cuts_the_beginning_of_a_recording():
    sound = torch.arange(1, 4 * RATE + 1).clamp(max=30_000).to(torch.int16)
    pieces = Pieces([sound], torch.tensor([0, 0]), torch.tensor([0, 2 * RATE]), RATE)
    varied = AudioAugmentation(semitones=(0.0, 0.0), gain_db=(0.0, 0.0), shift=0.25)
    firsts = [varied(pieces, 0, RATE, torch.Generator().manual_seed(seed)) for seed in range(8)]
    for moved in firsts:
        silence = int((moved == 0).sum())
        assert silence <= 0.25 * RATE
        assert moved[silence] * 32768 == pytest.approx(1)
    later = [varied(pieces, 1, RATE, torch.Generator().manual_seed(seed))[0].item() for seed in range(8)]
    assert min(later) < 2 * RATE / 32768 < max(later)


def test_augmentation_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="give the lower one first"):
        AudioAugmentation(semitones=(2.0, -2.0))


def test_a_recipe_holds_the_data_as_plain_values():
    from synesthete.config import plain
    from synesthete.config.build import resolved

    made = build(Music, sources=(build(Tones),), classes={"a": ("a*", "b/*")}, augmentation=build(AudioAugmentation))
    back = resolved(plain(made), "test")
    assert back == made
    assert back().class_names == ("a",)
