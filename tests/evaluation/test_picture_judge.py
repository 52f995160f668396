"""The picture judge: right on digits it never saw, at chance where nothing could be learned, cached and kept whole."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from synesthete import hub, seeding
from synesthete.data.labelled import LabelledPictures, PictureSamples
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.data.rows import Rows
from synesthete.evaluation.metrics.distribution import frechet, kernel, kernel_floor
from synesthete.evaluation.pictures import judge as picture_judge
from synesthete.evaluation.pictures.features import ClassifierFeatures
from synesthete.evaluation.pictures.judge import PictureJudge, load_or_train_picture_judge, train_picture_judge
from synesthete.evaluation.pictures.kept_judge import keep_picture_judge, read_picture_judge
from synesthete.evaluation.speech.judges import MelJudge
from synesthete.evaluation.speech.model_judge import FOLDER, read_judge
from synesthete.types import InputError

NUM_STEPS = 100


@pytest.fixture(scope="module")
def digits() -> dict[str, PictureSamples]:
    """The built-in digits as they are, 8x8: what only the judge sees, and what is held out."""
    data = LabelledPictures((BuiltInDigits(),), DIGITS, num_judge=400)
    found = {}
    for part in ("judge", "test"):
        listed, labels = data.pictures(part)
        values = np.stack([picture.values for picture in listed.files])
        found[part] = PictureSamples(torch.from_numpy(values)[:, None], labels)
    return found


@pytest.fixture(scope="module")
def trained(digits, cache):
    return load_or_train_picture_judge(digits["judge"], digits["test"], DIGITS, num_steps=NUM_STEPS)


def noise(num: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    draw = seeding.generator(seed, "noise")
    return torch.randint(0, 256, (num, channels, size, size), generator=draw, dtype=torch.uint8)


def test_it_knows_digits_it_never_saw(trained, digits):
    assert trained.accuracy > 0.95
    assert trained.num_test == len(digits["test"]) == 297
    right = trained.judge.judge(digits["test"].pictures) == digits["test"].labels
    assert right.float().mean().item() == pytest.approx(trained.accuracy)


def test_shuffled_labels_teach_nothing(digits):
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    judge = train_picture_judge(digits["judge"].pictures, digits["judge"].labels[order], DIGITS, num_steps=60)
    right = (judge.judge(digits["test"].pictures) == digits["test"].labels).float().mean()
    assert right < 0.35


def test_it_is_sure_of_digits_and_less_so_of_noise(trained, digits):
    shares = trained.judge.shares(digits["test"].pictures)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(297))
    assert torch.equal(shares.argmax(dim=1), trained.judge.judge(digits["test"].pictures))
    assert shares.amax(dim=1).mean() > trained.judge.shares(noise(100, 1, 8)).amax(dim=1).mean() + 0.1


def test_a_batch_equals_its_singles(trained, digits):
    some = digits["test"].pictures[:5]
    for ask in (trained.judge.shares, trained.judge.features):
        torch.testing.assert_close(ask(some), torch.cat([ask(one) for one in some.split(1)]), atol=1e-4, rtol=1e-4)
    # Neither do the other pictures of the batch matter, nor that it was in training a moment ago.
    trained.judge.train()
    strange = torch.cat([some, noise(50, 1, 8)])
    torch.testing.assert_close(trained.judge.shares(strange)[:5], trained.judge.shares(some), atol=1e-4, rtol=1e-4)


def test_features_have_the_scale_the_kernel_is_made_for(trained, digits):
    """Standardised over the pictures it learned from: x'x / D is 1 on average, and 0 is their mean."""
    seen = trained.judge.features(digits["judge"].pictures)
    assert seen.shape == (400, 128)
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(128), atol=1e-4, rtol=0)
    assert seen.square().mean().item() == pytest.approx(1, abs=0.2)


