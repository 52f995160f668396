"""Models called from Python, and the commands of their verbs: what a result knows, and what is refused."""

from __future__ import annotations

import json

import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

import synesthete
from synesthete.cli.app import app
from synesthete.cli.verbs import VERBS, names_model
from synesthete.data.pictures import BuiltInDigits
from synesthete.tasks.model import ALSO
from synesthete.types import InputError

FAST = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    digits = BuiltInDigits().pictures("test")
    path = tmp_path_factory.mktemp("digits") / "seven.png"
    digits.images[digits.labels.index("seven")].save(path)
    return path


def test_a_picture_speaks(seven, tmp_path):
    model = synesthete.load("image-to-speech-digits")
    sound = model(seven)
    assert sound.words == "seven"
    assert sound.waveform.ndim == 1 and sound.sample_rate == 24_000
    assert isinstance(sound.spectrogram(), Image.Image)
    assert soundfile.info(sound.save(tmp_path / "seven.wav")).samplerate == 24_000
    assert Image.open(sound.save(tmp_path / "seven.png")).size == sound.spectrogram().size
    assert "\n" not in repr(sound) and "seven" in repr(sound)
    assert "<audio" in sound._repr_html_() and "<img" in sound._repr_html_()
    both = model([seven, Image.open(seven)])
    assert len(both) == 2 and both._repr_html_().count("<audio") == 2
    assert both[0].waveform.equal(sound.waveform) and both[1].waveform.equal(sound.waveform)


def test_a_label_is_drawn_and_music_plays(tmp_path):
    pictures = synesthete.load("images-digits")("7", num=2, **FAST)
    assert [one.image.size for one in pictures] == [(32, 32)] * 2 or pictures[0].image.size[0] > 8
    assert pictures[0].how["label"] == "seven"
    assert [path.name for path in pictures.save(tmp_path)] == ["000.png", "001.png"]
    sound = synesthete.load("music-notes")("piano", **FAST)
    assert sound.seconds > 0.5 and sound.words is None


def test_a_sound_is_painted(seven, tmp_path):
    spoken = synesthete.load("image-to-speech-digits")(seven, **FAST).save(tmp_path / "spoken.wav")
    picture = synesthete.load("audio-to-image-digits")(str(spoken), **FAST)
    assert picture.how["sound"] == "spoken.wav"
    assert "<img" in picture._repr_html_()


def test_an_unknown_option_and_a_wrong_input_are_one_line(seven):
    model = synesthete.load("image-to-speech-digits")
    with pytest.raises(InputError, match="no sampling setting 'stepps'"):
        model(seven, stepps=3)
    with pytest.raises(InputError, match="no such file"):
        model("nowhere.png")
    for wrong in (3, BuiltInDigits):
        with pytest.raises(InputError, match=r"of type .*; give a path, a PIL image, or a list of them"):
            model([wrong])
    with pytest.raises(InputError, match="give the path of a sound"):
        synesthete.load("audio-to-image-digits")(3)
    with pytest.raises(InputError, match=r"^label 'sevven': unknown; .*such as seven") as caught:
        synesthete.load("images-digits")("sevven")
    assert "--" not in str(caught.value)


def test_options_have_the_names_of_the_commands(seven):
    """`steps=2` as `--steps 2`, and what a request calls it."""
    assert set(ALSO.values()) <= {
        "num_inference_steps", *(name for verb in VERBS for name in VERBS[verb].all_options)
    }  # fmt: skip
    model = synesthete.load("image-to-speech-digits")
    assert model(seven, steps=2).how == model(seven, num_inference_steps=2).how
    assert synesthete.load("images-digits")(label="7", steps=2).how["label"] == "seven"


def test_the_shipped_model_is_its_verbs_default(command, seven, tmp_path):
    code, printed, _ = command("speak", seven, "--out", tmp_path / "spoken", "--steps", 4, "--json")
    assert code == 0
    values = json.loads(printed.splitlines()[-1])
    assert values["written"] == [str(tmp_path / "spoken" / "seven.wav")]
    assert [said["picture"] for said in values["said"]] == [str(seven)]
    assert (tmp_path / "spoken" / "seven.png").is_file()
    assert command("draw", "--label", 7, "--num", 1, "--steps", 2, "--out", tmp_path / "drawn")[0] == 0
    wav = tmp_path / "spoken" / "seven.wav"
    assert command("paint", wav, "--steps", 2, "--out", tmp_path / "painted")[0] == 0
    assert (tmp_path / "painted" / "seven.json").is_file()
    assert command("play", "--label", "piano", "--num", 1, "--steps", 2, "--out", tmp_path / "played")[0] == 0
    assert (tmp_path / "played" / "piano_000.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "verb"),
    [
        (("speak", "images-digits", "SEVEN"), "draw"),
        (("draw", "image-to-speech-digits", "--label", "7"), "speak"),
        (("play", "audio-to-image-digits"), "paint"),
        (("paint", "music-notes", "SEVEN"), "play"),
    ],
)
def test_a_model_of_another_verb_is_refused_by_the_right_one(command, seven, arguments, verb, tmp_path):
    code, _, err = command(*(seven if part == "SEVEN" else part for part in arguments), "--out", tmp_path / "out")
    assert code == 2 and f"synesthete {verb} " in err
    assert len(err.splitlines()) == 1


HELPS = {(name,): verb for name, verb in VERBS.items() if verb.default}
HELPS |= {(name, task): other for name, verb in VERBS.items() for task, other in verb.others.items()}


@pytest.mark.parametrize("words", HELPS, ids=" ".join)
def test_help_is_short_and_begins_with_three_examples(words):
    lines = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).output.splitlines()
    assert len(lines) <= 70
    told = [line.strip(" •") for line in lines if line.strip().startswith("•")]
    assert told == list(HELPS[words].examples)
    for example in told:  # whose options it shows
        assert all(f"{word} " in "\n".join(lines) for word in example.split() if word.startswith("--"))


def test_the_first_argument_is_a_model_if_it_names_one(seven, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("")
    assert all(map(names_model, ("images-digits", "owner/name", str(tmp_path / "run"))))
    assert not any(map(names_model, (str(seven), str(seven.parent), "nowhere.png")))
