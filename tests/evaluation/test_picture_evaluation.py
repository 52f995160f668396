"""The evaluation of pictures: a perfect painter is at the ceiling, a blind one at chance, a copyist is found out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pages import Page, check_media
from painters import make_painter, unseen_swatches

from synesthete.conditioning.labels import Unconditional
from synesthete.config import build
from synesthete.data.labelled import PictureSamples
from synesthete.evaluation.classifiers.classifier import TrainedClassifier
from synesthete.evaluation.classifiers.image import (
    ImageClassifier,
    load_or_train_image_classifier,
)
from synesthete.evaluation.metrics.distribution import kernel, kernel_floor
from synesthete.evaluation.metrics.memorization import nearest_training_distance
from synesthete.evaluation.metrics.metric import slug
from synesthete.evaluation.samples import draw_places, draw_with_replacement
from synesthete.tasks.images.evaluation import ImagesEvaluator, dealt
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe

pytestmark = pytest.mark.usefixtures("undrawn")

NUM = 60
STEPS = 60  # of the classifier; three colours are told apart after a few


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared(
        None, "data.sources.swatches.num_train=50", "data.sources.swatches.num_test=30", "data.num_classifier=60"
    )


@pytest.fixture(scope="module")
def classifier(data):
    return load_or_train_image_classifier(data.classifier, data.test, data.class_names, num_steps=STEPS)


@pytest.fixture(scope="module")
def untrained(cache):
    return tiny_pipeline()


@pytest.fixture(scope="module")
def measure(data, classifier):
    """`measure(pipeline)`: an evaluator of it."""

    def call(pipeline, guidance=(), **options):
        return ImagesEvaluator(pipeline, data, classifier=classifier, num=NUM, guidance=guidance, **options)

    return call


@pytest.fixture(scope="module")
def perfect(untrained, measure):
    calls: list[tuple[str, int, int]] = []
    painter = make_painter(untrained, *unseen_swatches())
    evaluator = measure(painter, (0.0, 3.0), progress=lambda *call: calls.append(call))
    return evaluator, evaluator.measure(), calls


def test_a_perfect_painter_is_at_the_ceiling(perfect):
    _, found, _ = perfect
    accuracy, fid = found.metric("class_accuracy"), found.metric("fid")
    assert accuracy.value == accuracy.ceiling == 1.0
    assert accuracy.interval[0] > 0.9
    assert accuracy.chance == pytest.approx(1 / 3)
    assert accuracy.shuffled < 0.6
    assert fid.value < 2 * fid.ceiling < fid.chance / 2
    assert found.metric("kid_over_floor").value < 4
    assert found.metric("balanced_kid_over_floor").value < 4 < found.metric("balanced_kid_over_floor").chance
    for key in ("precision", "recall"):
        assert abs(found.metric(key).value - found.metric(key).ceiling) < 0.25
        assert found.metric(key).value > found.metric(key).chance
    assert found.metric("diversity").value == pytest.approx(1, abs=0.25)


def test_a_perfect_painter_copies_nothing(perfect):
    evaluator, found, _ = perfect
    assert found.metric("memorization_distance_pixels").value == pytest.approx(1, abs=0.1)
    assert found.metric("memorization_share_5_pixels").value < 0.25
    assert found.metric("memorization_share_5_pixels").ceiling == 0.05
    assert found.metric(f"memorization_distance_{slug(evaluator.comparison.features)}").value > 0.5
    assert "no sign of copying" in found.summary


def test_a_copyist_is_found_out(untrained, data, measure):
    copyist = make_painter(untrained, data.train.pictures[:], data.train.labels)
    found = measure(copyist).measure()
    assert found.metric("class_accuracy").value == 1.0  # by every other figure it is a good model
    assert found.metric("kid_over_floor").value < 4
    shares = [metric for metric in found.metrics if metric.key.startswith("memorization_share")]
    assert len(shares) == 4
    assert all(metric.value == metric.chance == 1.0 for metric in shares)
    assert found.metric("memorization_distance_pixels").value == 0.0
    assert "looks like copying" in found.summary


def test_a_mirrored_copy_is_a_copy_where_training_pictures_were_mirrored():
    generator = torch.Generator().manual_seed(0)
    training, held_out = (torch.randint(0, 256, (20, 3, 8, 8), generator=generator, dtype=torch.uint8) for _ in "ab")
    made = training[:5].flip(-1)
    assert nearest_training_distance("pixels", made, held_out, training).made.min() > 0
    found = nearest_training_distance("pixels", made, held_out, training, mirrored=(made.flip(-1), held_out.flip(-1)))
    assert not found.made.any()
    assert found.places.tolist() == [0, 1, 2, 3, 4]
    assert found.nearer(0) == 0.0
    assert found.num_training == 20


def test_a_painter_that_does_not_listen_is_at_chance(untrained, measure):
    found = measure(make_painter(untrained, *unseen_swatches(), listens=False)).measure()
    metric = found.metric("class_accuracy")
    assert metric.interval[0] < 1 / 3 < metric.interval[1]
    assert metric.ceiling == 1.0
    assert found.metric("kid_over_floor").value < 4  # the pictures are good, they are only not those asked for


def test_one_picture_over_and_over_has_no_diversity(untrained, measure):
    pictures, labels = unseen_swatches(1)
    found = measure(make_painter(untrained, pictures, labels)).measure()
    assert found.metric("class_accuracy").value == 1.0
    assert found.metric("diversity").value == pytest.approx(found.metric("diversity").chance, abs=1e-6)
    assert found.metric("recall").value < found.metric("recall").ceiling / 2


def test_every_metric_says_how_many_and_by_what(perfect):
    evaluator, found, _ = perfect
    assert len({metric.key for metric in found.metrics}) == len(found.metrics)
    for metric in found.metrics:
        assert "seconds" in metric.key or "n = " in metric.title
        if metric.key in ("fid", "kid", "precision", "recall", "diversity"):
            assert evaluator.comparison.features in metric.title
            assert metric.chance is not None
            assert metric.ceiling is not None


def test_tables_agree_with_the_headline(perfect):
    _, found, _ = perfect
    counts = torch.tensor(found.data["confusion"])
    assert int(counts.sum()) == NUM
    assert counts.diagonal().sum().item() / NUM == found.metric("class_accuracy").value
    assert int(torch.tensor(found.data["confusion_of_real"]).sum()) == NUM


def test_the_guidance_table_keeps_classes_and_noise(perfect):
    """This painter ignores guidance: any difference between scales would be the evaluation's own."""
    evaluator, found, _ = perfect
    sweep = found.data["guidance"]
    default = evaluator.pipeline.sampling_settings()["guidance_scale"]
    assert list(sweep) == [f"{scale:g}" for scale in sorted({0.0, 3.0, default})]
    first, second, third = ({k: v for k, v in figures.items() if "seconds" not in k} for figures in sweep.values())
    assert first == second == third
    assert first["accuracy"] == 1.0