def test_its_features_tell_good_pictures_from_bad_ones(trained, digits):
    """Real digits are at the floor; noisy ones, one digit only and pictures in disorder are far above."""
    features = ClassifierFeatures(trained.judge)
    assert features.name == "classifier-10"
    test, labels = digits["test"].pictures, digits["test"].labels
    real, fresh = features(test), features(digits["judge"].pictures)
    floor = kernel_floor(real, len(real))
    draw = seeding.generator(0, "spoiled")
    spoiled = {
        "noisy": (test + 100 * torch.randn(test.shape, generator=draw)).clamp(0, 255).to(torch.uint8),
        "one class": test[labels == 3],
        "disorder": test.flatten(2)[:, :, torch.randperm(64, generator=draw)].view_as(test),
    }
    near = frechet(real, fresh)
    assert abs(kernel(real, fresh, num_subsets=0).value) < 3 * floor
    for name, pictures in spoiled.items():
        other = features(pictures)
        assert kernel(real, other, num_subsets=0).value > 6 * floor, name
        assert frechet(real, other) > 2 * near, name


@pytest.mark.parametrize(("channels", "size", "other"), [(1, 8, 9), (3, 32, 40), (3, 96, 64)])
def test_it_reads_pictures_of_any_size_and_colour(channels, size, other):
    judge = train_picture_judge(noise(4, channels, size), torch.tensor([0, 0, 1, 1]), ("a", "b"), num_steps=2)
    assert judge.config.size == size
    for pictures in (noise(3, channels, size), noise(2, channels, other), noise(2, channels, size)[..., : size - 1, :]):
        if min(pictures.shape[2:]) >= 8:
            assert judge.shares(pictures).isfinite().all()
            assert judge.features(pictures).isfinite().all()
    assert judge.features(noise(0, channels, size)).shape == (0, 128)
    assert judge.judge(noise(0, channels, size)).shape == (0,)


def test_a_large_picture_costs_no_more_than_a_small_one():
    """The first convolution brings 96 pixels down to 32."""
    sides = [PictureJudge(("a",), 3, size).layers[0](torch.zeros(1, 3, size, size)).shape[-1] for size in (32, 64, 96)]
    assert sides == [32, 32, 32]


