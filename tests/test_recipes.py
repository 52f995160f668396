"""Every recipe: made of parts that fit, shown without data or weights, with a debug twin; and the sizes promised."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from synesthete.cli.recipes import count_parameters
from synesthete.config import Recipe
from synesthete.data.pictures import ClassFolders
from synesthete.data.synthetic import Swatches
from synesthete.diffusion.sampling import make_scheduler, set_timesteps
from synesthete.recipes import RECIPES, find_recipe
from synesthete.recipes.image_to_speech import hundred_phrases
from synesthete.tasks import task_of
from synesthete.training.cost import DryRun
from synesthete.types import Condition, InputError

FULL = [name for name in RECIPES if not name.endswith("-debug")]
every_recipe = pytest.mark.parametrize("name", RECIPES)

# The set-up of i2m, the system whose shape image-to-speech has.
LINEAR_EPSILON = (
    "process.schedule=linear",
    "process.prediction_type=epsilon",
    "process.timestep_sampling=uniform",
    "sampling.sampler=ddim",
    "sampling.num_inference_steps=50",
    "sampling.timestep_shift=1",
    "sampling.guidance_interval=[0, 1]",
    "sampling.precision='no'",
)


def test_the_recipes_are_the_ones_tested():
    assert len(RECIPES) == 54
    assert [f"{name}-debug" for name in FULL] == [name for name in RECIPES if name.endswith("-debug")]


@pytest.mark.parametrize("name", FULL)  # of a debug twin each stage takes a step below
def test_every_part_of_a_recipe_can_be_made(name):
    recipe = RECIPES[name]()
    assert recipe.name == name
    with torch.device("meta"):  # 160 million parameters need no values to be counted
        conditioner, denoiser = recipe.conditioner(), recipe.denoiser()
        told = tell(conditioner)
        reads = recipe.denoiser.condition_width is not None
        assert bool(denoiser.precompute(told).keys_values) == reads
    widths = [getattr(recipe.denoiser, field, None) for field in ("condition_width", "pooled_width")]
    assert [part.shape[-1] if part is not None else None for part in (told.tokens, told.pooled)] == widths
    assert tuple(recipe.codec().shape[1:]) == tuple(recipe.denoiser.sample_size)
    recipe.process(), recipe.data()
    for stage in recipe.stages:
        stage.objective()
        assert stage.num_warmup_steps < stage.num_steps
        assert stage.batch_size % stage.gradient_accumulation_steps == 0
        assert {name.partition(".")[0] for name in stage.train} <= {"codec", "conditioner", "denoiser"}


def tell(conditioner):
    """A condition without values; of a conditioner that reads, whose texts have values, one of its shape."""
    if conditioner.reads != "audio_text":
        return conditioner.null(1)
    num_tokens = conditioner.text_encoder.config.num_tokens + conditioner.config.num_sound_tokens
    return Condition(torch.zeros(1, num_tokens, conditioner.config.width), torch.ones(1, num_tokens, dtype=torch.bool))


@every_recipe
def test_it_is_shown_without_data_or_weights(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNESTHETE_WEIGHTS", str(tmp_path))
    recipe = find_recipe(name)
    assert name.startswith(recipe.task)
    assert sum(count_parameters(recipe).values()) > 0
    again = Recipe.from_dict(recipe.to_dict())
    assert again == recipe
    assert again.to_yaml() == recipe.to_yaml()
    assert RECIPES[name]() == recipe
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", FULL)
def test_a_debug_twin_is_of_the_same_classes(name):
    full, debug = RECIPES[name](), RECIPES[f"{name}-debug"]()
    for part in ("data", "codec", "conditioner", "denoiser", "process"):
        assert getattr(full, part).target is getattr(debug, part).target
    assert [(s.name, s.objective.target) for s in full.stages] == [(s.name, s.objective.target) for s in debug.stages]
    assert sum(count_parameters(debug).values()) < 200_000


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("-debug")])
def test_every_stage_of_a_debug_twin_takes_a_step(name):
    """A loss or gradient that is not finite would stop it."""
    recipe = find_recipe(name)
    for stage in recipe.stages:
        dry_run = DryRun(recipe, stage, task_of(recipe).dummy_batch(recipe, stage, 4))
        before = [p.detach().clone() for p in dry_run.trainer.trained.values()]
        dry_run.step(4)
        assert any(not torch.equal(p, old) for p, old in zip(dry_run.trainer.trained.values(), before, strict=True))


# image-to-speech


def test_image_to_speech_has_the_shape_of_its_original():
    """i2m: 159,956,768 parameters, 875 tokens of 4 x 8 cells, 1024 patches of a 512 x 512 picture; ours within 1%."""
    recipe = find_recipe("image-to-speech")
    assert sum(count_parameters(recipe).values()) == 160_846_176 == pytest.approx(159_956_768, rel=0.01)
    with torch.device("meta"):
        denoiser, told = recipe.denoiser(), recipe.conditioner().null(1)
    assert denoiser.grid == (25, 35)
    assert denoiser.patchify(torch.zeros(1, 1, 100, 280)).shape == (1, 875, 32)
    assert told.tokens.shape == (1, 1024, 768)
    assert len(denoiser.blocks) == 12


def test_the_other_sizes():
    assert sum(count_parameters(find_recipe("image-to-speech-large")).values()) == 314_129_504
    hundred = find_recipe("image-to-speech-imagenet-100")
    assert len(set(hundred.data.class_names)) == len(set(hundred.data.words.values())) == 100
    assert len({phrase.wnid for phrase in hundred_phrases()}) == len(hundred.data.sources[0].classes) == 100
    assert set(find_recipe("image-to-speech").data.class_names) <= set(hundred.data.class_names)
    own = find_recipe("image-to-speech-imagenet-100", ["data.folder=photographs"])
    assert [type(source) for source in own.data().sources] == [ClassFolders]


@pytest.mark.parametrize("name", ["image-to-speech", "image-to-speech-debug"])
def test_the_set_up_of_the_original_can_be_selected(name):
    recipe = find_recipe(name, LINEAR_EPSILON)
    process = recipe.process()
    assert process.alphas_cumprod[-1].item() == pytest.approx(4.0e-5, rel=0.02)  # beta 1e-4 to 0.02
    scheduler = make_scheduler(recipe.sampling.sampler, process, recipe.sampling.timestep_shift)
    set_timesteps(scheduler, recipe.sampling.num_inference_steps, torch.device("cpu"))
    assert scheduler.timesteps[0] == 999
    assert len(scheduler.timesteps) == 50


def test_a_sampler_that_cannot_walk_the_process_is_refused_before_training():
    with pytest.raises(InputError, match="'flow-euler': cannot walk a 'linear' schedule; choose from ddpm") as caught:
        find_recipe("image-to-speech", ["process.schedule=linear", "process.prediction_type=epsilon"])
    assert "\n" not in str(caught.value)


def test_swatches_tell_the_classes_apart_and_repeat():
    source = Swatches(class_names=("a", "b"), num_train=3, num_test=2)
    train, test = source.pictures("train"), source.pictures("test")
    assert train.labels == ["a"] * 3 + ["b"] * 3
    assert test.labels == ["a", "a", "b", "b"]
    shown = [torch.from_numpy(file.values).float() for file in train.files]
    colours = [picture.mean((0, 1)) for picture in shown]
    assert (colours[0] - colours[3]).norm() > 5 * (colours[0] - colours[1]).norm()
    assert len({file.stamp() for file in (*train.files, *test.files)}) == 10
    assert [file.stamp() for file in source.pictures("train").files] == [file.stamp() for file in train.files]


# images


def test_the_pictures_of_the_original_experiment():
    """500 cosine steps to pure noise, v, EMA 0.999, a fifth of the conditions dropped; 4,177,539 parameters there."""
    recipe = find_recipe("images-stl10")
    assert sum(count_parameters(recipe).values()) == pytest.approx(4_177_539, rel=0.1)
    process, stage = recipe.process(), recipe.stages[0]
    assert (process.num_train_timesteps, process.schedule, process.prediction_type) == (500, "cosine", "v_prediction")
    assert process.alphas_cumprod[-1] == 0
    assert (stage.ema_decay, stage.gradient_clip, stage.gradient_accumulation_steps) == (0.999, 1.0, 2)
    assert stage.num_warmup_steps == 0.05 * stage.num_steps
    assert stage.objective.condition_dropout == 0.2
    assert tuple(recipe.codec().shape) == (3, 96, 96)


def test_an_unconditional_model_is_a_matter_of_fields():
    nothing = "conditioner={class: Unconditional}"
    unread = ["denoiser.condition_width=null", "denoiser.pooled_width=null"]
    recipe = find_recipe("images-digits-debug", [nothing, *unread])
    stage = recipe.stages[0]
    dry_run = DryRun(recipe, stage, task_of(recipe).dummy_batch(recipe, stage, 4))
    dry_run.step(4)
    with pytest.raises(InputError, match=r"Unconditional says nothing; --set denoiser\.condition_width=null"):
        find_recipe("images-digits-debug", [nothing])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "denoiser.in_channels=3",
            "the codec makes x_0 of 1 channels, the denoiser expects 3; --set denoiser.in_chann",
        ),
        ("codec.size=32", "the codec makes x_0 of 32 x 32, the denoiser expects 16 x 16; --set denoiser.sample_size"),
        ("conditioner.width=8", "a condition 8 wide, denoiser.condition_width is 16; --set denoiser.condition_width=8"),
    ],
)
def test_parts_that_do_not_fit_are_told_what_to_set(assignment, message):
    with pytest.raises(InputError, match=message) as caught:
        find_recipe("images-digits-debug", [assignment])
    assert "\n" not in str(caught.value)


# music


def test_music_stft_has_the_shape_of_its_original():
    """MA_DDPM: 224 x 416 cells of 4 s at 32 kHz, 17.3 million parameters; attention at low resolution alone."""
    recipe = find_recipe("music-stft")
    codec = recipe.codec()
    assert (codec.spec.sample_rate, codec.spec.n_fft, codec.spec.hop_length) == (32_000, 480, 288)
    assert codec.shape == (1, 224, 416)
    assert codec.config.num_samples == 4 * 32_000
    assert sum(count_parameters(recipe).values()) >= 17_000_000
    assert min(recipe.denoiser.attention_levels) == len(recipe.denoiser.channels) - 1


def test_families_of_instruments_are_told_by_their_paths():
    recipe = find_recipe("music-notes")
    data = recipe.data()
    named = {"cymbals": "loops/drum_cymbal_hard.flac", "tabla": "loops/tabla_na.flac"}
    named |= {"piano": "notes/vsco2-piano-mf/csharp4.flac", "plucked": "notes/vsco2-harp/e3.flac"}
    named |= {"woodwind": "a/vcsl-tenor-sax-vib/fsharp2.flac", "drums": "loops/bd_haus.flac"}
    for family, path in named.items():
        assert data.class_of(SimpleNamespace(place=path)) == family
    assert len(data.class_names) == recipe.conditioner.num_classes
