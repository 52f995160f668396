"""Recipes as data: checked when written, to YAML and back, every field settable, no class from elsewhere."""

from __future__ import annotations

import copy
import pickle

import pytest
import yaml

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.pictures import PictureStem
from synesthete.config import Recipe, Sampling, Stage, build
from synesthete.config.document import read_yaml
from synesthete.data.pictures import ClassFolders, Mnist
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.denoisers.unet import UNet
from synesthete.recipes import find_recipe
from synesthete.types import InputError


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_yaml_both_ways_is_the_same_recipe(tmp_path):
    recipe = find_recipe("image-to-speech-digits")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.load(path) == recipe
    assert Recipe.load(path).to_yaml() == recipe.to_yaml()
    assert find_recipe(str(path)) == recipe
    assert find_recipe(str(tmp_path)) == recipe  # a run folder
    assert recipe.to_dict()["denoiser"]["in_channels"] == 1  # defaults are written out


def test_a_changed_recipe_keeps_its_changes_in_yaml(tmp_path):
    recipe = find_recipe("image-to-speech-digits")
    for assignment in (
        "denoiser.depth=3",
        "denoiser.sample_size=[100, 32]",
        "conditioner.fit=cover",
        "stages.denoise.ema_decay=null",
        "stages.0.train=[conditioner]",
        "sampling.guidance_interval=[0.2, 0.8]",
        "data.sources.mnist.path=some/where",
        "data.limit=128",
        "data.augmentation.degrees=3",
        "seed=5",
    ):
        recipe.set(assignment)
    assert recipe != find_recipe("image-to-speech-digits")
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert Recipe.load(path) == recipe
    assert recipe.stages[1].ema_decay is None
    assert recipe.sampling.guidance_interval == (0.2, 0.8)
    assert recipe.data.sources[1].path == "some/where"
    assert recipe.data.augmentation.degrees == 3.0


def test_recipes_of_one_name_share_nothing():
    first, second = (find_recipe("image-to-speech-digits") for _ in range(2))
    first.denoiser.depth = 1
    first.stages[0].num_steps = 1
    assert second == find_recipe("image-to-speech-digits") != first


# build


def test_a_build_is_the_call_not_yet_made():
    codec = build(MelCodec, num_samples=8000)
    assert (codec.num_samples, codec.n_mels) == (8000, 100)  # a default is a field like any other
    codec.n_mels = 40
    made = codec()
    assert isinstance(made, MelCodec)
    assert made.shape == (1, 40, 32)
    assert codec(n_mels=20).shape == (1, 20, 32)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: build(DiT, chanels=3), "DiT has no field 'chanels'; did you mean"),
        (lambda: build(DiT, dept=3), "did you mean 'depth'"),
        (lambda: setattr(build(DiT), "num_head", 3), "did you mean 'num_heads'"),
        (lambda: build(MelCodec, zzz=1), "MelCodec has no field 'zzz'; it has num_samples, "),
        (lambda: build(DiT, depth="many"), "DiT.depth: 'many' does not fit int"),
        (lambda: build(DiT, depth=2.5), "DiT.depth: 2.5 does not fit int"),
        (lambda: build(DiT, patch_size=(4,)), "DiT.patch_size"),
        (
            lambda: build(DiT, patch_size="50,4"),
            "DiT.patch_size: '50,4' does not fit; write 2 values in brackets, such",
        ),
        (lambda: build(DiT, patch_size=[0, 4]), "DiT.patch_size: (0, 4); give at least 1"),
        (lambda: build(Hourglass, merge=[0, 4]), "Hourglass.merge: (0, 4); give at least 1"),
        (lambda: build(Hourglass, num_cell_blocks=-1), "Hourglass.num_cell_blocks: -1; give at least 1"),
        (lambda: build(DiT, patch_size=(200, 4))(), "denoiser.patch_size [200, 4] is larger than a sample"),
        (lambda: build(UNet, channels=3), "UNet.channels: 3 does not fit; write a list in brackets, such as '[50,50]'"),
        (lambda: build(PictureStem, fit="tight"), "PictureStem.fit: 'tight' does not fit"),
        (lambda: Stage("a", build(Labels), num_step=3), "num_step"),
        (lambda: Stage("a", build(Labels), num_steps="x"), "Stage.num_steps: 'x' does not fit int"),
        (lambda: Stage("a", build(Labels), precision="half"), "Stage.precision"),
        (lambda: setattr(Sampling(), "guidance", 3), "did you mean 'guidance_scale'"),
    ],
)
def test_a_wrong_name_or_type_is_refused_where_it_is_written(call, named):
    with pytest.raises((InputError, TypeError)) as caught:
        call()
    assert named in one_line(caught)


