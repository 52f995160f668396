"""The evaluation of pictures: a perfect painter is at the ceiling, a blind one at chance, a copyist is found out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from pages import Page, check_media
from painters import make_painter, unseen_swatches

from synesthete.conditioning.unconditional import Unconditional
from synesthete.config import build
from synesthete.data.labelled import PictureSamples
from synesthete.evaluation.classifiers.image import (
    ImageClassifier,
    load_or_train_image_classifier,
)
from synesthete.evaluation.classifiers.saved import TrainedClassifier
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.metrics.distribution import kernel, kernel_floor
from synesthete.evaluation.metrics.memorization import nearest_training_distance
from synesthete.evaluation.pictures.evaluation import evaluate, evaluate_pictures
from synesthete.evaluation.pictures.page import summary
from synesthete.evaluation.pictures.real_pictures import dealt, draw_labels, draw_real
from synesthete.types import InputError
from tiny_pictures import tiny_pipeline, tiny_prepared, tiny_recipe

NUM = 60
STEPS = 60  # of the judge; three colours are told apart after a few


@pytest.fixture(scope="module")
def data(cache):
    return tiny_prepared(
        None, "data.sources.swatches.num_train=50", "data.sources.swatches.num_test=30", "data.num_judge=60"
    )


@pytest.fixture(scope="module")
def judge(data):
    return load_or_train_image_classifier(data.judge, data.test, data.class_names, num_steps=STEPS)


@pytest.fixture(scope="module")
def untrained(cache):
    return tiny_pipeline()


@pytest.fixture(scope="module")
def measure(data, judge):
    """`measure(pipeline)`: everything but the report, at two guidance scales."""

    def call(pipeline, guidance=(), **options):
        features = ClassifierFeatures(judge.classifier)
        return evaluate_pictures(pipeline, data, judge.classifier, features, num=NUM, guidance=guidance, **options)

    return call


@pytest.fixture(scope="module")
def perfect(untrained, measure):
    calls: list[tuple[str, int, int]] = []
    painter = make_painter(untrained, *unseen_swatches())
    return painter, measure(painter, (0.0, 3.0), progress=lambda *call: calls.append(call)), calls


def test_a_perfect_painter_is_at_the_ceiling(perfect):
    _, found, _ = perfect
    accuracy = found.metric("class accuracy")
    assert accuracy.value == accuracy.ceiling == 1.0
    assert accuracy.interval[0] > 0.9
    assert accuracy.chance == pytest.approx(1 / 3)
    assert accuracy.shuffled < 0.6
    fid = found.metric("FID")
    assert fid.value < 2 * fid.ceiling < fid.chance / 2
    assert found.metric("KID over").value < 4
    assert found.metric("class-balanced KID").value < 4 < found.metric("class-balanced KID").chance
    for name in ("precision", "recall"):
        metric = found.metric(name)
        assert abs(metric.value - metric.ceiling) < 0.25
        assert metric.value > metric.chance
    assert found.metric("diversity").value == pytest.approx(1, abs=0.25)


def test_a_perfect_painter_copies_nothing(perfect):
    _, found, _ = perfect
    pixels, features = found.memory.closeness
    assert (pixels.space, features.space) == ("pixels", found.likenesses.features)
    assert found.metric("memorisation: distance").value == pytest.approx(1, abs=0.1)
    assert found.metric("nearest 5%").value < 0.25
    assert found.metric("nearest 5%").ceiling == 0.05
    assert "no sign of copying" in summary(found)


def test_a_copyist_is_found_out(untrained, data, measure):
    copyist = make_painter(untrained, data.train.pictures[:], data.train.labels)
    found = measure(copyist)
    assert found.metric("class accuracy").value == 1.0  # by every other figure it is a good model
    assert found.metric("KID over").value < 4
    for metric in [metric for metric in found.metrics if "memorisation: share" in metric.title]:
        assert metric.value == metric.chance == 1.0
    assert found.metric("memorisation: distance").value == found.metric("memorisation: distance").chance == 0.0
    assert torch.equal(found.memory.copies, found.made[found.memory.suspects])
    assert "looks like copying" in summary(found)


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
    found = measure(make_painter(untrained, *unseen_swatches(), listens=False))
    metric = found.metric("class accuracy")
    assert metric.interval[0] < 1 / 3 < metric.interval[1]
    assert metric.ceiling == 1.0
    assert found.metric("KID over").value < 4  # the pictures are good, they are only not those asked for
    assert sum(found.per_class()) / 3 == pytest.approx(metric.value, abs=0.02)


def test_one_picture_over_and_over_has_no_diversity(untrained, measure):
    pictures, labels = unseen_swatches(1)
    found = measure(make_painter(untrained, pictures, labels))
    assert found.metric("class accuracy").value == 1.0
    assert found.metric("diversity").value == pytest.approx(found.metric("diversity").chance, abs=1e-6)
    assert found.metric("recall").value < found.metric("recall").ceiling / 2


def test_every_metric_says_how_many_and_by_what(perfect):
    _, found, _ = perfect
    for metric in found.metrics:
        if "seconds" not in metric.title:
            assert "n = " in metric.title
    for name in ("FID", "KID", "precision", "recall", "diversity"):
        metric = found.metric(name)
        assert found.likenesses.features in metric.title
        assert metric.chance is not None
        assert metric.ceiling is not None


def test_tables_agree_with_the_headline(perfect):
    _, found, _ = perfect
    assert int(found.confusion().sum()) == NUM
    assert found.confusion().diagonal().sum().item() / NUM == found.metric("class accuracy").value
    assert int(found.confusion(real=True).sum()) == len(found.real.labels) == NUM
    assert found.seconds_per_picture > 0


def test_the_guidance_table_keeps_classes_and_noise(perfect):
    """This painter ignores guidance: any difference between scales would be the evaluation's own."""
    painter, found, _ = perfect
    default = painter.sampling_settings()["guidance_scale"]
    assert list(found.sweep) == sorted({0.0, 3.0, default})
    first, second, third = ({k: v for k, v in s.figures().items() if "seconds" not in k} for s in found.sweep.values())
    assert first == second == third
    assert found.sweep[0.0].accuracy == 1.0


