"""A model that is told who speaks: its data, its training and its samples."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from synesthete import seeding, tasks
from synesthete.conditioning.speakers import SpeakerEncoder
from synesthete.data.audio import read_audio, write_audio
from synesthete.data.files import read_manifest
from synesthete.data.pictures import DIGITS
from synesthete.data.speech.engines import split_voices
from synesthete.objectives.alignment import Alignment
from synesthete.pipeline import Pipeline
from synesthete.recipes.fit import check_fit
from synesthete.recipes.image_to_speech import debug, image_to_speech_digits, with_voices
from synesthete.tasks import find_task
from synesthete.tasks.demo import CHORUS, NUM_VOICES, choose_voices, show_digits
from synesthete.tasks.image_to_speech import speakers
from synesthete.tasks.image_to_speech.speakers import load_speaker_encoder
from synesthete.tasks.task import Task
from synesthete.training import assembly, loop
from synesthete.types import InputError

NAMES = tuple(voice.speaker for voice in split_voices()["train"])


def voiced_recipe(*assignments: str):
    recipe = debug(with_voices(image_to_speech_digits()))
    for stage in recipe.stages:
        stage.precision = "no"
    recipe.codec.num_iterations, recipe.sampling.num_inference_steps = 1, 2
    for assignment in assignments:
        recipe.set(assignment)
    check_fit(recipe)
    return recipe


@pytest.fixture(scope="module")
def spoken(prepared):
    """The same corpus, with who speaks."""
    return tasks.prepare(voiced_recipe())


@pytest.fixture(scope="module")
def run(spoken, tmp_path_factory):
    """A run of six steps."""
    folder = tmp_path_factory.mktemp("voices") / "run"
    loop.train_recipe(voiced_recipe(), spoken, folder)
    return folder


def test_every_clip_is_told_with_who_speaks_and_how(spoken, prepared):
    assert spoken.told == {"voices": NAMES, "pitches": (30, 70), "rates": (130, 190)}
    assert torch.equal(spoken.train.pictures[:], prepared.train.pictures[:])
    corpus = find_task("image-to-speech").default_folder(voiced_recipe()) / "corpus"
    entries = [entry for entry in read_manifest(corpus) if entry.split == "train"]
    voice, pitch, rate = spoken.train.spoken
    told = zip([NAMES[place] for place in voice], pitch.tolist(), rate.tolist(), strict=True)
    assert list(told) == [(entry.speaker, entry.pitch, entry.rate) for entry in entries]


def test_a_batch_hands_on_how_its_clips_are_spoken_and_draws_as_ever(spoken, prepared):
    places = torch.arange(16)
    batch, plain = (data.train.batch(places, seeding.generator(0, "batch")) for data in (spoken, prepared))
    assert torch.equal(batch.raw.pictures, plain.raw) and torch.equal(batch.signal, plain.signal)
    for place in range(len(batch.raw)):
        clip = next(i for i, x_0 in enumerate(spoken.train.x_0) if torch.equal(x_0.float(), batch.signal[place]))
        assert [float(part[place]) for part in (batch.raw.voice, batch.raw.pitch, batch.raw.rate)] == [
            float(part[clip]) for part in spoken.train.spoken
        ]
    assert torch.is_tensor(spoken.test.batch(places, seeding.generator(0, "batch")).raw)  # unheard voices have no name


def test_seeing_is_learned_whoever_speaks(spoken):
    parts = assembly.make_parts(voiced_recipe(), spoken)
    align = Alignment(width=32, hidden=16).attach(parts)
    batch = spoken.train.batch(torch.arange(16), seeding.generator(0, "batch"))
    align(batch, seeding.generator(0)).pop("loss").backward()
    assert all(p.grad is not None for p in parts.conditioner.picture.last.parameters())
    assert all(p.grad is None for p in parts.conditioner.groups()["voice"])


def test_the_voices_learn_and_stay_with_the_model(run, spoken):
    learned = Pipeline.load(str(run)).conditioner
    assert learned.voices == NAMES
    torch.manual_seed(seeding.derive(0, "weights"))
    fresh = assembly.make_parts(voiced_recipe(), spoken).conditioner
    for name, parameter in fresh.named_parameters():
        if name.startswith(("voice", "numbers", "to_token")):
            assert not torch.equal(learned.get_parameter(name), parameter), name


def test_stopped_and_begun_again_it_is_the_run_that_was_never_stopped(run, spoken, tmp_path):
    class StoppedError(Exception):
        pass

    def stop(said):
        if (said.stage, said.step) == ("denoise", 3):
            raise StoppedError

    with pytest.raises(StoppedError):
        loop.train_recipe(voiced_recipe(), spoken, tmp_path / "run", report=stop)
    loop.train_recipe(voiced_recipe(), spoken, tmp_path / "run")
    whole, again = (Pipeline.load(str(folder)) for folder in (run, tmp_path / "run"))
    for name, value in whole.conditioner.state_dict().items():
        assert torch.equal(again.conditioner.state_dict()[name], value), name


@pytest.fixture
def seven(tmp_path):
    path = tmp_path / "seven.png"
    Image.new("L", (28, 28), "black").save(path)
    return path


def test_voices_are_chosen_by_name_and_named_where_chance_chooses(command, run, seven, tmp_path):
    def speak(folder, *options):
        code, printed, said = command("speak", run, seven, "--out", tmp_path / folder, "--json", *options)
        assert code == 0, said
        return {one["voice"] for one in json.loads(printed.splitlines()[-1])["said"]}

    def sound(folder, stem="seven"):
        return (tmp_path / folder / f"{stem}.wav").read_bytes()

    [name] = speak("chance")
    assert speak("again") == {name} and sound("again") == sound("chance")
    assert speak("named", "--voice", name) == {name} and sound("named") == sound("chance")
    two = NAMES[3], NAMES[9]
    assert speak("two", "--voice", ",".join(two)) == set(two)
    assert sound("two", f"seven_{two[0]}") != sound("two", f"seven_{two[1]}")
    assert speak("all", "--voice", "all", "--steps", 1) == set(NAMES)
    assert len(list((tmp_path / "all").glob("seven_*.wav"))) == len(NAMES)
    speak("high", "--voice", name, "--pitch", 70, "--rate", 135)
    assert sound("high") != sound("named")
    told = Image.open(tmp_path / "high" / "seven.png").text
    assert (told["voice"], told["pitch"], told["rate"]) == (name, "70.0", "135.0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--voice", "f3"), "voice 'f3': none of this model's 22, such as en-us-f3"),
        (("--voice", ","), "voice ',': names none"),
        (("--pitch", "71"), "pitch 71: this model learned 30 to 70"),
        (("--rate", "400"), "rate 400: this model learned 130 to 190 words a minute"),
    ],
)
def test_a_voice_that_is_not_there_is_one_line(command, run, seven, tmp_path, options, message):
    code, _, said = command("speak", run, seven, "--out", tmp_path / "out", *options)
    assert code == 2 and message in said
    assert len(said.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_a_model_without_voices_says_so(pipeline, seven):
    task = find_task("image-to-speech")
    with pytest.raises(InputError, match="leave --voice and --rate out, another --seed gives another voice"):
        task.plan(pipeline, task.request_type(model="mute", inputs=[seven], voice="all", rate=150.0))


def test_a_corpus_of_one_voice_leaves_nothing_to_choose(spoken):
    recipe = voiced_recipe()
    data = recipe.data()
    clips = data.clips(find_task("image-to-speech").default_folder(recipe) / "corpus", "train")
    alone = clips[torch.tensor([i for i, name in enumerate(clips.speakers) if name == NAMES[0]])]
    from synesthete.tasks.image_to_speech.task import find_voices

    with pytest.raises(InputError, match="1 voice in the training corpus: none to choose from"):
        find_voices(recipe, data, alone)


def test_voices_that_all_keep_their_own_pitch_have_no_other_to_ask_for(spoken):
    recipe = voiced_recipe()
    data = recipe.data()
    clips = data.clips(find_task("image-to-speech").default_folder(recipe) / "corpus", "train")
    from synesthete.tasks.image_to_speech.task import find_voices

    assert find_voices(recipe, data, clips)[0]["pitches"] == data.pitches
    told, (_, pitches, _) = find_voices(recipe, data, replace(clips, pitches=torch.full((len(clips),), 50.0)))
    assert told["pitches"] == (50, 50)
    assert pitches.unique().tolist() == [50]


def test_named_voices_alone_are_told_where_the_recipe_names_some(spoken):
    recipe = voiced_recipe(f"conditioner.voices=[{NAMES[2]},{NAMES[0]},nobody]")
    told = tasks.prepare(recipe)
    assert any("1 of 3 conditioner.voices have no clip" in note and "nobody" in note for note in told.notes)
    assert "voices" not in told.told
    voice, pitch, _ = told.train.spoken
    assert voice.unique().tolist() == [-1, 0, 1] and pitch.isfinite().all()
    assert assembly.make_parts(recipe, told).conditioner.voices == (NAMES[2], NAMES[0], "nobody")


@pytest.mark.usefixtures("undrawn")
def test_the_demonstration_lets_everybody_speak(run, tmp_path):
    found = show_digits(tmp_path, model=str(run))
    voices = [row["voice"] for row in (*found["digits"], *found["voices"])]
    assert len(voices) == len(DIGITS) + NUM_VOICES == len(set(voices)) and set(voices) <= set(NAMES)
    assert {row["picture"] for row in found["voices"]} == {CHORUS}
    assert choose_voices(Pipeline.load(str(run)).conditioner, len(voices), seed=1) != voices
    for name in (*DIGITS, *[f"{CHORUS}_{voice}" for voice in voices[len(DIGITS) :]]):
        assert read_audio(tmp_path / f"{name}.wav", 24_000).any()


@pytest.fixture
def clip(tmp_path):
    """A second of a rough buzz that rises."""
    chance = torch.Generator().manual_seed(0)
    time = torch.arange(24_000) / 24_000
    sound = 0.2 * torch.sin(2 * torch.pi * 120 * time * (1 + time)) + 0.1 * torch.rand(24_000, generator=chance)
    return write_audio(tmp_path / "my, voice.wav", sound, 24_000)


@pytest.fixture
def hearing(run, monkeypatch):
    """The run with an encoder of speakers beside it that learned nothing."""
    torch.manual_seed(0)
    encoder = SpeakerEncoder(NAMES, n_mels=20, width=8, dim=8)
    encoder.vectors.copy_(torch.nn.functional.normalize(torch.randn(len(NAMES), 8), dim=1))
    monkeypatch.setattr("synesthete.tasks.image_to_speech.sampling.load_speaker_encoder", lambda folder: encoder)
    return run


def test_a_clip_is_the_voice(command, hearing, seven, clip, tmp_path):
    def speak(folder, voice):
        code, printed, said = command("speak", hearing, seven, "--out", tmp_path / folder, "--json", "--voice", voice)
        assert code == 0, said
        return [one["voice"] for one in json.loads(printed.splitlines()[-1])["said"]]

    [told] = speak("clip", clip)
    assert re.fullmatch(r"my, voice\.wav \(\S+ 0\.\d\d(, \S+ 0\.\d\d){0,2}\)", told)
    assert (tmp_path / "clip" / "seven.wav").is_file()
    plain = clip.rename(tmp_path / "me.wav")
    named, mine = speak("both", f"{NAMES[3]},{plain}")
    assert (named, mine[:8]) == (NAMES[3], "me.wav (")
    one, other = (tmp_path / "both" / f"seven_{stem}.wav" for stem in (NAMES[3], "me"))
    assert one.read_bytes() != other.read_bytes()
    speak("named", NAMES[3])
    alone = read_audio(tmp_path / "named" / "seven.wav", 24_000)
    torch.testing.assert_close(read_audio(one, 24_000), alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.wav", "nowhere.wav: no such file"),
        ("words.wav", "words.wav: "),
        ("silence.wav", "silence.wav: silence"),
        ("short.wav", "short.wav: 0.30 s long"),
    ],
)
def test_a_clip_that_is_no_voice_is_one_line(command, hearing, seven, tmp_path, name, message):
    (tmp_path / "words.wav").write_text("no sound at all")
    write_audio(tmp_path / "silence.wav", torch.zeros(24_000), 24_000)
    write_audio(tmp_path / "short.wav", 0.1 * torch.ones(7200), 24_000)
    code, _, said = command("speak", hearing, seven, "--out", tmp_path / "out", "--voice", tmp_path / name)
    assert code == 2 and message in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_an_encoder_no_clip_can_be_the_voice(command, run, seven, clip, tmp_path):
    code, _, said = command("speak", run, seven, "--out", tmp_path / "out", "--voice", clip)
    assert code == 2 and "no encoder of speakers with it" in said


def test_training_leaves_an_encoder_of_speakers_beside_the_model(spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(Task, "train_classifier", lambda *_, **__: None)
    monkeypatch.setattr(speakers, "NUM_STEPS", 2)
    monkeypatch.setattr(speakers, "CHUNK", 10)
    task = find_task("image-to-speech")
    task.train_classifier(voiced_recipe(), spoken, tmp_path)
    encoder = load_speaker_encoder(tmp_path)
    assert encoder.config.voices == NAMES
    assert encoder.vectors.shape[0] == len(NAMES) and encoder.least_similarity.min() > -1
    task.train_classifier(voiced_recipe(), None, tmp_path)  # it is kept
    (tmp_path / "plain").mkdir()
    task.train_classifier(debug(image_to_speech_digits()), spoken, tmp_path / "plain")
    assert load_speaker_encoder(tmp_path / "plain") is None
