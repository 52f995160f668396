"""The recipes of sound to picture: their stages, what each needs, and fields that have to agree."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from synesthete.conditioning import trial_towers
from synesthete.conditioning.clip_text import ClipPrompts
from synesthete.conditioning.frozen_sound import Clap
from synesthete.data.captions import names_class, spell
from synesthete.data.synthetic import ToneSounds
from synesthete.data.videos import EIGHT
from synesthete.recipes import RECIPES, find_recipe
from synesthete.recipes.fit import describe_needs, find_needs
from synesthete.types import InputError

FULL, DIGITS, EVENTS = "audio-to-image", "audio-to-image-digits", "audio-to-image-events"
NAMES = ("rain", "dog", "fire", "sea", "rooster")  # one more than there are timbres


def test_the_three_stages_of_the_original():
    """CLAP2Diffusion: 3,000 steps at 1e-4, 7,000 at 5e-5, 2,000; batches of 4, two at a time; LoRA 8 / 32."""
    recipe = RECIPES[FULL]()
    assert [(s.name, s.num_steps) for s in recipe.stages] == [("tokens", 3000), ("lora", 7000), ("gates", 2000)]
    assert [stage.learning_rate for stage in recipe.stages[:2]] == [1e-4, 5e-5]
    assert {(stage.batch_size, stage.gradient_accumulation_steps) for stage in recipe.stages} == {(8, 2)}
    assert (recipe.denoiser.lora_rank, recipe.denoiser.lora_alpha) == (8, 32)
    assert recipe.data.class_names == tuple(EIGHT)
    spelled = spell(recipe.data.captions, recipe.data.class_names)
    assert not [text for text in spelled for name in EIGHT if names_class(text, name)]


@pytest.mark.parametrize("name", [DIGITS, EVENTS])
def test_small_ones_end_in_the_same_three_stages(name):
    """Only the base is told of classes by name, and it hears nothing."""
    small, full = RECIPES[name](), RECIPES[FULL]()
    assert [(s.name, s.train) for s in small.stages[2:]] == [(s.name, s.train) for s in full.stages]
    base, align, *heard = small.stages
    assert (base.train, base.objective.sound_dropout, base.captions) == (
        ("denoiser.base", "conditioner.text"),
        1.0,
        None,
    )
    assert align.train == ("conditioner.encoder",)
    for stage in heard:
        for text in spell(stage.captions, small.data.class_names):
            assert not any(names_class(text, class_name) for class_name in small.data.class_names)
    named = spell(small.data.captions, small.data.class_names)
    assert all(any(names_class(text, class_name) for text in named) for class_name in small.data.class_names)


def test_what_the_full_size_needs_is_known_without_its_files(tmp_path, monkeypatch):
    """Stable Diffusion 1.5: 859,520,964 parameters and an autoencoder of 83,653,863; the sound is a few million."""
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    needs = find_needs(RECIPES[FULL]())
    trained = {stage.name: stage.num_trained for stage in needs.stages}
    base = 859_520_964 + 83_653_863
    assert trained["lora"] - trained["tokens"] == 1_594_368  # rank 8, in both attentions of 16 blocks
    assert needs.model == 2 * (base + trained["lora"] + trained["gates"])
    for stage in needs.stages:
        assert stage.least_memory == 4 * (needs.model // 2 + 4 * stage.num_trained)
    # Two are kept of each stage, whole: weights, two moments and the average of each trained one.
    assert needs.checkpoints == 2 * sum(4 * (needs.model // 2 + 3 * stage.num_trained) for stage in needs.stages)
    assert sum(needs.downloads.values()) > 5e9
    assert "disk: downloads of 5.05 GB" in "\n".join(describe_needs(needs))
    assert not list(tmp_path.iterdir())


def test_a_stage_of_all_weights_needs_all_of_them():
    needs = find_needs(RECIPES["images-digits"]())
    assert needs.stages[0].num_trained == needs.model // 2
    assert not needs.downloads
    assert describe_needs(needs)[0] == "  needs       3,200 steps in all"


def test_captions_that_were_changed_can_be_set_as_told():
    captions = "data.captions=['a {lean} {class}', 'a {lean} digit']"
    stages = [f"stages.{name}.captions=['a {{lean}} digit']" for name in ("tokens", "lora", "gates")]
    with pytest.raises(InputError, match="lack 'a backward zero'") as caught:
        find_recipe(DIGITS, [captions, *stages])
    told = str(caught.value)
    assert "\n" not in told
    remedy = told.partition("--set ")[2].replace("'", "")
    recipe = find_recipe(DIGITS, [captions, *stages, remedy])
    assert json.loads(remedy.partition("=")[2]) == list(recipe.conditioner.text.captions)


@pytest.mark.parametrize(
    ("name", "assignment", "message"),
    [
        (DIGITS, "denoiser.num_sound_tokens=4", r"--set denoiser\.num_sound_tokens=8"),
        (DIGITS, "data.seconds=3", r"sounds of 3 s .* --set conditioner\.sound\.num_samples=24000"),
        (DIGITS, "denoiser.condition_width=64", r"--set denoiser\.condition_width=128"),
        (DIGITS, "codec.size=32", r"denoiser expects 28 x 28; --set denoiser\.sample_size"),
        (EVENTS, "data.class_names=null", r"names classes; give data\.class_names"),
        (EVENTS, "data.class_names=[rain, dog_bark]", "have 'a dark photograph of clock tick'"),
        (DIGITS, "conditioner={class: Labels}", "tells sounds, Labels hears none"),
        ("images-digits", "conditioner={class: AudioTextConditioner, sound: "
         "{class: SoundEncoder}, text: "
         "{class: TextTransformer}}", "AudioTextConditioner hears, LabelledPictures has no sounds"),
        ("images-digits", "denoiser={class: StableDiffusion}",
         "StableDiffusion reads text and sound, Labels tells none"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit_are_told_what_to_set(name, assignment, message):
    with pytest.raises(InputError, match=message) as caught:
        find_recipe(name, [assignment])
    assert "\n" not in str(caught.value)


def test_trial_encoders_are_written_once_and_read_as_published_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    ear, reader = Clap(model=trial_towers.CLAP, sample_rate=8000), ClipPrompts(model=trial_towers.PROMPTS)
    assert not list(tmp_path.iterdir())
    folder = trial_towers.find_trial(trial_towers.CLAP)
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ear.tower.folder == folder
    assert ear.tower.network.config.projection_dim == ear.width
    tokens, _ = reader.read(reader.tokenise(["A photograph, bright!", "a dog"]))
    assert tokens.shape == (2, 77, reader.width)
    assert not tokens[0].equal(tokens[1])
    assert trial_towers.find_trial(trial_towers.CLAP) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
    assert trial_towers.find_trial("laion/larger_clap_music_and_speech") is None


def test_any_rank_writes_a_trial_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    with monkeypatch.context() as launched:
        launched.setattr(torch.distributed, "is_initialized", lambda: True)
        launched.setattr(torch.distributed, "get_rank", lambda: 1)
        for name in trial_towers.WRITERS:
            trial_towers.find_trial(name)
    heard = Clap(model=trial_towers.CLAP, sample_rate=8000).tower.network
    assert heard.config.projection_dim == trial_towers.CLAP_WIDTH
    assert ClipPrompts(model=trial_towers.PROMPTS).width == trial_towers.PROMPT_WIDTH
    assert len([*tmp_path.rglob("*.safetensors")]) == 2


def test_processes_that_need_a_trial_at_once_write_it_once(tmp_path, monkeypatch):
    written, begin = [], threading.Barrier(4)

    def write(folder):
        written.append(folder)
        time.sleep(0.2)
        (folder / "config.json").write_text("{}")

    def find():
        begin.wait()
        return trial_towers.find_trial("trial-slow") / "config.json"

    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    monkeypatch.setitem(trial_towers.WRITERS, "trial-slow", write)
    with ThreadPoolExecutor(4) as pool:
        found = [pool.submit(find) for _ in range(4)]
        assert {one.result().read_text() for one in found} == {"{}"}
    assert len(written) == 1


def test_tones_are_sounds_of_every_class(tmp_path):
    found = ToneSounds(NAMES, num=3).pairs(tmp_path, lambda *_: None)
    assert [sound.label for sound in found.sounds] == [name for name in NAMES for _ in range(3)]
    assert len({sound.recording.content() for sound in found.sounds}) == len({s.group for s in found.sounds}) == 15
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="ToneSounds: num 0"):
        ToneSounds(("rain",), num=0)
