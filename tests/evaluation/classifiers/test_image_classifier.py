"""The classifier of pictures: right on digits it never saw, at chance where nothing could be learned, saved whole."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from synesthete import hub, seeding
from synesthete.data.labelled import LabelledPictures, PictureSamples
from synesthete.data.pictures import DIGITS, BuiltInDigits
from synesthete.data.rows import Rows
from synesthete.evaluation.classifiers import classifier as classifier_module
from synesthete.evaluation.classifiers.classifier import (
    FOLDER,
    load_classifier,
    save_classifier,
    train_classifier,
)
from synesthete.evaluation.classifiers.image import (
    ImageClassifier,
    load_or_train_image_classifier,
)
from synesthete.evaluation.classifiers.speech import SpeechClassifier
from synesthete.evaluation.features import ClassifierFeatures
from synesthete.evaluation.metrics.distribution import frechet, kernel, kernel_floor
from synesthete.recipes import RECIPES
from synesthete.tasks import find_task
from synesthete.types import InputError

NUM_STEPS = 100


@pytest.fixture(scope="module")
def digits() -> dict[str, PictureSamples]:
    """The built-in digits as they are, 8x8: what only the classifier sees, and what is held out."""
    data = LabelledPictures((BuiltInDigits(),), DIGITS, num_classifier=400)
    found = {}
    for part in ("classifier", "test"):
        listed, labels = data.pictures(part)
        values = np.stack([picture.values for picture in listed.files])
        found[part] = PictureSamples(torch.from_numpy(values)[:, None], labels)
    return found


@pytest.fixture(scope="module")
def trained(digits, cache):
    return load_or_train_image_classifier(digits["classifier"], digits["test"], DIGITS, num_steps=NUM_STEPS)


def learn(pictures, labels, class_names, **options):
    size = min(pictures.shape[2:])
    return train_classifier(lambda: ImageClassifier(class_names, pictures.shape[1], size), pictures, labels, **options)


def noise(num: int, channels: int, size: int, seed: int = 0) -> torch.Tensor:
    draw = seeding.generator(seed, "noise")
    return torch.randint(0, 256, (num, channels, size, size), generator=draw, dtype=torch.uint8)


def test_it_knows_digits_it_never_saw(trained, digits):
    assert trained.accuracy > 0.95
    assert trained.num_test == len(digits["test"]) == 297
    right = trained.classifier.classify(digits["test"].pictures) == digits["test"].labels
    assert right.float().mean().item() == pytest.approx(trained.accuracy)


def test_shuffled_labels_teach_nothing(digits):
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    found = learn(digits["classifier"].pictures, digits["classifier"].labels[order], DIGITS, num_steps=60)
    right = (found.classify(digits["test"].pictures) == digits["test"].labels).float().mean()
    assert right < 0.35


def test_it_is_sure_of_digits_and_less_so_of_noise(trained, digits):
    shares = trained.classifier.probabilities(digits["test"].pictures)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(297))
    assert torch.equal(shares.argmax(dim=1), trained.classifier.classify(digits["test"].pictures))
    assert shares.amax(dim=1).mean() > trained.classifier.probabilities(noise(100, 1, 8)).amax(dim=1).mean() + 0.1


def test_a_batch_equals_its_singles(trained, digits):
    some = digits["test"].pictures[:5]
    for ask in (trained.classifier.probabilities, trained.classifier.features):
        torch.testing.assert_close(ask(some), torch.cat([ask(one) for one in some.split(1)]), atol=1e-4, rtol=1e-4)
    # Neither do the other pictures of the batch matter, nor that it was in training a moment ago.
    trained.classifier.train()
    strange = torch.cat([some, noise(50, 1, 8)])
    torch.testing.assert_close(
        trained.classifier.probabilities(strange)[:5], trained.classifier.probabilities(some), atol=1e-4, rtol=1e-4
    )


def test_features_have_the_scale_the_kernel_is_made_for(trained, digits):
    """Standardised over the pictures it learned from: x'x / D is 1 on average, and 0 is their mean."""
    seen = trained.classifier.features(digits["classifier"].pictures)
    assert seen.shape == (400, 128)
    torch.testing.assert_close(seen.mean(dim=0), torch.zeros(128), atol=1e-4, rtol=0)
    assert seen.square().mean().item() == pytest.approx(1, abs=0.2)


