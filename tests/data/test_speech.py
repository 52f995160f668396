"""The speech engine, its voices and the corpus builder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import soundfile
import torch

from synesthete.data.audio import write_audio
from synesthete.data.files import read_manifest
from synesthete.data.rows import Rows
from synesthete.data.speech.corpus import build_speech_corpus, load_clips
from synesthete.data.speech.engines import Espeak, Voice, split_voices
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")

WORDS = {"six": "six", "seven": "seven", "dog": ("dog", "a dog")}
VOICES = {"train": (Voice("en-us+f3", 0.9), Voice("en-gb-scotland+mike2", 1.0)), "test": (Voice("en-us+anika", 0.9),)}
SECONDS = 0.9


def build(out: Path, **changes):
    settings = {"seconds": SECONDS, "takes": 2, "voices": VOICES, "num_workers": 1, "allow_few_targets": True} | changes
    return build_speech_corpus(settings.pop("words", WORDS), out, **settings)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    build(folder)
    return folder


def test_what_was_said_before_does_not_matter():
    """f2 has breath noise and flutter, mike2 another synthesiser: each kept state in the library between calls."""
    engine = Espeak()
    said = [("seven", "en-us+f2", 150, 50), ("six", "en-gb+mike2", 400, 90), ("one", "en-us+caleb", 100, 10)]
    first = [engine.speak(*call)[0] for call in said]
    engine.speak("something else", "en-029+m7", 250, 70)
    again = [Espeak().speak(*call)[0] for call in reversed(said)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_voice_rate_and_pitch_are_heard():
    engine = Espeak()
    plain, sample_rate = engine.speak("seven", "en-gb", 150, 50)
    assert plain.dtype == torch.float32
    assert sample_rate >= 16_000
    assert 0.1 < plain.abs().max() < 1
    assert len(engine.speak("seven", "en-gb", 300, 50)[0]) < 0.8 * len(plain)
    for voice, pitch in (("en-gb+f2", 50), ("en-us", 50), ("en-gb", 80)):
        assert not torch.equal(engine.speak("seven", voice, 150, pitch)[0][:4000], plain[:4000])


@pytest.mark.parametrize("voice", ["xx-nowhere", "en-us+nobody", "", "+f3", "en-us+../f3/x"])
def test_an_unknown_voice_is_named(voice):
    """The engine takes an unknown variant for none and says nothing."""
    with pytest.raises(InputError, match=r"no such (accent|variant); write") as caught:
        Espeak().speak("six", voice)
    assert repr(voice) in str(caught.value)


def test_limits_and_silence_are_errors():
    with pytest.raises(InputError, match="rate 20"):
        Espeak().speak("six", rate=20)
    with pytest.raises(InputError, match="pitch 100"):
        Espeak().speak("six", pitch=100)


def test_without_the_engine_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r"pip install 'synesthete\[speech\]'"):
        Espeak()


def test_a_deep_folder_is_no_obstacle(tmp_path):
    """The engine cuts a data path off at 160 bytes."""
    engine = Espeak()
    expected = engine.speak("six", "en-us+f3")[0]
    deep = tmp_path / ("x" * 100) / ("y" * 100) / "espeak-ng-data"
    deep.parent.mkdir(parents=True)
    deep.symlink_to(engine.data_path, target_is_directory=True)
    engine.data_path = deep
    assert torch.equal(engine.speak("six", "en-us+f3")[0], expected)


def test_splits_share_no_voice_and_no_timbre():
    voices = split_voices()
    assert {split: len(group) for split, group in voices.items()} == {"train": 22, "classifier": 10, "test": 6}
    timbres = {split: {voice.variant for voice in group} for split, group in voices.items()}
    assert not timbres["train"] & timbres["classifier"]
    assert not (timbres["train"] | timbres["classifier"]) & timbres["test"]
    names = [voice.name for group in voices.values() for voice in group]
    assert len(set(names)) == len(names)
    assert all(voice.heard >= 0.8 for group in voices.values() for voice in group)


def test_every_voice_is_known_to_the_engine():
    engine = Espeak()
    for group in split_voices().values():
        for voice in group:
            engine.check_voice(voice.name)


def test_clips_are_as_promised(corpus):
    entries = read_manifest(corpus)
    assert len(entries) == 3 * 3 * 2
    assert {entry.text for entry in entries if entry.label == "dog"} == {"dog", "a dog"}
    assert len({(entry.rate, entry.pitch) for entry in entries}) > 12  # drawn anew for each
    for entry in entries:
        assert entry.rate in range(120, 191)
        assert entry.pitch in range(30, 71)
        assert entry.audio == f"{entry.split}/{entry.label}/{entry.speaker}_{entry.audio[-7:-4]}.wav"
        samples, rate = soundfile.read(corpus / entry.audio, dtype="int16")
        assert (rate, samples.shape) == (24_000, (round(SECONDS * 24_000),))
        assert abs(samples.astype(int)).max() == round(0.95 * 32768)
        spoken = samples.nonzero()[0]
        assert spoken[0] < 480  # the word starts at once, after 10 ms of margin
        assert 0.2 < spoken[-1] / 24_000 < SECONDS  # and exact zeros follow it


def test_another_seed_gives_other_clips_and_the_same_seed_the_same(corpus, tmp_path):
    build(tmp_path / "same")
    build(tmp_path / "other", seed=1)
    assert contents(tmp_path / "same") == contents(corpus)
    ours, theirs = contents(corpus), contents(tmp_path / "other")
    assert all(ours[name] != theirs[name] for name in ours if name.endswith(".wav"))


def test_a_script_without_a_main_guard_is_not_run_again_by_its_workers(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from synesthete.data.speech.corpus import build_speech_corpus\n"
        "from synesthete.data.speech.engines import Voice\n"
        "print('run', flush=True)\n"
        "settings = {'voices': {'train': [Voice('en-us+f3')]}, 'allow_few_targets': True, 'num_workers': 2}\n"
        "made = build_speech_corpus({'six': 'six', 'one': 'one'}, sys.argv[1], seconds=0.9, takes=1, **settings)\n"
        "print(made.num_made, len(made.skipped))\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path / "out"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["run", "2 0"], done.stderr


SLOW_ENGINE = """
import os, sys, time
from pathlib import Path
from synesthete.data.files import Entry
from synesthete.data.rows import Rows
from synesthete.data.speech.clips import Job, speak_job
from synesthete.executors import divide
from functools import partial

