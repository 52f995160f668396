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
from synesthete.evaluation.classifiers.image import ImageClassifier, load_or_train_image_classifier
from synesthete.evaluation.classifiers.saved import TrainedClassifier
from synesthete.evaluation.features.features import ClassifierFeatures
from synesthete.evaluation.hearing import strength
from synesthete.evaluation.hearing.evaluation import evaluate, evaluate_hearing
from synesthete.evaluation.hearing.page import summary
from synesthete.evaluation.hearing.sensitivity import RIGHT, WRONG
from synesthete.evaluation.hearing.strength import measure_base
from synesthete.evaluation.hearing.telling import draw_telling, other_captions, other_class
from synesthete.pipeline import Pipeline
from synesthete.types import InputError

NUM = 48
KINDS = {"tokens": "nothing", "gates": "sound"}  # what a model follows after each stage


@pytest.fixture(scope="module")
def data(cache):
    return prepared_sounds()


@pytest.fixture(scope="module")
def judge(data):
    return load_or_train_image_classifier(data.judge, data.test, data.class_names, num_steps=60)


@pytest.fixture(scope="module")
def unseen():
    """Pictures in no split: what a perfect model paints."""
    return swatches("more", 24)


@pytest.fixture(scope="module")
def measure(data, judge, unseen):
    """`measure(follows)`: everything but the report, of a model that follows sound, text or nothing."""

    def call(follows, pictures=unseen, **options):
        hearer = make_hearer(follows, *pictures, deaf=options.pop("deaf", False))
        return evaluate_hearing(
            hearer, data, judge.classifier, ClassifierFeatures(judge.classifier), num=NUM, **options
        )

    return call


@pytest.fixture(scope="module")
def perfect(measure):
    return measure("sound")


@pytest.fixture(scope="module")
def reader(measure):
    """Listens to text alone."""
    return measure("text")


def test_a_perfect_painter_is_at_the_ceiling(perfect):
    for what in ("held-out takes", "speakers never heard"):
        metric = perfect.metric(f"class accuracy, {what}")
        assert metric.value > 0.95 * metric.ceiling
        assert metric.value > 0.9
        assert metric.chance == 0.25
        assert metric.shuffled < 0.5
        assert metric.interval[0] < metric.value <= metric.interval[1]
    assert perfect.metric("hearing: accuracy").value == 1.0
    assert perfect.metric("painting: the picture shows").value > 0.9
    assert perfect.metric("KID over").value < perfect.metric("KID over").chance / 3
    assert perfect.metric("mean rank").value == pytest.approx(perfect.metric("mean rank").ceiling, abs=0.3)
    assert perfect.metric("recall at 1").value > 0.9 > 0.5 > perfect.metric("recall at 1").shuffled
    assert "better than guessing" not in summary(perfect)
    assert "uses the sound" in summary(perfect)


def test_a_painter_that_ignores_sound_is_at_chance_and_said_to(measure):
    found = measure("nothing")
    for what in ("held-out takes", "speakers never heard"):
        metric = found.metric(f"class accuracy, {what}")
        assert metric.interval[0] < 0.25 < metric.interval[1]
    worth = found.metric("sensitivity, sound")
    assert worth.value == worth.chance == 0
    assert not found.sensitivity.used(RIGHT, WRONG)
    assert "no better than guessing" in summary(found)
    assert "ignores the sound" in summary(found)
    assert "ignores the text" in summary(found)
    rank = found.metric("mean rank")
    assert rank.value == pytest.approx(rank.chance, abs=0.5)
    # What it paints is as good as ever: it is only not what was heard.
    assert found.metric("hearing: accuracy").value == 1.0
    assert found.metric("painting: the picture shows").value < 0.5
    assert found.metric("KID over").value < found.metric("KID over").chance / 3


def test_one_that_listens_to_text_alone_is_found_to(reader):
    assert reader.metric("sensitivity, sound").value == 0
    text = reader.metric("sensitivity, text alone, naming the class")
    assert text.interval[0] > 0
    assert reader.metric("no sound, captions that name the class").value > 0.9
    assert reader.metric("no sound, captions without a class").value < 0.6
    assert reader.metric("class of the text, where").value > 0.9
    assert reader.metric("class of the sound, where").value < 0.1
    assert reader.metric("class accuracy, held-out takes").interval[0] < 0.25
    assert "ignores the sound" in summary(reader)
    assert "uses the text" in summary(reader)


def test_one_that_listens_to_sound_alone_has_no_text_sensitivity(perfect):
    sound = perfect.metric("sensitivity, sound")
    assert sound.interval[0] > 0
    text = perfect.metric("sensitivity, text alone")
    assert text.interval[0] <= 0 <= text.interval[1]
    assert perfect.metric("class of the sound, where the text names another").value > 0.9
    loss = perfect.metric("validation loss")
    assert loss.value < loss.shuffled
    assert loss.value < loss.chance


def test_the_ear_is_told_from_the_hand(measure):
    """An encoder that says the same of all sounds: nothing is heard, and the probe shows it."""
    found = measure("sound", deaf=True)
    assert found.metric("hearing: accuracy").value < 0.5
    assert found.metric("class accuracy, held-out takes").value == 0.25


