"""Sound files and the few things done to every clip."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from synesthete.data.audio import fit_length, peak_normalise, read_audio, to_int16, trim_silence, write_audio
from synesthete.types import InputError

RATE = 24_000


def tone(seconds: float = 0.5, rate: int = RATE, frequency: float = 440.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate)) / rate)


def one_line(caught: pytest.ExceptionInfo[InputError], path: Path) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert ";" in message, "no word on what to do"
    return message


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_written_sound_reads_back_within_a_step(tmp_path, suffix):
    waveform = tone()
    path = write_audio(tmp_path / "made" / f"tone{suffix}", waveform, RATE)
    assert soundfile.info(path).subtype == "PCM_16"
    assert (read_audio(path, RATE) - waveform).abs().max() <= 0.5 / 32768 + 1e-7
    assert torch.equal(to_int16(read_audio(path, RATE)), to_int16(waveform))  # a second time loses nothing
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_samples_beyond_one_are_clipped_not_wrapped(tmp_path):
    path = write_audio(tmp_path / "loud.wav", torch.tensor([1.5, -1.5, 0.0]), RATE)
    assert read_audio(path, RATE).tolist() == pytest.approx([1.0, -1.0, 0.0], abs=1e-4)


def test_another_rate_is_resampled_to_the_same_tone(tmp_path):
    path = write_audio(tmp_path / "tone.wav", tone(rate=16_000), 16_000)
    waveform = read_audio(path, RATE)
    assert waveform.shape == (12_000,)
    assert (waveform - tone())[500:-500].abs().max() < 1e-3


def test_stereo_becomes_the_mean_or_stays(tmp_path):
    path = write_audio(tmp_path / "two.wav", torch.stack([tone(), -tone() / 2]), RATE)
    assert read_audio(path, RATE, mono=False).shape == (2, 12_000)
    assert (read_audio(path, RATE) - tone() / 4).abs().max() < 1e-4


def broken_file(kind: str, folder: Path) -> Path:
    path = folder / f"{kind}.wav"
    if kind == "text":
        path.write_text("not a sound\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no-samples":
        soundfile.write(path, np.zeros(0), RATE)
    elif kind in ("nan", "infinite"):
        samples = np.zeros(100, np.float32)
        samples[50] = float(kind[:3])
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    elif kind == "truncated":
        soundfile.write(path, np.zeros(1000), RATE)
        path.write_bytes(path.read_bytes()[:900])
    elif kind == "header-cut":
        soundfile.write(path, np.zeros(1000), RATE)
        path.write_bytes(path.read_bytes()[:30])
    elif kind == "flac-truncated":
        path = path.with_suffix(".flac")
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 20_000), RATE)
        path.write_bytes(path.read_bytes()[:10_000])
    elif kind == "folder":
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "folder",
        "text",
        "empty",
        "no-samples",
        "nan",
        "infinite",
        "truncated",
        "header-cut",
        "flac-truncated",
    ],
)
def test_a_bad_file_is_one_line(tmp_path, kind):
    path = broken_file(kind, tmp_path)
    with pytest.raises(InputError) as caught:
        read_audio(path, RATE)
    one_line(caught, path)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "clip.wav"

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError) as caught:
        write_audio(path, tone(), RATE)
    assert "free some space" in one_line(caught, path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path):
    path = write_audio(tmp_path / "clip.wav", tone(), RATE)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        write_audio(path, torch.tensor([0.0, float("nan")]), RATE)
    one_line(caught, path)
    with pytest.raises(InputError) as caught:
        write_audio(tmp_path / "clip.mp3", tone(), RATE)
    one_line(caught, tmp_path / "clip.mp3")
    assert path.read_bytes() == before


def test_trimming_keeps_all_above_the_threshold_and_a_margin():
    quiet, weak = 1e-4 * torch.ones(2400), 0.01 * torch.ones(240)  # -74 dB and -34 dB of the peak
    word = torch.cat([tone(), weak])
    trimmed = trim_silence(torch.cat([quiet, word, quiet]), RATE)
    assert trimmed.shape[0] == pytest.approx(word.shape[0] + 2 * 240, abs=2)  # 10 ms on both sides
    assert trimmed[-241].item() == pytest.approx(0.01)
    assert trim_silence(torch.zeros(100), RATE).shape == (0,)
    assert trim_silence(torch.zeros(0), RATE).shape == (0,)


def test_fitting_pads_with_exact_zeros_and_fades_what_it_cuts():
    padded = fit_length(tone(), 20_000)
    assert torch.equal(padded[:12_000], tone())
    assert (padded[12_000:] == 0).all()
    assert padded.shape == (20_000,)
    cut = fit_length(torch.ones(2, 1000), 500, fade=100)
    assert cut.shape == (2, 500)
    assert (cut[:, :400] == 1).all()
    assert (cut[:, 401:].diff() < 0).all()
    assert (cut[:, -1] == 0).all()


def test_the_loudest_sample_becomes_the_peak():
    assert peak_normalise(-0.1 * tone()).abs().max().item() == pytest.approx(0.95)
    assert torch.equal(peak_normalise(torch.zeros(10)), torch.zeros(10))