class Slow:
    def speak(self, *_):
        Path(os.environ["FOLDER"], str(os.getpid())).touch()
        time.sleep(600)

if __name__ == "__main__":
    from slow_engine import Slow
    entry = Entry("a", audio="a.wav", text="a", speaker="v", rate=150, pitch=50)
    job = Job(Path("."), "v", (entry,), 9, 9)
    list(divide(partial(speak_job, Slow()), {1: job, 2: job}, at_most=2))
"""


def test_speakers_end_with_the_process_that_is_killed(tmp_path):
    (tmp_path / "slow_engine.py").write_text(SLOW_ENGINE)
    (tmp_path / "speaking").mkdir()
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    environment = os.environ | {"FOLDER": str(tmp_path / "speaking"), "PYTHONPATH": paths}
    parent = subprocess.Popen([sys.executable, tmp_path / "slow_engine.py"], env=environment, stdout=subprocess.PIPE)
    while parent.poll() is None and len(list((tmp_path / "speaking").iterdir())) < 2:
        time.sleep(0.1)
    parent.kill()
    parent.communicate(timeout=200)  # what they inherited ends with the last of them


def test_the_number_of_workers_does_not_matter(corpus, tmp_path):
    build(tmp_path, num_workers=2)
    assert contents(tmp_path) == contents(corpus)


def test_interrupted_and_resumed_equals_uninterrupted(corpus, tmp_path):
    seen: list[tuple[int, int]] = []

    class KilledError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done >= 8:
            raise KilledError

    with pytest.raises(KilledError):
        build(tmp_path, progress=stop)
    assert seen[0] == (0, 18)
    assert not (tmp_path / "metadata.jsonl").exists()  # nothing half-written looks whole
    with (tmp_path / ".clips.jsonl").open("a") as journal:
        journal.write('{"class": "six", "au')  # killed in the middle of a line
    victim = next(tmp_path.rglob("*.wav"))
    victim.write_bytes(victim.read_bytes()[:5000])
    summary = build(tmp_path)
    assert (summary.num_kept, summary.num_made) == (7, 11)
    assert contents(tmp_path) == contents(corpus)
    again = build(tmp_path)
    assert (again.num_kept, again.num_made, again.num_clips) == (18, 0, {"train": 12, "test": 6})
    assert contents(tmp_path) == contents(corpus)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"takes": 3}, "takes 2 there, 3 asked for"),
        ({"seed": 5}, "seed 0 there, 5 asked for"),
        ({"words": WORDS | {"six": "sixty"}}, 'words of six ["six"] there, ["sixty"] asked for'),
        ({"rates": (130, 190)}, "rates [120, 190] there, [130, 190] asked for"),
        ({"voices": {"train": VOICES["train"]}}, "voices of test"),
    ],
)
def test_a_folder_of_other_settings_is_refused(corpus, change, named):
    before = contents(corpus)
    with pytest.raises(InputError) as caught:
        build(corpus, **change)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(corpus) == before


@pytest.mark.parametrize(
    "change",
    [
        {"words": {}},
        {"words": {"a/b": "six"}},
        {"words": {"six": " "}},
        {"takes": 0},
        {"seconds": 0.0},
        {"rates": (190, 120)},
        {"rates": (10, 120)},
        {"pitches": (0, 100)},
        {"voices": {"train": (Voice("en-us+nobody", 1.0),)}},
        {"voices": {"train": (Voice("en-us+f3", 1.0),), "test": (Voice("en-us+f3", 1.0),)}},
    ],
)
def test_unusable_arguments_are_one_line_and_write_nothing(tmp_path, change):
    with pytest.raises(InputError) as caught:
        build(tmp_path / "out", **change)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_long_word_is_said_faster_until_it_fits(tmp_path):
    voices = {"train": (Voice("en-us+f3", 0.9),)}
    summary = build(tmp_path / "fast", words={"seven": "seven"}, seconds=0.45, voices=voices)
    entries = read_manifest(tmp_path / "fast")
    assert summary.num_faster == len(entries) == 2
    assert all(entry.rate > 190 for entry in entries)
    kept = build(tmp_path / "fast", words={"seven": "seven"}, seconds=0.45, voices=voices)
    assert (kept.num_kept, kept.num_faster) == (2, 2)
    with pytest.raises(InputError, match=r"'hippopotamus': .* give more seconds \(now 0.30\)") as caught:
        build(tmp_path / "never", words={"hippo": "hippopotamus"}, seconds=0.3, voices=voices)
    assert "\n" not in str(caught.value)


def test_a_clip_the_engine_fails_at_is_skipped_and_named(tmp_path, monkeypatch):
    speak = Espeak.speak

    def fail_at_dog(self, text, *rest):
        if text == "a dog":
            raise RuntimeError("the engine broke")
        return speak(self, text, *rest)

    monkeypatch.setattr(Espeak, "speak", fail_at_dog)
    summary = build(tmp_path)
    assert summary.num_made == 15
    assert summary.skipped[0] == "train/dog/en-us-f3_001.wav: the engine broke"
    assert len(read_manifest(tmp_path)) == 15
    monkeypatch.undo()
    assert build(tmp_path).num_made == 3  # tried again


def test_clips_come_back_as_written(corpus):
    clips = load_clips(corpus, "train")
    assert (clips.waveforms.dtype, clips.labels.dtype) == (torch.int16, torch.int64)
    assert clips.waveforms.shape == (12, round(SECONDS * 24_000))
    assert clips.class_names == ("dog", "seven", "six")
    entries = [entry for entry in read_manifest(corpus) if entry.split == "train"]
    assert [clips.class_names[label] for label in clips.labels] == [entry.label for entry in entries]
    assert clips.speakers == [entry.speaker for entry in entries]
    assert not set(clips.speakers) & set(load_clips(corpus, "test").speakers)
    expected = soundfile.read(corpus / entries[3].audio, dtype="int16")[0]
    assert (clips.waveforms[3].numpy() == expected).all()
    assert load_clips(corpus, "train", num_samples=30_000).waveforms.shape == (12, 30_000)
    assert load_clips(corpus, "train", num_samples=10_000).waveforms.shape == (12, 10_000)


def test_a_broken_clip_among_many_is_skipped_and_named(corpus, tmp_path, caplog):
    folder = tmp_path / "copy"
    shutil.copytree(corpus, folder)
    broken, missing, slow = (folder / entry.audio for entry in read_manifest(folder)[:3])
    broken.write_bytes(broken.read_bytes()[:1000])
    missing.unlink()
    resampled = torch.from_numpy(soundfile.read(slow, dtype="float32")[0])[::2]
    write_audio(slow, resampled, 12_000)
    clips = load_clips(folder, "train")
    assert len(clips) == 10
    assert [line.split(":")[0] for line in clips.skipped] == [str(broken), str(missing)]
    assert all(str(path) in caplog.text for path in (broken, missing))
    assert clips.waveforms.shape == (10, round(SECONDS * 24_000))
    similarity = torch.corrcoef(
        torch.stack([clips.waveforms[0].float(), load_clips(corpus, "train").waveforms[2].float()])
    )
    assert similarity[0, 1] > 0.5  # of the right pitch and place, though half its band is gone
    again = load_clips(folder, "train")  # from the shards, which are read as they are asked for
    assert isinstance(again.waveforms, Rows)
    assert again.skipped == clips.skipped
    assert torch.equal(again.waveforms[:], clips.waveforms[:])
    write_audio(broken, resampled, 24_000)
    assert len(load_clips(folder, "train")) == 11


def test_an_absent_split_names_those_that_are_there(corpus, tmp_path):
    with pytest.raises(InputError, match="no clips of split 'classifier'; its splits: test, train"):
        load_clips(corpus, "classifier")
    with pytest.raises(InputError, match="no such manifest"):
        load_clips(tmp_path, "train")


def test_settings_are_written_beside_the_clips(corpus):
    settings = json.loads((corpus / "corpus.json").read_text())
    assert settings["takes"] == 2
    assert settings["engine"].startswith("espeak-ng 1.")