def test_its_features_tell_good_pictures_from_bad_ones(trained, digits):
    """Real digits are at the floor; noisy ones, one digit only and pictures in disorder are far above."""
    features = ClassifierFeatures(trained.classifier)
    assert features.name == "classifier-10"
    test, labels = digits["test"].pictures, digits["test"].labels
    real, fresh = features(test), features(digits["classifier"].pictures)
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
    found = learn(noise(4, channels, size), torch.tensor([0, 0, 1, 1]), ("a", "b"), num_steps=2)
    assert found.config.size == size
    for pictures in (noise(3, channels, size), noise(2, channels, other), noise(2, channels, size)[..., : size - 1, :]):
        if min(pictures.shape[2:]) >= 8:
            assert found.probabilities(pictures).isfinite().all()
            assert found.features(pictures).isfinite().all()
    assert found.features(noise(0, channels, size)).shape == (0, 128)
    assert found.classify(noise(0, channels, size)).shape == (0,)


def test_a_large_picture_costs_no_more_than_a_small_one():
    """The first convolution brings 96 pixels down to 32."""
    sides = [
        ImageClassifier(("a",), 3, size).layers[0](torch.zeros(1, 3, size, size)).shape[-1] for size in (32, 64, 96)
    ]
    assert sides == [32, 32, 32]


def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state(digits):
    before = torch.get_rng_state()
    first, again, other = (
        learn(digits["classifier"].pictures, digits["classifier"].labels, DIGITS, num_steps=2, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_it_is_trained_once(trained, digits, monkeypatch):
    monkeypatch.setattr(classifier_module, "train_classifier", lambda *_, **__: pytest.fail("trained again"))
    shards = Rows([digits["classifier"].pictures[:150], digits["classifier"].pictures[150:]])  # the same from disk
    again = load_or_train_image_classifier(
        PictureSamples(shards, digits["classifier"].labels), digits["test"], DIGITS, num_steps=NUM_STEPS
    )
    assert (again.accuracy, again.num_test, again.seconds) == (trained.accuracy, trained.num_test, trained.seconds)
    test = digits["test"].pictures
    assert torch.equal(again.classifier.features(test), trained.classifier.features(test))


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """How often one was trained in a cache of its own."""
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    found = []

    def build_only(build, samples, *_, **__):
        found.append(len(samples))
        return build()

    monkeypatch.setattr(classifier_module, "train_classifier", build_only)
    return found


def test_other_pictures_or_a_damaged_file_are_trained_again(digits, runs):
    own, test = digits["classifier"], digits["test"]
    load_or_train_image_classifier(own, test, DIGITS)
    load_or_train_image_classifier(own, test, DIGITS)
    assert len(runs) == 1
    load_or_train_image_classifier(own, test, DIGITS, seed=1)
    load_or_train_image_classifier(PictureSamples(own.pictures.flip(0), own.labels), test, DIGITS)
    assert len(runs) == 3
    for file in (hub.cache_folder() / "classifiers").glob("*/classifier/*.safetensors"):
        file.write_bytes(b"cut")
    load_or_train_image_classifier(own, test, DIGITS)
    load_or_train_image_classifier(own, test, DIGITS)
    assert len(runs) == 4


@pytest.mark.parametrize("part", ["training_inputs", "augmented", "pooled"])
def test_what_it_computes_names_it_in_the_cache_and_not_how_that_is_written(part, digits, runs, monkeypatch):
    own, test, former = digits["classifier"], digits["test"], getattr(ImageClassifier, part)
    load_or_train_image_classifier(own, test, DIGITS)
    monkeypatch.setattr(ImageClassifier, part, lambda self, *args: former(self, *args))  # other code, same answers
    load_or_train_image_classifier(own, test, DIGITS)
    assert len(runs) == 1
    monkeypatch.setattr(
        ImageClassifier, part, lambda self, *args: former(self, *args).flip(1 if part == "pooled" else 2)
    )
    load_or_train_image_classifier(own, test, DIGITS)
    assert len(runs) == 2


def test_two_pictures_of_a_class_are_enough_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setenv("SYNESTHETE_CACHE", str(tmp_path))
    few = PictureSamples(noise(6, 3, 8), torch.tensor([0, 0, 1, 1, 2, 2]))
    calls = []
    found = load_or_train_image_classifier(
        few, few, ("a", "b", "c"), num_steps=20, progress=lambda *call: calls.append(call)
    )
    assert calls == [("classifier", 20, 20)]
    assert 0 <= found.accuracy <= 1
    assert found.classifier.features(few.pictures).isfinite().all()


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        (noise(1, 1, 8), "1 samples to train a classifier on"),
        (noise(4, 1, 7), "of 8 x 8 pixels and more"),
        (noise(4, 2, 8), "1 or 3, H, W"),
        (noise(4, 1, 8).float(), "float32: a classifier reads"),
    ],
)
def test_what_it_cannot_learn_from_is_one_line(pictures, reason, cache):
    with pytest.raises(InputError, match=reason) as raised:
        few = PictureSamples(pictures, torch.zeros(len(pictures), dtype=torch.int64))
        load_or_train_image_classifier(few, few, ("a", "b"), num_steps=1)
    assert "\n" not in str(raised.value)