def test_a_network_that_knows_nothing_is_told_so(perfect):
    """Untrained: the right class is no better than another, and the mean picture is a better guess near noise."""
    _, found, _ = perfect
    metric = found.metric("denoising_mse_800")
    assert metric.value > 0.9 * metric.chance
    assert metric.value == pytest.approx(metric.shuffled, rel=0.1)
    assert abs(found.metric("condition_sensitivity").value) < 0.1
    traced = {"fraction", "right condition", "shuffled condition", "no condition", "mean picture"}
    assert set(found.data["error_by_timestep"]) == traced


def test_progress_ends_where_it_says(perfect):
    _, _, calls = perfect
    assert {what for what, *_ in calls} >= {"sampling", "features, made", "denoising", "guidance 3"}
    assert all(done <= total for _, done, total in calls)
    assert ("sampling", NUM, NUM) in calls


def test_the_same_call_gives_the_same_figures(perfect, measure):
    evaluator, found, _ = perfect
    again = measure(evaluator.pipeline).measure()
    first, second = ([m for m in each.metrics if "seconds" not in m.key] for each in (found, again))
    assert first == second


def test_there_may_be_fewer_real_pictures_than_are_made(untrained, data, classifier):
    few = replace(data, test=PictureSamples(data.test.pictures[:20], data.test.labels[:20]))
    evaluator = ImagesEvaluator(
        make_painter(untrained, *unseen_swatches()), few, classifier=classifier, num=50, guidance=()
    )
    found = evaluator.measure()
    assert evaluator.comparison.num_equal == 20
    assert "n = 50, 20 real" in found.metric("kid").title
    notes = " ".join(found.data["notes"])
    assert "fewer pictures than dimensions" in notes
    assert "are training pictures" in notes