def test_reading_an_unknown_field_names_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'depth'"):
        _ = build(DiT).dept


def test_yaml_values_become_what_the_signature_says():
    denoiser = build(DiT, sample_size=[100, 64], depth=4.0, mlp_ratio=2)
    assert denoiser.sample_size == (100, 64)
    assert isinstance(denoiser.depth, int)
    assert isinstance(denoiser.mlp_ratio, float)


# --set


@pytest.mark.parametrize(
    ("assignment", "read", "value"),
    [
        ("denoiser.depth=24", lambda r: r.denoiser.depth, 24),
        ("stages.denoise.num_steps=100", lambda r: r.stages[1].num_steps, 100),
        ("stages.0.num_steps=7", lambda r: r.stages[0].num_steps, 7),
        ("stages.denoise.learning_rate=1e-3", lambda r: r.stages[1].learning_rate, 0.001),
        ("stages.denoise.learning_rate=5E-4", lambda r: r.stages[1].learning_rate, 0.0005),
        ("stages.denoise.min_learning_rate=1.5e-06", lambda r: r.stages[1].min_learning_rate, 1.5e-6),
        ("stages.denoise.num_steps=1e4", lambda r: r.stages[1].num_steps, 10_000),
        ("stages.denoise.objective.condition_dropout=0.2", lambda r: r.stages[1].objective.condition_dropout, 0.2),
        ("data.sources.mnist.path=x/y.npz", lambda r: r.data.sources[1].path, "x/y.npz"),
        ("data.sources.1.path=x=y", lambda r: r.data.sources[1].path, "x=y"),
        ("data.augmentation=null", lambda r: r.data.augmentation, None),
        ("sampling.sampler=flow-unipc", lambda r: r.sampling.sampler, "flow-unipc"),
        ("seed=3", lambda r: r.seed, 3),
        ("name=mine", lambda r: r.name, "mine"),
        ("data.words={one: uno}", lambda r: r.data.words, {"one": "uno"}),
        (
            "data.sources=[{class: ClassFolders, path: here}]",
            lambda r: r.data.sources,
            (build(ClassFolders, path="here"),),
        ),
        (
            "conditioner={class: Labels, num_tokens: 3}",
            lambda r: r.conditioner,
            build(Labels, num_tokens=3),
        ),
    ],
)
def test_every_field_can_be_set(assignment, read, value):
    recipe = find_recipe("image-to-speech-digits", [assignment])
    assert read(recipe) == value
    assert type(read(recipe)) is type(value)


def test_later_assignments_win():
    assert find_recipe("image-to-speech-digits", ["denoiser.depth=1", "denoiser.depth=2"]).denoiser.depth == 2


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("denoiser.dept=24", "has no field 'denoiser.dept'; did you mean 'denoiser.depth'?"),
        ("denoser.depth=24", "has no field 'denoser.depth'; did you mean"),
        ("stages.denoice.num_steps=2", "has no field 'stages.denoice.num_steps'"),
        ("stages.2.num_steps=2", "has no field 'stages.2.num_steps'"),
        ("stages.denoise.num_step=2", "did you mean 'stages.denoise.num_steps'"),
        ("data.sources.mnits.path=x", "has no field 'data.sources.mnits.path'"),
        ("sampling.guidance=2", "did you mean 'sampling.guidance_scale'"),
        ("denoiser.depth=many", "denoiser.depth: Hourglass.depth: 'many' does not fit int"),
        ("denoiser.depth=", "denoiser.depth"),
        ("stages.denoise.num_steps=ten", "'ten' does not fit int"),
        ("conditioner.fit=tight", "'tight' does not fit"),
        (
            "conditioner={class: VoicedPicture, picture: {class: PictureStem}, voice_dropout: 7}",
            "voice_dropout: 7",
        ),
        ("conditioner={class: VoicedPicture, picture: {class: Labels}}", "Labels is no conditioner of pictures"),
        ("seed=x", "'x' does not fit int"),
        ("denoiser=3", "denoiser is a part; set one of its fields, such as denoiser.NAME=VALUE"),
        ("sampling=3", "sampling is a part"),
        ("stages=3", "stages is a part"),
        ("denoiser", "write key=value"),
        ("=3", "write key=value"),
        ("denoiser.depth=[", "the value is not YAML"),
        ("denoiser.__class__=3", "has no field 'denoiser.__class__'"),
        ("to_yaml=3", "has no field 'to_yaml'"),
        ("stages.denoise.name.upper=3", "has no field"),
        ("denoiser={class: os.system}", "'os.system' is not a class of synesthete"),
        ("sampling.timestep_shift=inf", "Sampling.timestep_shift: inf does not fit"),
        ("data.augmentation.degrees=nan", "Affine.degrees: nan does not fit"),
        ("seed=1e30", "seed"),
        ("data.limit=" + "9" * 5000, "digits"),
        ("data.limit=2026-01-01", "does not fit int"),
        ("data.words=" + "[" * 1000, "more than 32"),
        ("data.limit={class: Mnist}", "does not fit int"),
    ],
)
def test_an_assignment_that_does_not_fit_is_one_line(assignment, named):
    with pytest.raises(InputError) as caught:
        find_recipe("image-to-speech-digits", [assignment])
    assert named in one_line(caught)