def test_colour_for_a_classifier_of_grey_is_an_error(trained):
    with pytest.raises(InputError, match=r"pictures \(2, 3, 8, 8\) uint8: a classifier reads \(n, 1, H, W\)"):
        trained.classifier.classify(noise(2, 3, 8))


@pytest.fixture(scope="module")
def kept(trained, digits, tmp_path_factory):
    """In a model's folder, from the classifier that was trained already."""
    model = tmp_path_factory.mktemp("model")
    return model, save_classifier(trained, model, digits["test"].pictures, digits["test"].labels)


def test_beside_a_model_it_is_small_and_as_good(kept, trained, digits):
    model, written = kept
    assert sum(path.stat().st_size for path in (model / FOLDER).iterdir()) < 1_000_000
    assert [path.name for path in model.iterdir()] == [FOLDER]
    assert written.accuracy == pytest.approx(trained.accuracy, abs=0.01)
    again = load_classifier(model, ImageClassifier)
    assert (again.accuracy, again.num_test) == (written.accuracy, 297)
    assert {parameter.dtype for parameter in again.classifier.parameters()} == {torch.float32}
    test = digits["test"]
    assert torch.equal(again.classifier.probabilities(test.pictures), written.classifier.probabilities(test.pictures))
    near, exact = again.classifier.features(test.pictures), trained.classifier.features(test.pictures)
    assert (near - exact).square().mean() < 1e-3 * exact.square().mean()
    metric = again.metric(test.pictures, test.labels, "held-out pictures")
    assert (metric.value, metric.chance) == (pytest.approx(written.accuracy), 0.1)


def test_none_is_none_and_one_that_cannot_be_read_is_an_error(kept, tmp_path):
    assert load_classifier(tmp_path, ImageClassifier) is None
    shutil.copytree(kept[0] / FOLDER, tmp_path / FOLDER)
    load_classifier(tmp_path, ImageClassifier)
    for name, content in (
        ("diffusion_pytorch_model.safetensors", "cut"),
        ("classifier.json", "{}"),
        ("config.json", "{"),
    ):
        (tmp_path / FOLDER / name).write_text(content)
        with pytest.raises(InputError, match="classifier: cannot be loaded") as raised:
            load_classifier(tmp_path, ImageClassifier)
        assert "\n" not in str(raised.value)


def test_one_of_another_kind_is_named(kept):
    with pytest.raises(InputError, match="a ImageClassifier, where a SpeechClassifier belongs"):
        load_classifier(kept[0], SpeechClassifier)


def test_without_pictures_for_it_there_is_none(digits, tmp_path):
    prepared = SimpleNamespace(classifier=None, test=digits["test"], class_names=DIGITS)
    with pytest.raises(InputError, match=r"--set data\.num_classifier"):
        find_task("images").train_classifier(RECIPES["images-digits-debug"](), prepared, tmp_path)
