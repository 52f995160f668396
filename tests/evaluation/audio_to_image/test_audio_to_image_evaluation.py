"""The evaluation of models that paint sounds: a perfect one is at the ceiling, a deaf one at chance and found out."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hearers import COLOURS, LENGTH, Ear, make_hearer, paired, prepared_sounds, swatches
from pages import Page

from synesthete.codecs.pixels import PixelCodec
from synesthete.config import Sampling
from synesthete.denoisers.gated_attention import SoundProcessor
from synesthete.denoisers.stable_diffusion import StableDiffusion
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import scheduler_for
from synesthete.evaluation.classifiers.classifier import TrainedClassifier
from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier
from synesthete.pipeline import Pipeline
from synesthete.tasks.audio_to_image import sensitivity
from synesthete.tasks.audio_to_image.eval_conditions import (
    draw_conditions,
    hearing_metrics,
    other_captions,
    other_class,
)
from synesthete.tasks.audio_to_image.evaluation import AudioToImageEvaluator
from synesthete.tasks.audio_to_image.sensitivity import adapter_finding
from synesthete.types import InputError

pytestmark = pytest.mark.usefixtures("undrawn")

NUM = 48
KINDS = {"tokens": "nothing", "gates": "sound"}  # what a model follows after each stage


@pytest.fixture(scope="module")
def data(cache):
    return prepared_sounds()


@pytest.fixture(scope="module")
def classifier(data):
    return load_or_train_image_classifier(data.classifier, data.test, data.class_names, num_steps=60)


@pytest.fixture(scope="module")
def unseen():
    """Pictures in no split: what a perfect model paints."""
    return swatches("more", 24)


@pytest.fixture(scope="module")
def evaluator(data, classifier, unseen):
    """`evaluator(follows)`: of a model that follows sound, text or nothing."""

    def call(follows, pictures=unseen, deaf=False, **options):
        hearer = make_hearer(follows, *pictures, deaf=deaf)
        return AudioToImageEvaluator(hearer, data, classifier=classifier, num=NUM, **options)

    return call


@pytest.fixture(scope="module")
def perfect(evaluator):
    return evaluator("sound").measure()


@pytest.fixture(scope="module")
def reader(evaluator):
    """Listens to text alone."""
    return evaluator("text").measure()


TAKES, SPEAKERS = "class_accuracy_heard_held_out_takes", "class_accuracy_heard_speakers_never_heard"
HEARING, DRAWING = "probe_accuracy_held_out_takes", "probe_agreement_held_out_takes"


def test_a_perfect_painter_is_at_the_ceiling(perfect):
    for key in (TAKES, SPEAKERS):
        metric = perfect.metric(key)
        assert metric.value > 0.95 * metric.ceiling
        assert metric.value > 0.9
        assert metric.chance == 0.25
        assert metric.shuffled < 0.5
        assert metric.interval[0] < metric.value <= metric.interval[1]
    assert perfect.metric(HEARING).value == 1.0
    assert perfect.metric(DRAWING).value > 0.9
    assert perfect.metric("kid_over_floor").value < perfect.metric("kid_over_floor").chance / 3
    rank, recall = perfect.metric("retrieval_mean_rank_the_class"), perfect.metric("retrieval_recall_the_class_1")
    assert rank.value == pytest.approx(rank.ceiling, abs=0.3)
    assert recall.value > 0.9 > 0.5 > recall.shuffled
    assert perfect.data["hears"] is True
    assert perfect.data["uses"]["sound"] is True


def test_a_painter_that_ignores_sound_is_at_chance_and_said_to(evaluator):
    found = evaluator("nothing").measure()
    for key in (TAKES, SPEAKERS):
        assert found.metric(key).interval[0] < 0.25 < found.metric(key).interval[1]
    assert found.metric("condition_sensitivity_sound").value == found.metric("condition_sensitivity_sound").chance == 0
    assert found.data["hears"] is False
    assert found.data["uses"] == {"sound": False, "text beside sound": False, "text alone": False}
    assert "no better than guessing" in found.summary
    rank = found.metric("retrieval_mean_rank_the_class")
    assert rank.value == pytest.approx(rank.chance, abs=0.5)
    # What it paints is as good as ever: it is only not what was heard.
    assert found.metric(HEARING).value == 1.0
    assert found.metric(DRAWING).value < 0.5
    assert found.metric("kid_over_floor").value < found.metric("kid_over_floor").chance / 3


def test_one_that_listens_to_text_alone_is_found_to(reader):
    assert reader.metric("condition_sensitivity_sound").value == 0
    assert reader.metric("condition_sensitivity_text_alone").interval[0] > 0
    assert reader.metric("class_accuracy_heard_no_sound_captions_that_name_the_class").value > 0.9
    assert reader.metric("class_accuracy_heard_no_sound_captions_without_a_class").value < 0.6
    assert reader.metric("class_of_the_text").value > 0.9
    assert reader.metric("class_of_the_sound").value < 0.1
    assert reader.metric(TAKES).interval[0] < 0.25
    uses = reader.data["uses"]
    assert uses["text alone"]
    assert not uses["sound"]


def test_one_that_listens_to_sound_alone_has_no_text_sensitivity(perfect):
    assert perfect.metric("condition_sensitivity_sound").interval[0] > 0
    text = perfect.metric("condition_sensitivity_text_alone")
    assert text.interval[0] <= 0 <= text.interval[1]
    assert perfect.metric("class_of_the_sound").value > 0.9
    loss = perfect.metric("validation_loss")
    assert loss.value < loss.shuffled
    assert loss.value < loss.chance


def test_hearing_is_told_from_drawing(evaluator):
    """An encoder that says the same of all sounds: nothing is heard, and the probe shows it."""
    found = evaluator("sound", deaf=True)
    heard, _ = hearing_metrics(found.pipeline, found.prepared.train, [found.takes], 0)
    assert heard.value < 0.5
    assert found.takes.share == 0.25


def test_worse_pictures_are_further_away(evaluator, unseen, perfect):
    pictures, labels = unseen
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(-90, 90, pictures.shape, generator=draw)
    noisy = (pictures.int() + noise).clamp(0, 255).to(torch.uint8)
    found = evaluator("sound", (noisy, labels)).comparison
    assert found.over_floor(found.made.kernel) > 2 * perfect.metric("kid_over_floor").value
    assert found.made.precision < perfect.metric("precision").value


def test_every_metric_says_how_many(perfect):
    assert len({metric.key for metric in perfect.metrics}) == len(perfect.metrics)
    for metric in perfect.metrics:
        assert "seconds" in metric.key or "n = " in metric.title


def test_every_sound_is_told_once_before_any_again_and_none_is_named(data):
    conditions = draw_conditions(data.test, COLOURS, 64 + 5, seed=1)
    counts = torch.bincount(conditions.sounds)
    assert counts.tolist().count(2) == 5
    assert counts.sum() == 69
    assert counts.min() == 1
    assert conditions.num_sounds == 64
    assert torch.equal(data.test.sound_labels[conditions.sounds], conditions.labels)
    assert torch.equal(data.test.labels[conditions.pictures], conditions.labels)
    assert set(conditions.captions.tolist()) == {0, 1}
    assert torch.equal(conditions.naming, 2 + conditions.labels)
    raw = conditions.raw()
    assert raw.sound.shape == (69, LENGTH)
    assert torch.equal((raw.sound[:, 0] * 32768 / 1000).round().long() - 1, conditions.labels)
    assert conditions.raw(silent=True).sound is None
    assert conditions.raw(mute=True).text is None
    assert conditions.caption(0) in ("a picture", "some picture")


def test_a_sound_with_a_picture_of_its_own_is_shown_beside_that():
    conditions = draw_conditions(paired("test", 4, 0, own=True), COLOURS, 16, seed=0)
    assert torch.equal(conditions.pictures, conditions.sounds)


def test_captions_that_all_name_a_class_are_not_told(data):
    named = paired("test", 4, 0)
    named.captions = named.captions[:, 2:]
    conditions = draw_conditions(named, COLOURS, 8, seed=0)
    assert conditions.captions is None
    assert conditions.naming is not None
    assert conditions.raw().text is None


def test_another_class_and_another_caption_are_always_another():
    draw = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(20, dtype=torch.int64), torch.randint(0, 3, (10,), generator=draw)])
    order = torch.arange(30).roll(1)
    assert (labels[other_class(labels, order)] != labels).all()
    same = torch.zeros(5, dtype=torch.int64)
    assert torch.equal(other_class(same, order[:5]), order[:5])
    others = other_captions(labels, order)
    assert (others != labels).all()
    assert set(others.tolist()) <= set(labels.tolist())
    assert other_captions(same, torch.arange(5).roll(1)) is None


def stable(seed: int = 0):
    """A `StableDiffusion` of a kind, awake, in a pipeline that hears as the other hearers do."""
    torch.manual_seed(seed)
    network = {
        "block_out_channels": [8, 8],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
    }
    denoiser = StableDiffusion(
        None, network, (8, 8), 3, condition_width=2, num_sound_tokens=2, gated_width=8, lora_rank=2
    ).eval()
    for group, std in (("lora", 0.05), ("gates", 0.5)):
        for parameter in denoiser.groups()[group]:
            parameter.data.normal_(std=std)
    process, sampling = Process(), vars(Sampling(num_inference_steps=2, guidance_scale=1.0))
    card = {"class_names": list(COLOURS)}
    return Pipeline(
        PixelCodec(size=8), Ear(), denoiser, scheduler_for(sampling, process), process.settings(), sampling, card
    )


def test_strength_0_is_the_base_and_strength_1_is_not(data):
    found = adapter_finding(stable(), draw_conditions(data.test, COLOURS, 8, 0), 0)
    off, gates = found.metrics
    assert off.value <= 1e-5
    assert off.chance > 1e-2
    assert found.data["strength_0_is_base"]
    moved = list(found.data["strength"].values())
    assert moved[0] < moved[-1]
    assert gates.value == pytest.approx(sum(map(abs, found.data["gates"].values())) / len(found.data["gates"]))


def test_a_processor_that_leaks_is_found(data, monkeypatch):
    """At strength 0 the gated attention goes on hearing."""
    plain = SoundProcessor.forward

    def leaking(self, attn, hidden_states, encoder_hidden_states=None, *rest, **more):
        x = plain(self, attn, hidden_states, encoder_hidden_states, *rest, **more)
        return x + 0.01 if encoder_hidden_states.adapter_scale == 0 else x

    monkeypatch.setattr(SoundProcessor, "forward", leaking)
    found = adapter_finding(stable(), draw_conditions(data.test, COLOURS, 8, 0), 0)
    assert found.metrics[0].value > 1e-3
    assert not found.data["strength_0_is_base"]
    assert "leaks" in found.sections[0].text


def test_a_model_without_a_base_has_no_figure_of_it(data, unseen):
    found = adapter_finding(make_hearer("sound", *unseen), draw_conditions(data.test, COLOURS, 8, 0), 0)
    assert not found.metrics and not found.sections


def test_the_report_shows_plays_and_compares_stages(data, classifier, unseen, tmp_path, monkeypatch):
    monkeypatch.setattr(sensitivity, "NUM_COMPARED", 2)
    stages = {name: lambda follows=follows: make_hearer(follows, *unseen) for name, follows in KINDS.items()}
    blind = ImageClassifier(tuple(data.class_names)).eval()  # it has learned nothing
    evaluator = AudioToImageEvaluator(
        make_hearer("sound", *unseen),
        data,
        num=12,
        classifier=classifier,
        saved=TrainedClassifier[ImageClassifier](blind, accuracy=0.3, num_test=9),
        stages=stages,
    )
    found = evaluator.evaluate(tmp_path / "report", model="mine")
    by_blind = [m for m in found.metrics if m.key.startswith(TAKES) and m.key != TAKES]
    assert by_blind[0].value < evaluator.takes.share
    before, after = found.data["stages"]
    assert (before["name"], after["name"]) == ("tokens", "gates")
    assert before["share"] < after["share"]
    assert found.metric("class_accuracy_after_stage_gates").value > 0.9
    assert after["worth"] > 0 == before["worth"]
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["facts"]["model"] == "mine"
    assert values["hears"] is True
    assert values["uses"] == {"sound": True, "text beside sound": False, "text alone": False}
    assert [row["after stage"] for row in next(t for n, t in values["tables"].items() if "stage" in n)] == [*KINDS]
    assert any("is not on this machine" in note for note in values["notes"])
    assert math.isclose(values["metrics"][0]["value"], evaluator.takes.share)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<audio") == 2 * len(COLOURS)
    assert "ann" in page
    assert Page(page) is not None
    assert len(list((tmp_path / "report" / "sounds").iterdir())) == 2 * len(COLOURS)
    assert "What each stage added" in (tmp_path / "report" / "report.md").read_text()


def test_another_models_data_are_refused(data, classifier, unseen):
    hearer = make_hearer("sound", *unseen)
    hearer.config["card"] = {"class_names": ["cat"]}
    with pytest.raises(InputError, match="cat, the data hold red, green"):
        AudioToImageEvaluator(hearer, data, classifier=classifier)