# files


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.nn.Linear",
        "synesthete.config.recipe.yaml.load",
        "synesthete.config.recipe.yaml.Loader",
        "synesthete.config.Path",
        "synesthete.codecs.mel.torch.load",
        "synesthete.codecs.mel.ModelMixin",
        "synesthete.hub.download",
        "synesthete.no_such.Thing",
        "synesthete.codecs.mel.NoSuch",
        "synesthete_evil.Thing",
        "synesthete",
        "synesthete.",
        ".MelCodec",
        "",
        "codecs.mel.MelCodec",
        3,
        ["os.system"],
    ],
)
def test_a_recipe_names_no_class_from_elsewhere(target, tmp_path, monkeypatch):
    monkeypatch.setattr("os.system", lambda _: pytest.fail("called"))
    values = find_recipe("image-to-speech-digits").to_dict()
    places = values["codec"], values["data"]["sources"][1], values["stages"][1]["objective"]
    for place in places if target == "os.system" else places[:1]:
        kept = dict(place)
        place["class"] = target
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(InputError) as caught:
            Recipe.load(path)
        assert "class" in one_line(caught)
        place.clear()
        place.update(kept)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: [", "not YAML"),
        ("- 1\n- 2", "not a recipe; write one with `synesthete show NAME --yaml`"),
        ("", "not a recipe"),
        ("name: x", "data, codec, conditioner, denoiser, process, stages missing; start from `synesthete show"),
        ("!!python/object/apply:os.system ['true']", "not YAML"),
        ("\0", "not YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(text, named, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Recipe.load(path)
    assert named in one_line(caught)
    assert str(path) in str(caught.value)


LAUGHS = ["a0: &a0 [lol, lol, lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\n".join(LAUGHS), "line 6, column 10: more than 50,000 values"),
        ("a: " + "[" * 1000 + "]" * 1000, "more than 32 lists or mappings inside each other"),
        ("\n".join(["a0: &a0 [1]", *(f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 99))]), "more than 32"),
        ("a: &x {b: *x}", "line 1, column 11: an alias inside of what it stands for"),
        ("a: &x [*x]", "an alias inside"),
        ("a: " + "9" * 5000, "a whole number of 5,000 digits; give 19 at most"),
        ("a: -0x" + "f" * 5000, "digits"),
        ("[1, 2]: 3", "a list or mapping as a key"),
        ("name: a\nname: b", "line 2, column 1: 'name' twice"),
        ('a: "\\0"', "no text that a file can hold"),
        ('a: "\\ud800"', "no text that a file can hold"),
        ("a: !!bool maybe", "not YAML"),
        ("a: !!timestamp 2026-01-01", "not YAML"),
        ("a: !!binary aGk=", "not YAML"),
        ("1: 2", "no field '1'"),
        ("2026-01-01: 2", "no field '2026-01-01'"),
        ("a: b\n" * 300_000, "longer than 1,048,576 bytes"),
    ],
    ids=lambda value: value[:12],
)
def test_a_document_that_holds_more_than_a_recipe_is_one_line(text, named, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Recipe.load(path)
    assert named in one_line(caught)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_an_alias_stands_for_what_it_names_and_keys_are_text_as_written():
    assert read_yaml("a: &x [1, {7: on}]\nb: *x\n<<: {no: 2026-01-01}") == {
        "a": [1, {"7": True}],
        "b": [1, {"7": True}],
        "no": "2026-01-01",
    }
    assert read_yaml("a: 1".encode("utf-16")) == {"a": 1}


def changed(change) -> dict:
    values = find_recipe("image-to-speech-digits").to_dict()
    change(values)
    return values


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v.pop("codec"), "codec missing"),
        (lambda v: v.update(denoizer={}), "no field 'denoizer'; did you mean 'denoiser'"),
        (lambda v: v["denoiser"].update(dept=3), "denoiser: Hourglass has no field 'dept'; did you mean 'depth'"),
        (lambda v: v["denoiser"].update(depth="deep"), "Hourglass.depth: 'deep' does not fit int"),
        (lambda v: v["stages"][0].update(num_step=3), "num_step"),
        (lambda v: v["stages"][0].pop("name"), "name"),
        (lambda v: v["sampling"].update(guidance=3), "guidance"),
        (lambda v: v.update(stages=3), "stages"),
        (lambda v: v.update(stages=[3]), "stages"),
        (lambda v: v.update(sampling=[3]), "sampling"),
        (lambda v: v.update(codec=3), "codec"),
        (lambda v: v["stages"][0].update(objective=3), "objective"),
        (lambda v: v["denoiser"].pop("class"), "denoiser"),
        (lambda v: v.update(seed="x"), "seed"),
        (lambda v: v.update(seed="9999-99-99"), "seed"),
        (lambda v: v.update(weights={"class": "Mnist"}), "weights"),
        (lambda v: v["conditioner"].update(self={"class": "Mnist"}), "has no field 'self'"),
        (lambda v: v["conditioner"].update(target=3), "has no field 'target'"),
        (lambda v: v["data"].update(limit={"class": "Mnist"}), "ImageSpeechPairs.limit: build(Mnist) does not fit"),
        (lambda v: v["data"]["class_names"].append({"class": "Mnist"}), "ImageSpeechPairs.class_names"),
        (lambda v: v["data"]["sources"].append(0.0), "ImageSpeechPairs.sources: 0.0 is no source of pictures"),
        (lambda v: v["data"]["sources"].append({"class": "DiT"}), "sources: DiT is no source of pictures"),
        (lambda v: v["data"].update(augmentation={"class": "Mnist"}), "Mnist is no augmentation of pictures"),
        (lambda v: v["data"].update(augmentation={"class": "AudioAugmentation"}), "no augmentation of pictures"),
        (lambda v: v["data"].update(augmentation="x"), "'x' is no augmentation of pictures"),
        (lambda v: v["data"].update(engine={"class": "Mnist"}), "Mnist is no speech engine"),
        (lambda v: v["sampling"].update(timestep_shift=float("inf")), "sampling: Sampling.timestep_shift: inf does"),
        (lambda v: v["sampling"].update(guidance_scale=float("nan")), "Sampling.guidance_scale"),
        (lambda v: v["sampling"].update(num_inference_steps=10**9), "give 10,000 at most"),
        (
            lambda v: v["denoiser"].update(depth=10**9),
            "Hourglass.depth: 1000000000 is more than anything can be made of",
        ),
        (lambda v: v["codec"].update(n_fft=10**9), "give 65,536 at most"),
        (lambda v: v["denoiser"].update(sample_size=[10**9, 4]), "Hourglass.sample_size"),
        (lambda v: v["stages"][0].update(num_warmup_steps=1e30), "num_warmup_steps"),
    ],
)
def test_a_recipe_with_a_wrong_part_is_one_line(change, named, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed(change)))
    with pytest.raises(InputError) as caught:
        Recipe.load(path)
    assert named in one_line(caught)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_an_unknown_name_are_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        find_recipe(str(tmp_path / "no.yaml"))
    with pytest.raises(InputError, match="no recipe 'image-to-speech-digit'; did you mean 'image-to-speech-digits'"):
        find_recipe("image-to-speech-digit")
    with pytest.raises(InputError, match="there are image-to-speech-digits, "):
        find_recipe("zzz")


def test_what_may_be_left_out_of_a_file_has_its_default(tmp_path):
    values = changed(lambda v: (v.pop("sampling"), v.pop("seed")))
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    recipe = Recipe.load(path)
    assert (recipe.sampling, recipe.seed) == (Sampling(), 0)
    assert isinstance(recipe.data.sources[1](), Mnist)


def test_a_recipe_is_copied_and_sent_to_another_process():
    recipe = find_recipe("image-to-speech-digits-debug")
    for again in (copy.deepcopy(recipe), pickle.loads(pickle.dumps(recipe))):
        assert again.to_dict() == recipe.to_dict()
        again.denoiser.depth += 1
        assert again.denoiser.depth != recipe.denoiser.depth