def test_a_network_that_knows_nothing_is_told_so(perfect):
    """Untrained: the right class is no better than another, and the mean picture is a better guess near noise."""
    _, found, _ = perfect
    metric = found.metric("t = 800")
    assert metric.value > 0.9 * metric.chance
    assert metric.value == pytest.approx(metric.shuffled, rel=0.1)
    assert abs(found.metric("condition sensitivity").value) < 0.1
    assert set(found.denoising.errors) == {"right condition", "shuffled condition", "no condition"}


def test_progress_ends_where_it_says(perfect):
    _, _, calls = perfect
    assert {what for what, *_ in calls} >= {"sampling", "features, made", "denoising", "guidance 3"}
    assert all(done <= total for _, done, total in calls)
    assert ("sampling", NUM, NUM) in calls


def test_the_same_call_gives_the_same_figures(perfect, measure):
    first, again = (
        [m for m in found.metrics if "seconds" not in m.title] for found in (perfect[1], measure(perfect[0]))
    )
    assert first == again


def test_there_may_be_fewer_real_pictures_than_are_made(untrained, data, judge):
    few = replace(data, test=PictureSamples(data.test.pictures[:20], data.test.labels[:20]))
    features = ClassifierFeatures(judge.classifier)
    painter = make_painter(untrained, *unseen_swatches())
    found = evaluate_pictures(painter, few, judge.classifier, features, num=50, guidance=())
    assert found.likenesses.num_equal == 20
    assert "n = 20" in found.metric("FID").name
    assert "n = 50, 20 real" in found.metric("KID").name
    assert any("fewer pictures than dimensions" in note for note in found.notes)
    assert any("are training pictures" in note for note in found.notes)


def test_a_model_that_is_told_nothing_has_no_class_figures(data, judge, tmp_path):
    recipe = tiny_recipe("denoiser.condition_width=null", "denoiser.pooled_width=null", "sampling.guidance_scale=1")
    recipe.conditioner = build(Unconditional)
    pipeline = tiny_pipeline(recipe)
    found = evaluate(pipeline, data, tmp_path / "report", num=12, judge=judge)
    names = " ".join(metric.title for metric in found.metrics)
    assert "accuracy" not in names
    assert "sensitivity" not in names
    assert "balanced" not in names
    assert "diversity within all pictures" in names
    assert found.answers is None
    assert not found.sweep
    assert list(found.denoising.errors) == ["no condition"]
    assert found.metric("t = 500").shuffled is None
    text = (tmp_path / "report" / "report.md").read_text()
    assert "told no class" in text
    assert "gallery.png" in text