def test_the_same_seed_gives_the_same_judge_and_leaves_the_random_state(digits):
    before = torch.get_rng_state()
    first, again, other = (
        train_picture_judge(digits["judge"].pictures, digits["judge"].labels, DIGITS, num_steps=2, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_it_is_trained_once(trained, digits, monkeypatch):
    monkeypatch.setattr(picture_judge, "train_picture_judge", lambda *_, **__: pytest.fail("trained again"))
    shards = Rows([digits["judge"].pictures[:150], digits["judge"].pictures[150:]])  # the same from disk
    again = load_or_train_picture_judge(
        PictureSamples(shards, digits["judge"].labels), digits["test"], DIGITS, num_steps=NUM_STEPS
    )
    assert (again.accuracy, again.num_test, again.seconds) == (trained.accuracy, trained.num_test, trained.seconds)
    test = digits["test"].pictures
    assert torch.equal(again.judge.features(test), trained.judge.features(test))


def test_other_pictures_or_a_damaged_file_are_trained_again(digits, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    runs = []

    def train(pictures, labels, class_names, **_):
        runs.append(len(labels))
        return PictureJudge(tuple(class_names), channels=1, size=8)

    monkeypatch.setattr(picture_judge, "train_picture_judge", train)
    judge, test = digits["judge"], digits["test"]
    load_or_train_picture_judge(judge, test, DIGITS)
    load_or_train_picture_judge(judge, test, DIGITS)
    assert len(runs) == 1
    load_or_train_picture_judge(judge, test, DIGITS, seed=1)
    load_or_train_picture_judge(PictureSamples(judge.pictures.flip(0), judge.labels), test, DIGITS)
    assert len(runs) == 3
    for folder in (hub.cache_folder() / "picture-judges").iterdir():
        (folder / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    load_or_train_picture_judge(judge, test, DIGITS)
    assert len(runs) == 4


def test_two_pictures_of_a_class_are_enough_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    few = PictureSamples(noise(6, 3, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    calls = []
    found = load_or_train_picture_judge(
        few, few, ("a", "b", "c"), num_steps=20, progress=lambda *call: calls.append(call)
    )
    assert calls == [("judge", 20, 20)]
    assert 0 <= found.accuracy <= 1
    assert found.judge.features(few.pictures).isfinite().all()


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        (noise(1, 1, 8), "1 pictures to train a judge on"),
        (noise(4, 1, 7), "of 8 x 8 pixels and more"),
        (noise(4, 2, 8), "1 or 3, H, W"),
        (noise(4, 1, 8).float(), "float32: a judge reads"),
    ],
)
def test_what_it_cannot_learn_from_is_one_line(pictures, reason):
    with pytest.raises(InputError, match=reason) as raised:
        train_picture_judge(pictures, torch.zeros(len(pictures), dtype=torch.int64), ("a", "b"), num_steps=1)
    assert "\n" not in str(raised.value)


def test_colour_for_a_judge_of_grey_is_an_error(trained):
    with pytest.raises(InputError, match=r"pictures \(2, 3, 8, 8\) uint8: a judge reads \(n, 1, H, W\)"):
        trained.judge.judge(noise(2, 3, 8))


@pytest.fixture(scope="module")
def kept(trained, digits, tmp_path_factory):
    """In a model's folder, from the judge that was trained already."""
    model = tmp_path_factory.mktemp("model")
    prepared = SimpleNamespace(judge=digits["judge"], test=digits["test"], class_names=DIGITS)
    return model, keep_picture_judge(prepared, model, num_steps=NUM_STEPS)


def test_beside_a_model_it_is_small_and_as_good(kept, trained, digits):
    model, judge = kept
    assert sum(path.stat().st_size for path in (model / FOLDER).iterdir()) < 1_000_000
    assert [path.name for path in model.iterdir()] == [FOLDER]
    assert judge.accuracy == pytest.approx(trained.accuracy, abs=0.01)
    again = read_picture_judge(model)
    assert (again.accuracy, again.num_test) == (judge.accuracy, 297)
    assert {parameter.dtype for parameter in again.judge.parameters()} == {torch.float32}
    test = digits["test"]
    assert torch.equal(again.judge.shares(test.pictures), judge.judge.shares(test.pictures))
    near, exact = again.judge.features(test.pictures), trained.judge.features(test.pictures)
    assert (near - exact).square().mean() < 1e-3 * exact.square().mean()
    metric = again.metric(test.pictures, test.labels)
    assert (metric.value, metric.chance) == (pytest.approx(judge.accuracy), 0.1)
    assert "n = 297" in metric.title


def test_no_judge_is_none_and_a_damaged_one_an_error(kept, tmp_path):
    assert read_picture_judge(tmp_path) is None
    shutil.copytree(kept[0] / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="judge: cannot be loaded"):
        read_picture_judge(tmp_path)
    (tmp_path / FOLDER / "config.json").write_text("{")
    with pytest.raises(InputError, match="judge: cannot be loaded"):
        read_picture_judge(tmp_path)


def test_a_judge_of_the_other_kind_is_named(kept, tmp_path):
    with pytest.raises(InputError, match="a PictureJudge, and the model makes speech; remove it"):
        read_judge(kept[0])
    MelJudge(("a", "b")).save_pretrained(tmp_path / FOLDER)
    (tmp_path / FOLDER / "judge.json").write_text(json.dumps({}))
    with pytest.raises(InputError, match="a MelJudge, and the model makes pictures; remove it"):
        read_picture_judge(tmp_path)


def test_without_pictures_for_it_there_is_none(digits, tmp_path):
    prepared = SimpleNamespace(judge=None, test=digits["test"], class_names=DIGITS)
    with pytest.raises(InputError, match="no pictures for a judge"):
        keep_picture_judge(prepared, tmp_path)
