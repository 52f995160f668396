"""What TensorBoard is given, and that training needs none (law 12)."""

from __future__ import annotations

import builtins
import json
import logging
import socket

import pytest
import torch
from PIL import Image

from synesthete.training.run_log import RunLog


def read(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder), size_guidance=accumulator.STORE_EVERYTHING_SIZE_GUIDANCE)
    return events.Reload()


def test_tensorboard_reads_figures_pictures_and_sounds(tmp_path):
    log = RunLog(tmp_path, "denoise", 0)
    log.write(1, loss=0.5, loss_by_timestep=[0.25, None, 0.75])
    log.picture("preview", Image.new("L", (6, 4)), 1)
    log.sound("voice", torch.zeros(2400), 24_000, 1)
    log.close()
    events = read(tmp_path / "tensorboard" / "denoise")
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 0.5)]
    assert events.Tags()["scalars"] == ["loss", "loss_by_timestep/0", "loss_by_timestep/2"]
    [picture], [sound] = events.Images("preview"), events.Audio("voice")
    assert (picture.width, picture.height) == (6, 4)
    assert sound.sample_rate == 24_000


def test_a_resumed_run_replaces_what_it_does_again(tmp_path):
    for first, losses in ((0, {1: 1.0, 2: 2.0, 3: 3.0}), (1, {2: 20.0})):
        log = RunLog(tmp_path, "denoise", first)
        for step, loss in losses.items():
            log.write(step, loss=loss)
        log.close()
    events = read(tmp_path / "tensorboard" / "denoise").Scalars("loss")
    assert [(event.step, event.value) for event in events] == [(1, 1.0), (2, 20.0)]


def test_a_resumed_run_whose_name_is_not_ascii_has_no_line_twice(tmp_path):
    """JSON writes such a name in another way than it is spelt; another stage's lines stay whatever its name."""
    for _ in range(3):
        for stage in ("träume", "夢"):
            log = RunLog(tmp_path, stage, 1 if (tmp_path / "metrics.jsonl").exists() else 0)
            for step in (1, 2):
                log.write(step, loss=0.5)
            log.close()
            seen = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
            mine = [line["step"] for line in seen if line["stage"] == stage]
            assert mine.count(2) == 1
    assert sorted({line["stage"] for line in seen}) == ["träume", "夢"]


def test_no_event_file_names_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "secret-host")
    log = RunLog(tmp_path, "denoise", 0)
    log.write(1, loss=0.5)
    log.close()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        assert "secret-host" not in path.name
        assert b"secret-host" not in path.read_bytes()


def test_without_tensorboard_the_figures_are_kept_and_one_line_says_so(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def absent(name, *rest):
        if name.split(".")[0] == "tensorboard":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with caplog.at_level(logging.INFO):
        log = RunLog(tmp_path, "denoise", 0)
    log.write(1, loss=0.5)
    log.picture("preview", Image.new("L", (6, 4)), 1)
    log.sound("voice", torch.zeros(2400), 24_000, 1)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert [r.getMessage() for r in caplog.records] == [
        "tensorboard is not installed; the figures are in metrics.jsonl alone"
    ]