def test_a_model_that_is_told_nothing_has_no_class_figures(data, classifier, tmp_path):
    recipe = tiny_recipe("denoiser.condition_width=null", "denoiser.pooled_width=null", "sampling.guidance_scale=1")
    recipe.conditioner = build(Unconditional)
    found = ImagesEvaluator(tiny_pipeline(recipe), data, num=12, classifier=classifier).evaluate(tmp_path / "report")
    keys = " ".join(metric.key for metric in found.metrics)
    assert not [word for word in ("accuracy", "sensitivity", "balanced") if word in keys]
    assert "within all pictures" in found.metric("diversity").title
    assert not {"confusion", "guidance"} & found.data.keys()
    assert set(found.data["error_by_timestep"]) == {"fraction", "no condition", "mean picture"}
    assert found.metric("denoising_mse_500").shuffled is None
    text = (tmp_path / "report" / "report.md").read_text()
    assert "told no class" in text
    assert "gallery.png" in text


def test_from_data_to_a_report_that_opens(untrained, data, classifier, tmp_path):
    painter = make_painter(untrained, *unseen_swatches())
    own = TrainedClassifier[ImageClassifier](classifier.classifier, classifier.accuracy, classifier.num_test)
    out = tmp_path / "run" / "report"
    some = replace(data, skipped=("broken.png",), notes=("skipped 1",))
    evaluator = ImagesEvaluator(painter, some, num=12, guidance=(1.0,), classifier=classifier, saved=own)
    found = evaluator.evaluate(out, model="painter", command="evaluate painter")
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert check_media(page) == 7
    assert "nan" not in "".join(page.text)
    values = json.loads((out / "report.json").read_text())
    assert [metric["key"] for metric in values["metrics"]] == [metric.key for metric in found.metrics]
    assert len(values["confusion"]) == 3
    assert values["facts"]["command"] == "evaluate painter"
    assert values["facts"]["pictures"].startswith(f"12 made, seed 0; 12 of {len(data.test)} held-out")
    assert values["skipped"] == ["broken.png"]
    assert any(metric.key.startswith("saved") and metric.value == 1.0 for metric in found.metrics)
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures"}


def test_another_data_set_is_refused(untrained, data, classifier):
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        ImagesEvaluator(untrained, replace(data, class_names=("cat", "dog", "cow")), classifier=classifier)
    three = PictureSamples(data.test.pictures[:3], data.test.labels[:3])
    with pytest.raises(InputError, match="3 held-out pictures to compare with"):
        ImagesEvaluator(untrained, replace(data, test=three), classifier=classifier).measure()
    with pytest.raises(InputError, match="num_classifier"):
        ImagesEvaluator(untrained, replace(data, classifier=None))


def test_real_samples_are_in_one_set_alone():
    chosen, rest, training = draw_places(90, 150, 40, 3, "pictures")
    assert len({*chosen.tolist(), *rest.tolist()}) == 80
    assert not len(training)
    chosen, rest, training = draw_places(90, 150, 1000, 3, "pictures")
    assert (len(chosen), len(rest), len(training)) == (90, 0, 90)
    chosen, rest, training = draw_places(90, 150, 40, 3, "pieces", from_training=True)
    assert (len(chosen), len(rest), len(training)) == (40, 0, 40)


def test_a_perfect_models_kid_is_as_often_below_zero_as_above(data):
    """Asked for as many of each class, the KID of perfect pictures would always be below 0: too good to be true."""
    colours = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    found, labels = [], data.test.labels
    for seed in range(40):
        real = labels[draw_places(len(labels), 0, 45, seed, "pictures")[0]]
        asked = labels[draw_with_replacement(len(labels), 45, seed, "labels")]
        found.append(kernel(colours[real], colours[asked], num_subsets=0).value)
    below = sum(value < 0 for value in found)
    assert 10 <= below <= 34
    balanced = torch.arange(45) % 3
    assert kernel(colours[balanced], colours[balanced], num_subsets=0).value < -2 * abs(sum(found) / len(found))
    assert max(map(abs, found)) < 8 * kernel_floor(colours[labels], 45)


def test_dealt_pixels_keep_their_colours():
    pictures, _ = unseen_swatches(4)
    found = dealt(pictures, seed=0)
    assert found.shape == pictures.shape
    assert not torch.equal(found, pictures)
    as_rows = [p.transpose(0, 1).flatten(1).T for p in (pictures, found)]
    assert torch.equal(*(rows[rows.long().matmul(torch.tensor([65536, 256, 1])).argsort()] for rows in as_rows))
    assert found.float().mean(dim=(2, 3)).std(dim=0).max() < pictures.float().mean(dim=(2, 3)).std(dim=0).min()
