"""The benchmarks of music, each run whole at a size of seconds."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import soundfile
import torch
from benchmarks import listening, music_sampling, music_vs_peers, seams
from benchmarks.peers import audio_diffusion
from benchmarks.peers.seed_music_unet import SeedMusicUNet

from synesthete.evaluation.classifiers.sound import SoundClassifier
from synesthete.types import InputError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("undrawn")


def test_the_rebuilt_network_is_as_large_as_the_original():
    with torch.device("meta"):
        network = SeedMusicUNet()
        assert network(torch.zeros(1, 1, 224, 416), torch.zeros(1)).shape == (1, 1, 224, 416)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(17_288_545, rel=0.01)


def test_sampling_is_timed_on_both_sides(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(music_sampling, "RECIPE", "music-stft-debug")
    monkeypatch.setattr(music_sampling, "SeedMusicUNet", lambda: SeedMusicUNet(filters=16, middle=16))
    seed, ours = music_sampling.run_seed(1), music_sampling.run_ours(2)
    for side in (seed, ours):
        assert side["seconds"] > side["decoding_seconds"] > 0
        assert side["parameters"] > 0
    assert ours["settings"]["num_inference_steps"] == 4


def test_our_side_is_trained_played_and_evaluated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    def here(side: str, options: Any) -> None:
        options.side = side
        music_vs_peers.run_side(options)
        options.side = None

    quick = replace(SoundClassifier.training_settings, fewest_steps=20, most_steps=20)
    monkeypatch.setattr(SoundClassifier, "training_settings", quick)
    monkeypatch.setattr(music_vs_peers, "start_side", here)
    words = ("--recipe", "music-debug", "--minutes", "0.01", "--num", "8", "--steps", "2", "--out", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["music_vs_peers", *words, "--only", "ours", "--json"])
    music_vs_peers.main()
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    ours = values["sides"]["ours"]
    assert ours["frechet"] > 0 and ours["samples_per_second"] > 0 and ours["sound_per_second"] > 0
    assert values["behind"] == []
    assert set(values["real"]) == set(music_vs_peers.NOTES) < set(ours) and set(music_vs_peers.ROWS) < set(ours)
    noise, other = values["beside"]["noise"], values["beside"]["other held-out pieces"]
    assert noise["frechet"] > other["frechet"]
    assert len(list((tmp_path / "ours").glob("*.wav"))) == 4


def test_a_peer_that_is_not_installed_is_one_line():
    if importlib.util.find_spec("audio_diffusion_pytorch"):
        pytest.skip("it is installed")
    with pytest.raises(InputError, match="pip install"):
        audio_diffusion.find_package()


def test_a_listening_page_shows_every_class_and_overwrites_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sys, "argv", ["listening", "music-notes", "--out", str(tmp_path / "page")])
    listening.main()
    page = (tmp_path / "page" / "README.md").read_text()
    for name in ("strings", "tabla"):
        assert f"[{name}]({name}.ogg)" in page and f"({name}.png)" in page
        assert (tmp_path / "page" / f"{name}.png").is_file()
        sound, rate = soundfile.read(tmp_path / "page" / f"{name}.ogg")
        assert rate == 24_000 and len(sound) == 48_000 and abs(sound).max() > 0.01
    with pytest.raises(SystemExit):
        listening.main()


def test_a_seam_is_found_and_music_without_one_is_not(monkeypatch, capsys):
    smooth = 0.1 * torch.randn(1, 8 * 8000, generator=torch.Generator().manual_seed(0))
    cut = torch.where(torch.arange(8 * 8000) < 4 * 8000, smooth, 0.003 * smooth)
    for sounds, seen in ((smooth, False), (cut, True)):
        for figures in seams.compare(sounds, [2.0, 4.0, 6.0], 8000).values():
            assert (figures["largest_at_borders"] > 1.5 * figures["largest_elsewhere"]) == seen
            assert figures["within"] == (not seen)
    words = ["music-notes", "--label", "strings", "--num", "1", "--seconds", "5", "--steps", "2", "--json"]
    monkeypatch.setattr(sys, "argv", ["seams", *words])
    seams.main()
    values = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert values["sounds"] == 1 and values["borders"] == 3
    assert all(figures["mean_at_borders"] > 0 for one in values["jumps"].values() for figures in one.values())
    assert set(values["jumps"]) == {"made", "butted"} and values["processor_seconds"] > 0
    monkeypatch.setattr(sys, "argv", ["seams", "music-notes", "--seconds", "2"])
    with pytest.raises(SystemExit):
        seams.main()


def test_who_is_behind_in_notes_is_further_from_real_pieces():
    rows = dict.fromkeys((*music_vs_peers.ROWS, *music_vs_peers.NOTES), 1.0)
    ours = rows | {"notes at once": 2.4, "frechet": 0.5, "peak_bytes": 0.5, "samples_per_second": 2.0}
    wanted = dict.fromkeys(music_vs_peers.NOTES, 2.0)
    found = music_vs_peers.find_behind({"ours": ours, "adp": rows}, wanted)
    ahead = {"notes at once", "frechet", "peak_bytes", "samples_per_second"}
    assert {each["row"] for each in found} == set(rows) - ahead


def test_notes_are_heard_in_what_has_some():
    time = torch.arange(4 * 24_000) / 24_000
    chord = sum(torch.sin(2 * torch.pi * hz * k * time) / k for hz in (261.6, 329.6, 392.0) for k in range(1, 6)) / 10
    noise = 0.1 * torch.randn(4 * 24_000, generator=torch.Generator().manual_seed(0))
    listener = music_vs_peers.shipped_transcriber()
    heard, none = (music_vs_peers.notes_heard(listener, sound[None], 24_000) for sound in (chord, noise))
    assert heard["frames with a note"] > 0.9 and 2 < heard["notes at once"] < 5
    assert heard["notes in the best scale"] > 0.95 and heard["correlation with the best key"] > 0.7
    assert none["notes at once"] < 0.2 * heard["notes at once"]
