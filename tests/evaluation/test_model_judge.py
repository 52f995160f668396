"""The judge beside a model: kept small, read back whole, and sure of what it hears."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
import torch

from synesthete.data.speech.clips import load_clips
from synesthete.evaluation.speech.model_judge import FOLDER, Verdict, keep_judge, read_judge
from synesthete.types import AudioSpec, InputError


@pytest.fixture(scope="module")
def data(real):
    words = {"two": "two", "seven": ("seven", "the number seven")}
    return SimpleNamespace(class_names=real.class_names, words=words, clips=load_clips)


@pytest.fixture(scope="module")
def kept(data, corpus, trained, tmp_path_factory):
    """In a model's folder, from the judge that the session trained already."""
    model = tmp_path_factory.mktemp("model")
    return model, keep_judge(data, corpus, model, AudioSpec(), num_steps=120)


def test_it_is_small_and_as_good_as_the_one_it_was_made_of(kept, trained):
    model, judge = kept
    assert sum(path.stat().st_size for path in (model / FOLDER).iterdir()) < 600_000
    assert judge.accuracy == pytest.approx(trained.accuracy, abs=0.02)
    assert (judge.num_test, judge.num_voices) == (trained.num_test, trained.num_voices)
    assert not [path for path in model.iterdir() if path.name != FOLDER]


def test_it_is_read_back_and_hears_the_words(kept, real):
    again = read_judge(kept[0])
    sounds = real.waveforms.float() / 32768
    verdicts = again.hear(sounds)
    assert verdicts == kept[1].hear(sounds)
    right = [verdict.says == real.class_names[label] for verdict, label in zip(verdicts, real.labels, strict=True)]
    assert sum(right) / len(right) == pytest.approx(again.accuracy, abs=1e-6)
    assert all(0.25 <= v.confidence <= 1 and v.next_confidence <= v.confidence for v in verdicts)
    confident = [v.confidence for v, good in zip(verdicts, right, strict=True) if good]
    assert sum(confident) / len(confident) > 0.8


def test_it_is_measured_with_its_floor(kept, real):
    metric = kept[1].metric(real)
    assert metric.value == pytest.approx(kept[1].accuracy)
    assert metric.interval[0] <= metric.value <= metric.interval[1]
    assert metric.chance == 0.25
    assert f"n = {len(real)}" in metric.title


def test_a_class_of_one_phrase_is_called_by_it(kept, data, real):
    _, judge = kept
    words = dict(zip(real.class_names, judge.words, strict=True))
    assert words["four"] == ("four",)
    assert words["seven"] == ("seven", "the number seven")
    renamed = type(judge)(judge.judge, 1.0, 1, 1, (("fourfold",), *judge.words[1:]))
    four = real.waveforms[real.labels == real.class_names.index("four")].float() / 32768
    assert "fourfold" in {verdict.says for verdict in renamed.hear(four)}
    seven = real.waveforms[real.labels == real.class_names.index("seven")].float() / 32768
    assert "seven" in {verdict.says for verdict in judge.hear(seven)}


def test_a_verdict_is_one_line():
    assert str(Verdict("airplane", 0.971, "bird", 0.02)) == "says 'airplane' (judge 0.97; next 'bird' 0.02)"
    assert str(Verdict("airplane", 1.0)) == "says 'airplane' (judge 1.00)"


def test_no_judge_is_none_and_a_damaged_one_an_error(kept, tmp_path):
    assert read_judge(tmp_path) is None
    shutil.copytree(kept[0] / FOLDER, tmp_path / FOLDER)
    (tmp_path / FOLDER / "diffusion_pytorch_model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="judge: cannot be loaded"):
        read_judge(tmp_path)
    (tmp_path / FOLDER / "judge.json").write_text("{}")
    with pytest.raises(InputError, match="judge: cannot be loaded"):
        read_judge(tmp_path)


def test_silence_is_no_fault(kept):
    assert len(kept[1].hear(torch.zeros(2, 16_383))) == 2
