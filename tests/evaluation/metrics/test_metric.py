"""The table of metrics: every key once, and a row of one's own is computed like the others."""

from __future__ import annotations

import re

import pytest
import torch

from synesthete.evaluation.metrics.metric import METRICS, MetricRow, by_key, metric, register_metric
from synesthete.evaluation.metrics.set_comparison import SampleSet, registered_metrics
from synesthete.types import InputError


def test_a_key_is_a_name_without_n():
    for key, row in METRICS.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", key)
        assert row.key == key


def test_the_key_is_the_same_whatever_n():
    few, many = (
        metric("accuracy", 0.5, classifier="mel classifier", num=num, variant="mel classifier") for num in (10, 1000)
    )
    assert few.key == many.key == "accuracy_mel_classifier"
    assert few.title != many.title
    assert few.unit == "share" and few.higher_is_better


def test_a_wrong_key_names_the_nearest():
    with pytest.raises(InputError, match="accuracy_whisper"):
        by_key([metric("accuracy", 0.5, classifier="whisper", num=1, variant="whisper")], "accuracy_wisper")
    with pytest.raises(InputError, match="register_metric"):
        metric("no_such", 0.5)


def test_a_row_of_ones_own_is_measured_with_floor_and_ceiling(monkeypatch, caplog):
    monkeypatch.setattr("synesthete.evaluation.metrics.metric.METRICS", METRICS | {})
    monkeypatch.setattr("synesthete.evaluation.metrics.set_comparison.METRICS", own := {})

    def brightness(real: SampleSet, made: SampleSet) -> float:
        return abs((real.samples.double().mean() - made.samples.double().mean()).item())

    own["brightness"] = register_metric(MetricRow("brightness", "brightness ({against})", compute=brightness))
    sets = [SampleSet(torch.full((3, 2), value), torch.zeros(3), torch.zeros(3, 1)) for value in (1.0, 1.5, 1.0, 9.0)]
    (found,) = registered_metrics(sets[0], sets[1], real=sets[2], worst=sets[3], against="n = 3")
    assert (found.key, found.value, found.ceiling, found.chance) == ("brightness", 0.5, 0.0, 8.0)
    own["broken"] = MetricRow("broken", "broken", compute=lambda real, made: 1 / (9.0 - made.samples.max().item()))
    kept = registered_metrics(sets[0], sets[1], real=sets[2], worst=sets[3], against="n = 3")
    assert [each.key for each in kept] == ["brightness"]
    assert "broken" in caplog.text and "chance" in caplog.text and "ZeroDivisionError" in caplog.text
    with pytest.raises(InputError, match="already"):
        register_metric(MetricRow("kid", "another"))
