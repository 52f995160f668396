"""The round-trip benchmark, run whole at a size of seconds."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from benchmarks import stft_round_trip

from synesthete.data.audio import write_audio
from synesthete.types import InputError


@pytest.fixture
def folder(tmp_path):
    time = torch.arange(24_000) / 32_000
    for i, pitch in enumerate((330.0, 550.0, 880.0)):
        write_audio(tmp_path / "loops" / f"{i}.wav", 0.4 * torch.sin(2 * torch.pi * pitch * time), 32_000)
    return tmp_path / "loops"


def test_every_variant_is_measured_and_kept(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = ["--data", str(folder), "--num", "2", "--seconds", "0.5", "--out", str(out), "--json"]
    monkeypatch.setattr(sys, "argv", ["stft_round_trip", *words])
    stft_round_trip.main()
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["files"] == ["0.wav", "1.wav"]
    assert list(values["variants"]) == list(stft_round_trip.VARIANTS)
    figures = values["variants"]
    assert figures["complex"]["worst_snr_db"] > 90 > figures["complex-half"]["snr_db"] > 50
    assert figures["magnitude"]["snr_db"] < 20
    assert figures["complex"]["lsd_db"] < 0.1 < figures["magnitude"]["lsd_db"]
    assert figures["magnitude-cut"]["values"] == 224 * 52
    for name in ("original", *stft_round_trip.VARIANTS):
        assert sorted(path.name for path in (out / name).iterdir()) == ["0.png", "0.wav", "1.png", "1.wav"]


def test_a_folder_without_sound_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no .wav, .flac, .ogg, .mp3 in it"):
        stft_round_trip.choose(tmp_path, 3)
