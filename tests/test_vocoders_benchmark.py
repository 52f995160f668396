"""The comparison of vocoders, run whole at a size of seconds."""

from __future__ import annotations

import json
import sys

import pytest
from benchmarks import vocoders

SMALL = ("--sample-rate", "8000", "--n-fft", "256", "--hop-length", "64", "--n-mels", "40", "--dim", "16")


def run(monkeypatch, capsys, *words: str) -> dict:
    monkeypatch.setattr(sys, "argv", ["vocoders", "--corpus", "tones", "--num", "3", "--json", *words])
    vocoders.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_it_trains_compares_and_takes_up_what_it_wrote(monkeypatch, capsys, tmp_path):
    own = ("--minutes", "0.001", "--num-layers", "1", "--batch-size", "2", "--crop", "4096", "--out", str(tmp_path))
    found = run(monkeypatch, capsys, *SMALL, *own)
    sides = found["sides"]
    assert found["steps"] >= 1 and found["num"] == 3
    assert list(sides) == ["griffin-lim 32", "vocoder", "original", "another"]
    assert sides["original"]["log_spectral_distance"] == 0 < sides["griffin-lim 32"]["log_spectral_distance"]
    assert sides["griffin-lim 32"]["log_spectral_distance"] < sides["another"]["log_spectral_distance"]
    assert len(list((tmp_path / "listen").glob("*.wav"))) == 9
    again = run(monkeypatch, capsys, "--vocoder", str(tmp_path / "codec"), "--out", str(tmp_path / "again"))
    name = "log_spectral_distance"
    assert again["steps"] == 0
    assert again["sides"]["vocoder"][name] == pytest.approx(sides["vocoder"][name], rel=1e-3)