def test_from_data_to_a_report_that_opens(untrained, data, judge, tmp_path):
    painter = make_painter(untrained, *unseen_swatches())
    own = TrainedClassifier[ImageClassifier](judge.classifier, judge.accuracy, judge.num_test)
    out = tmp_path / "run" / "report"
    found = evaluate(
        painter,
        replace(data, skipped=("broken.png",), notes=("skipped 1",)),
        out,
        model="painter",
        num=12,
        guidance=(1.0,),
        judge=judge,
        own_judge=own,
        command="evaluate painter",
    )
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert check_media(page) == 7
    text = "".join(page.text)
    assert "class accuracy" in text
    assert "nan" not in text
    values = json.loads((out / "report.json").read_text())
    assert values["metrics"][0]["value"] == found.metrics[0].value
    assert len(values["confusion"]) == 3
    assert values["guidance"].keys() == {f"{scale:g}" for scale in found.sweep}
    assert values["features"]["name"] == found.likenesses.features
    assert values["facts"]["command"] == "evaluate painter"
    assert values["facts"]["pictures"].startswith(f"12 made, seed 0; 12 of {len(data.test)} held-out")
    assert values["skipped"] == ["broken.png"]
    assert found.metric("kept with the model").value == 1.0
    assert {path.name for path in out.iterdir()} == {"report.md", "report.html", "report.json", "pictures"}


def test_another_data_set_is_refused(untrained, data, judge, tmp_path):
    with pytest.raises(InputError, match="evaluate it on the data of its own recipe"):
        evaluate(untrained, replace(data, class_names=("cat", "dog", "cow")), tmp_path / "a", judge=judge)
    three = PictureSamples(data.test.pictures[:3], data.test.labels[:3])
    with pytest.raises(InputError, match="3 held-out pictures to compare with"):
        evaluate(untrained, replace(data, test=three), tmp_path / "b", judge=judge)
    with pytest.raises(InputError, match="num_judge"):
        evaluate(untrained, replace(data, judge=None), tmp_path / "c")


def test_real_pictures_are_in_one_set_alone(data):
    found = draw_real(data, 40, seed=3)
    rows = [picture.flatten() for part in (found.held_out, found.others) for picture in part]
    assert len(torch.stack(rows).unique(dim=0)) == len(rows) == 80
    assert found.num_training == 0
    everything = draw_real(data, 1000, seed=3)
    assert len(everything.held_out) == len(data.test)
    assert everything.num_training == len(everything.others) == 90


def test_a_perfect_models_kid_is_as_often_below_zero_as_above(data):
    """Asked for as many of each class, the KID of perfect pictures would always be below 0: too good to be true."""
    colours = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in range(40):
        real, labels = draw_real(data, 45, seed).labels, draw_labels(data, 45, seed)
        found.append(kernel(colours[real], colours[labels], num_subsets=0).value)
    below = sum(value < 0 for value in found)
    assert 10 <= below <= 34
    balanced = torch.arange(45) % 3
    assert kernel(colours[balanced], colours[balanced], num_subsets=0).value < -2 * abs(sum(found) / len(found))
    assert max(map(abs, found)) < 8 * kernel_floor(colours[data.test.labels], 45)


def test_dealt_pixels_keep_their_colours():
    pictures, _ = unseen_swatches(4)
    found = dealt(pictures, seed=0)
    assert found.shape == pictures.shape
    assert not torch.equal(found, pictures)
    as_rows = [p.transpose(0, 1).flatten(1).T for p in (pictures, found)]
    assert torch.equal(*(rows[rows.long().matmul(torch.tensor([65536, 256, 1])).argsort()] for rows in as_rows))
    assert found.float().mean(dim=(2, 3)).std(dim=0).max() < pictures.float().mean(dim=(2, 3)).std(dim=0).min()