def test_worse_pictures_are_further_away(measure, unseen, perfect):
    pictures, labels = unseen
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(-90, 90, pictures.shape, generator=draw)
    noisy = (pictures.int() + noise).clamp(0, 255).to(torch.uint8)
    found = measure("sound", (noisy, labels))
    assert found.metric("KID over").value > 2 * perfect.metric("KID over").value
    assert found.metric("precision").value < perfect.metric("precision").value


def test_every_metric_says_how_many(perfect):
    for metric in perfect.metrics:
        if "seconds" not in metric.title:
            assert "n = " in metric.title


def test_every_sound_is_told_once_before_any_again_and_none_is_named(data):
    telling = draw_telling(data.test, COLOURS, 64 + 5, seed=1)
    counts = torch.bincount(telling.sounds)
    assert counts.tolist().count(2) == 5
    assert counts.sum() == 69
    assert counts.min() == 1
    assert telling.num_sounds == 64
    assert torch.equal(data.test.sound_labels[telling.sounds], telling.labels)
    assert torch.equal(data.test.labels[telling.pictures], telling.labels)
    assert set(telling.captions.tolist()) == {0, 1}
    assert torch.equal(telling.naming, 2 + telling.labels)
    raw = telling.raw()
    assert raw.sound.shape == (69, LENGTH)
    assert torch.equal((raw.sound[:, 0] * 32768 / 1000).round().long() - 1, telling.labels)
    assert telling.raw(silent=True).sound is None
    assert telling.raw(mute=True).text is None
    assert telling.caption(0) in ("a picture", "some picture")


def test_a_sound_with_a_picture_of_its_own_is_shown_beside_that():
    telling = draw_telling(paired("test", 4, 0, own=True), COLOURS, 16, seed=0)
    assert torch.equal(telling.pictures, telling.sounds)


def test_captions_that_all_name_a_class_are_not_told(data):
    named = paired("test", 4, 0)
    named.captions = named.captions[:, 2:]
    telling = draw_telling(named, COLOURS, 8, seed=0)
    assert telling.captions is None
    assert telling.naming is not None
    assert telling.raw().text is None


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
    found = measure_base(stable(), draw_telling(data.test, COLOURS, 8, 0), 0)
    metric = found.metrics()[0]
    assert metric.value <= 1e-5
    assert metric.chance > 1e-2
    assert found.is_kept
    assert found.moved[0] < found.moved[-1]
    gates = found.metrics()[1]
    assert gates.value == pytest.approx(sum(map(abs, found.gates.values())) / len(found.gates))


def test_a_processor_that_leaks_is_found(data, monkeypatch):
    """At strength 0 the gated attention goes on hearing."""
    plain = SoundProcessor.forward

    def leaking(self, attn, hidden_states, encoder_hidden_states=None, *rest, **more):
        x = plain(self, attn, hidden_states, encoder_hidden_states, *rest, **more)
        return x + 0.01 if encoder_hidden_states.adapter_scale == 0 else x

    monkeypatch.setattr(SoundProcessor, "forward", leaking)
    found = measure_base(stable(), draw_telling(data.test, COLOURS, 8, 0), 0)
    assert found.metrics()[0].value > 1e-3
    assert not found.is_kept
    assert "leaks" in found.section().text


def test_a_model_without_a_base_has_no_figure_of_it(data, unseen):
    assert measure_base(make_hearer("sound", *unseen), draw_telling(data.test, COLOURS, 8, 0), 0) is None


def test_the_report_shows_plays_and_compares_stages(data, judge, unseen, tmp_path, monkeypatch):
    monkeypatch.setattr(strength, "NUM_COMPARED", 2)
    stages = {name: lambda follows=follows: make_hearer(follows, *unseen) for name, follows in KINDS.items()}
    blind = ImageClassifier(tuple(data.class_names)).eval()  # it has learned nothing
    found = evaluate(
        make_hearer("sound", *unseen),
        data,
        tmp_path / "report",
        model="mine",
        num=12,
        judge=judge,
        own_judge=TrainedClassifier[ImageClassifier](blind, accuracy=0.3, num_test=9),
        stages=stages,
    )
    assert found.metric("held-out takes (judge kept with the model").value < found.takes.share
    assert [each.name for each in found.stages] == ["tokens", "gates"]
    assert found.stages[0].share < found.stages[1].share
    assert found.metric("after stage gates").value > 0.9
    assert found.stages[1].worth > 0 == found.stages[0].worth
    values = json.loads((tmp_path / "report" / "report.json").read_text())
    assert values["title"] == "Does it hear? mine"
    assert values["hears"] is True
    assert values["uses"] == {"sound": True, "text beside sound": False, "text alone": False}
    assert [row["after stage"] for row in next(t for n, t in values["tables"].items() if "stage" in n)] == [*KINDS]
    assert any("is not on this machine" in note for note in values["notes"])
    assert math.isclose(values["metrics"][0]["value"], found.takes.share)
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<audio") == 2 * len(COLOURS)
    assert "ann" in page
    assert Page(page) is not None
    assert len(list((tmp_path / "report" / "sounds").iterdir())) == 2 * len(COLOURS)
    assert "What each stage added" in (tmp_path / "report" / "report.md").read_text()


def test_another_models_data_are_refused(data, judge, unseen, tmp_path):
    hearer = make_hearer("sound", *unseen)
    hearer.register_to_config(card={"class_names": ["cat"]})
    with pytest.raises(InputError, match="the model paints cat, the data hold red, green"):
        evaluate(hearer, data, tmp_path / "report", judge=judge)
