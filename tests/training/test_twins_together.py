"""Every system trained by two and by four processes: what one process makes that accumulates."""

from __future__ import annotations

import pytest
import torch
from runs import forked, metrics
from safetensors.torch import load_file

from synesthete import tasks
from synesthete.recipes import RECIPES, find_recipe
from synesthete.training import loop

pytestmark = pytest.mark.timeout(1800)  # on a machine that others use
TWINS = [name for name in RECIPES if name.endswith("-debug")]
# One of each objective and task, batch norms and contrasts among them; all the others are in the slow tests.
FEW = [
    *("image-to-speech-photos-debug", "images-digits-debug", "audio-to-image-debug", "music-latent-debug"),
    *("music-vocoder-debug", "music-compose-debug", "music-score-debug"),
]
# Of sums of float32 in another order: shares of a figure, and weights; those that nothing but rounding moves.
LOSS, WEIGHT, FREE, ROUNDING = 1e-4, 1e-4, 5e-3, 1e-6


def twin(name, accumulation):
    """A debug twin that takes three steps a stage of eight samples, in float32, and looks at itself at their end."""
    recipe = find_recipe(name, ["sampling.num_inference_steps=2", "weights=float32"])
    for stage in recipe.stages:
        stage.num_steps, stage.num_warmup_steps, stage.log_every = 3, 1, 1
        stage.checkpoint_every = stage.preview_every = 3
        stage.batch_size, stage.gradient_accumulation_steps, stage.precision = 8, accumulation, "no"
    return recipe


def train_twin(name, folder, accumulation=1):
    recipe = twin(name, accumulation)
    loop.train_recipe(recipe, tasks.prepare(recipe), folder / name)


def together(folder, num, names):
    """A folder of runs by `num` processes, which find the libraries imported and the data prepared."""
    for name in names:
        tasks.prepare(twin(name, 1))
    forked(lambda: [train_twin(name, folder) for name in names], folder, num=num, patience=1500)
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    return together(tmp_path_factory.mktemp("few"), 2, FEW)


@pytest.fixture(scope="module")
def rest(tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    return together(tmp_path_factory.mktemp("rest"), 2, [name for name in TWINS if name not in FEW])


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    pytest.importorskip("espeakng_loader", reason="the speech extra is not installed")
    return together(tmp_path_factory.mktemp("four"), 4, TWINS)


def tensors(folder):
    """All that its checkpoints and models hold, by file and name."""
    return {
        f"{path.relative_to(folder)}/{name}": value
        for path in sorted(folder.rglob("*.safetensors"))
        for name, value in load_file(path).items()
    }


def assert_to_the_bit(folder, other):
    ours, theirs = tensors(folder), tensors(other)
    assert ours.keys() == theirs.keys()
    assert not [name for name, value in theirs.items() if not torch.equal(ours[name], value)][:4]
    assert metrics(folder) == metrics(other)


@pytest.mark.parametrize("name", FEW)
def test_two_processes_are_one_that_accumulates_twice_to_the_bit(few, tmp_path, name):
    """Two parts have one order to be summed in."""
    train_twin(name, tmp_path, 2)
    assert_to_the_bit(few / name, tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TWINS if name not in FEW])
def test_two_processes_of_the_other_recipes_are_one_too(rest, tmp_path, name):
    train_twin(name, tmp_path, 2)
    assert_to_the_bit(rest / name, tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_four_processes_are_one_that_accumulates_four_times(four, tmp_path, name):
    """As far as sums in another order are the same."""
    train_twin(name, tmp_path, 4)
    for one, other in zip(metrics(four / name), metrics(tmp_path / name), strict=True):
        for figure in {"loss", "gradient_norm", "held_out_error"} & other.keys():
            assert one[figure] == pytest.approx(other[figure], rel=LOSS), (other["stage"], other["step"], figure)
    theirs = tensors(tmp_path / name / "checkpoints")
    ours, free = tensors(four / name / "checkpoints"), without_gradient(theirs)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        if "/model.safetensors/" in key:
            within = FREE if key.rpartition("/")[2] in free else WEIGHT
            torch.testing.assert_close(
                ours[key], value, rtol=LOSS, atol=within, msg=lambda said, key=key: f"{key}: {said}"
            )


def without_gradient(held):
    """Names of weights whose gradient is rounding, as of biases before a norm: Adam makes whole steps of it."""
    squares = {key.split("/")[-2]: value for key, value in held.items() if key.endswith("/exp_avg_sq")}
    return {name for name, value in squares.items() if value.max().sqrt() < ROUNDING}
