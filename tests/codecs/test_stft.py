"""Spectrograms of any size: what comes back, and what is silent (laws 1 and 2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from synesthete import seeding
from synesthete.codecs.stft import LOUDEST_DB, StftCodec
from synesthete.data.audio import read_audio
from synesthete.types import InputError

RATE, LENGTH = 8_000, 16_000  # two seconds
SMALL = {"num_samples": LENGTH, "sample_rate": RATE, "n_fft": 240, "hop_length": 144}  # the overlap of the usual one
KINDS, SCALINGS = ("magnitude", "complex"), ("corpus", "band", "sample")
VARIANTS = [(kind, scaling) for kind in KINDS for scaling in SCALINGS]
every_variant = pytest.mark.parametrize(("kind", "scaling"), VARIANTS)
KEPT_LEVELS = [(kind, scaling) for kind, scaling in VARIANTS if scaling != "sample"]


def music(num: int = 6, length: int = LENGTH) -> torch.Tensor:
    """Plucked chords over soft noise (num, length), each louder than the one before it."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(length) / RATE
    sounds = []
    for i in range(num):
        sound = 0.003 * torch.randn(length, generator=generator)
        for start in (0.1, 0.7, 1.2):
            since = (time - start).clamp(min=0)
            for note in (0, 4, 7):
                pitch = 110 * 2 ** ((note + 3 * i) / 12)
                for partial in range(1, 6):
                    wave = torch.sin(2 * math.pi * partial * pitch * since) * (-4 * partial * since).exp()
                    sound = sound + 0.08 * wave / partial
        sounds.append(sound * (0.4 + 0.2 * i))
    return torch.stack(sounds).clamp(-1, 1)


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    return music()


@pytest.fixture(scope="module")
def codecs(sounds) -> dict[tuple[str, str], StftCodec]:
    return {key: StftCodec(**SMALL, kind=key[0], scaling=key[1]).fit([sounds]) for key in VARIANTS}


def snr(wanted: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    return 10 * (wanted.square().sum(-1) / (wanted - found).square().sum(-1).clamp(min=1e-20)).log10()


def level(waveform: torch.Tensor) -> torch.Tensor:
    return 10 * waveform.square().mean(-1).clamp(min=1e-20).log10()


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (1, 241, 445)),
        ({"num_bins": 224, "num_frames": 416}, (1, 224, 416)),
        ({"multiple": 16}, (1, 256, 448)),
        ({"kind": "complex", "multiple": 8, "num_bins": 224}, (2, 224, 448)),
        ({"num_samples": 48_000, "sample_rate": 24_000, "n_fft": 1024, "hop_length": 256}, (1, 513, 188)),
    ],
)
def test_four_seconds_on_grids_of_any_size(settings, shape):
    codec = StftCodec(**settings)
    assert codec.shape == shape
    assert codec.encode(torch.zeros(2, 100)).shape == (2, *shape)


def test_a_full_scale_sine_is_0_db():
    codec = StftCodec(num_samples=8000)
    sine = torch.sin(2 * math.pi * 2000 * torch.arange(8000) / 32_000)  # in the middle of bin 30
    db = codec.decibels(codec.encode(sine[None]))[0, :, 3:-3]
    assert db.argmax(0).unique().tolist() == [30]
    torch.testing.assert_close(db[30], torch.zeros_like(db[30]), rtol=0, atol=0.05)
    half = codec.decibels(codec.encode(sine[None] / 2))[0, 30, 3:-3]
    torch.testing.assert_close(half, torch.full_like(half, -6.02), rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_its_corpus_has_mean_0_and_spread_1(codecs, sounds, kind):
    whole, bands = (codecs[kind, scaling].encode(sounds) for scaling in ("corpus", "band"))
    assert whole.square().mean().sqrt().item() == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(bands.square().mean((0, 1, 3)).sqrt(), torch.ones(121), rtol=0, atol=1e-3)
    if kind == "magnitude":
        assert whole.mean().item() == pytest.approx(0, abs=1e-4)
        torch.testing.assert_close(bands.mean((0, 1, 3)), torch.zeros(121), rtol=0, atol=1e-3)
        assert whole.abs().max() < 5


@every_variant
def test_silence_is_the_padding(codecs, sounds, kind, scaling):
    codec = codecs[kind, scaling]
    silent = codec.encode(torch.zeros(1, 100))
    torch.testing.assert_close(silent, codec.silence.expand(1, *codec.shape), rtol=0, atol=1e-5)
    short = sounds[-1:, :5000]
    x_0 = codec.encode(short)
    assert torch.equal(x_0, codec.encode(torch.nn.functional.pad(short, (0, 3000))))
    beyond = x_0[..., 5000 // 144 + 2 :]
    torch.testing.assert_close(beyond, codec.silence.expand(beyond.shape), rtol=0, atol=1e-5)


@every_variant
def test_what_the_grid_has_too_much_is_silence(sounds, kind, scaling):
    codec = StftCodec(**SMALL, kind=kind, scaling=scaling, multiple=32).fit([sounds])
    assert codec.shape[1:] == (128, 128)
    x_0 = codec.encode(sounds)
    for padding in (x_0[:, :, 121:], x_0[..., 112:]):
        silence = codec.silence.expand(-1, codec.shape[1], 1)[:, -padding.shape[2] :]
        torch.testing.assert_close(padding, silence.expand(padding.shape), rtol=0, atol=1e-5)
    plain = StftCodec(**SMALL, kind=kind, scaling=scaling).fit([sounds])
    if kind == "complex":
        torch.testing.assert_close(codec.decode(x_0), plain.decode(plain.encode(sounds)), rtol=0, atol=1e-4)


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_silence_comes_back_as_silence(codecs, kind, scaling, dtype):
    """Kept in half precision, too, as prepared data are."""
    codec = codecs[kind, scaling]
    heard = codec.decode(codec.encode(torch.zeros(1, LENGTH)).to(dtype))
    assert heard.abs().max() < 1e-5


@pytest.mark.parametrize("scaling", ["corpus", "band"])
def test_a_network_that_is_a_little_off_whispers(codecs, scaling):
    """Half a decibel off everywhere is a hiss far under the floor, which a mere cut at the floor would play aloud."""
    codec = codecs["magnitude", scaling]
    off = 0.5 / codec.scale.mean() * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(0))
    assert level(codec.decode(codec.silence + off)).item() < -75


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_that_were_cut_away_come_back_as_silence(kind):
    """Law 2: padded with 0 dB, as one project had it, they come back as hiss."""
    noise = 0.3 * torch.randn(1, LENGTH, generator=torch.Generator().manual_seed(0))
    codec = StftCodec(**SMALL, kind=kind, num_bins=80).fit([noise])
    x_0 = codec.encode(noise)
    assert x_0.shape[2] == 80
    power = torch.fft.rfft(codec.decode(x_0)[0]).abs().square()
    edge = round(80 / 120 * len(power))
    kept, cut = power[: edge - 400].mean(), power[edge + 400 :].mean()
    assert 10 * torch.log10(cut / kept) < -35


@every_variant
def test_frames_that_were_cut_away_come_back_as_silence(sounds, kind, scaling):
    codec = StftCodec(**SMALL, kind=kind, scaling=scaling, num_frames=80).fit([sounds])
    heard = codec.decode(codec.encode(sounds))
    assert heard.shape == sounds.shape
    assert heard[:, 79 * 144 + 120 :].abs().max() < 1e-6
    assert level(heard[:, : 79 * 144]).min() > -60


@pytest.mark.parametrize(("kind", "scaling"), KEPT_LEVELS)
def test_level_survives(codecs, sounds, kind, scaling):
    codec = codecs[kind, scaling]
    loud, soft = (level(codec.decode(codec.encode(sound))) for sound in (sounds[3:], sounds[3:] / 4))
    torch.testing.assert_close(loud - soft, torch.full_like(loud, 12.04), rtol=0, atol=0.7)
    torch.testing.assert_close(loud, level(sounds[3:]), rtol=0, atol=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_of_its_own_loses_the_level_of_a_sample(codecs, sounds, kind):
    codec = codecs[kind, "sample"]
    x_0 = codec.encode(sounds)
    torch.testing.assert_close(x_0.abs().amax((1, 2, 3)), torch.ones(len(x_0)), rtol=0, atol=1e-5)
    if kind == "magnitude":
        torch.testing.assert_close(x_0.amin((1, 2, 3)), -torch.ones(len(x_0)), rtol=0, atol=1e-5)
    loud, soft = (level(codec.decode(codec.encode(sound))) for sound in (sounds[-1:], sounds[-1:] / 4))
    assert (loud - soft).abs().item() < 4  # of the 12 dB between them


@pytest.mark.parametrize("scaling", ["corpus", "band"])
def test_complex_cells_need_no_guess(codecs, sounds, scaling):
    codec = codecs["complex", scaling]
    x_0 = codec.encode(sounds)
    assert snr(sounds, codec.decode(x_0)).min() > 90  # measured: 110 and more
    assert snr(sounds, codec.decode(x_0.half())).min() > 50  # as prepared data are kept


@pytest.mark.parametrize("scaling", ["corpus", "band"])
def test_guessed_phases_have_about_the_magnitudes_they_were_made_for(codecs, sounds, scaling):
    """The waveform itself is another one: its SNR is below 0 dB or little more."""
    codec = codecs["magnitude", scaling]
    wanted = codec.decibels(codec.encode(sounds))
    found = codec.decibels(codec.encode(codec.decode(codec.encode(sounds), seeding.sample_generators(0, 6))))
    heard = wanted > wanted.amax((1, 2), keepdim=True) - 40
    assert (found - wanted)[heard].abs().mean() < 2.5


def test_real_music_comes_back(shared_data):
    """At least 25 dB is asked of the complex codec."""
    folder = shared_data / "music_pieces"
    files = sorted(folder.glob("*.ogg"))[:2]
    if not files:
        pytest.skip(f"{folder} is not on this machine")
    codec = StftCodec(kind="complex")
    for file in files:
        piece = read_audio(file, 32_000)[:128_000][None]
        heard = codec.decode(codec.encode(piece))[:, : piece.shape[1]]
        assert snr(piece, heard).item() > 60  # measured: 130 and more


@given(data=st.data())
def test_any_window_hop_and_length(data):
    """Complex cells give back every sample but the few at the end that lie under the edge of one window."""
    n_fft = 2 * data.draw(st.integers(1, 40), "half a window")
    hop_length = data.draw(st.integers(1, 3 * n_fft // 4), "hop")
    num_samples = data.draw(st.integers(1, 300), "samples")
    settings = {"num_samples": num_samples, "sample_rate": RATE, "n_fft": n_fft, "hop_length": hop_length}
    waveform = torch.rand(2, num_samples, generator=torch.Generator().manual_seed(0)) - 0.5
    codec = StftCodec(**settings, kind="complex", multiple=data.draw(st.integers(1, 8), "multiple"))
    x_0 = codec.encode(waveform)
    assert x_0.shape == (2, *codec.shape)
    heard, covered = codec.decode(x_0), codec.num_covered(num_samples)
    assert heard.shape == waveform.shape
    torch.testing.assert_close(heard[:, :covered], waveform[:, :covered], rtol=0, atol=1e-3)
    assert not heard[:, covered:].any()
    assert num_samples - covered <= max(0, hop_length - n_fft // 3 - 1)
    guessed = StftCodec(**settings, num_iterations=2).decode(StftCodec(**settings).encode(waveform))
    assert guessed.shape == waveform.shape
    assert guessed.isfinite().all()


@given(waveform=npst.arrays(np.float32, st.integers(1, 500), elements=st.floats(-1e3, 1e3, width=32)))
def test_any_finite_waveform_encodes_to_finite_values(codecs, waveform):
    for codec in codecs.values():
        x_0 = codec.encode(torch.from_numpy(waveform)[None])
        assert x_0.isfinite().all()
        if codec.config.kind == "magnitude":
            assert (x_0 >= codec.silence - 1e-4).all()  # nothing is quieter than silence


@given(seed=st.integers(0, 999), spread=st.floats(0, 1e4), offset=st.floats(-1e4, 1e4))
def test_any_x_0_decodes_to_a_finite_waveform(seed, spread, offset):
    for kind, scaling in VARIANTS:
        codec = StftCodec(num_samples=400, n_fft=48, hop_length=24, kind=kind, scaling=scaling, num_iterations=2)
        x_0 = offset + spread * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(seed))
        heard = codec.decode(x_0)
        assert heard.isfinite().all()
        assert codec.decibels(x_0).max() <= LOUDEST_DB + 1e-3


@every_variant
@pytest.mark.parametrize("num_frames", [1, 2, 17, 200])
def test_any_number_of_frames_decodes(codecs, kind, scaling, num_frames):
    codec = codecs[kind, scaling]
    x_0 = torch.randn(1, *codec.shape[:2], num_frames, generator=torch.Generator().manual_seed(0))
    assert codec.decode(x_0).shape == (1, (num_frames - 1) * 144)
    longer = codec.decode(x_0, num_samples=40_000)
    assert longer.shape == (1, 40_000)
    assert longer[:, num_frames * 144 :].abs().max() < 1e-6
    assert codec.decode(x_0, num_samples=10).shape == (1, 10)


def test_long_sound_is_decoded_by_a_codec_of_short_ones():
    long = music(1, 3 * LENGTH)
    wide = StftCodec(**SMALL | {"num_samples": 3 * LENGTH}, kind="complex")
    heard = StftCodec(**SMALL, kind="complex").decode(wide.encode(long), num_samples=3 * LENGTH)
    assert snr(long, heard).item() > 80


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoded_batch_equals_its_singles(codecs, sounds, kind):
    codec = codecs[kind, "corpus"]
    x_0 = codec.encode(sounds[:3])
    batch = codec.decode(x_0, seeding.sample_generators(3, 3))
    for i in range(3):
        single = codec.decode(x_0[i : i + 1], seeding.sample_generators(3, 1, i))
        # Griffin-Lim feeds the last bit of an FFT back 32 times: up to 1.5e-4, by processor.
        torch.testing.assert_close(single[0], batch[i], rtol=0, atol=5e-4)


@every_variant
def test_fitting_does_not_depend_on_how_clips_are_batched(codecs, sounds, kind, scaling):
    parts = StftCodec(**SMALL, kind=kind, scaling=scaling).fit(sounds.split(4))
    torch.testing.assert_close(parts.state_dict(), codecs[kind, scaling].state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_click_in_a_silent_band_is_not_blown_up(kind):
    """The top bins of compressed recordings are empty: one click in an hour would be 50 spreads high."""
    time = torch.arange(LENGTH) / RATE
    sounds = 0.3 * torch.sin(2 * math.pi * 400 * time).repeat(50, 1)
    sounds[0, 8000:8100] += 3e-4 * torch.sin(2 * math.pi * 3500 * time[:100])
    x_0 = StftCodec(**SMALL, kind=kind, scaling="band").fit([sounds]).encode(sounds[:1])
    assert x_0[:, :, 100:108, 54:58].abs().max() < 12


@every_variant
def test_a_silent_corpus_can_be_measured(kind, scaling):
    """Every cell the same: a variance that rounding makes negative has no square root."""
    codec = StftCodec(**SMALL, kind=kind, scaling=scaling, floor_db=-73.3).fit([torch.zeros(3, LENGTH)])
    assert codec.scale.isfinite().all()
    assert codec.encode(music(1)).isfinite().all()


@every_variant
def test_statistics_are_saved_with_it(codecs, sounds, tmp_path, kind, scaling):
    codec = codecs[kind, scaling]
    codec.save_pretrained(tmp_path)
    again = StftCodec.from_pretrained(tmp_path)
    assert again.shape == codec.shape
    assert again.mean.shape == (121 if scaling == "band" else 1, 1)
    torch.testing.assert_close(again.state_dict(), codec.state_dict())
    assert torch.equal(again.encode(sounds), codec.encode(sounds))
    assert torch.equal(again.silence, codec.silence)


@every_variant
def test_pictures_are_dark_where_it_is_silent_and_have_low_bins_at_the_bottom(codecs, kind, scaling):
    codec = codecs[kind, scaling]
    tone = 0.9 * torch.sin(2 * math.pi * 300 * torch.arange(LENGTH) / RATE)
    pictures = codec.pictures(codec.encode(torch.stack([tone, 0 * tone])), scale=2)
    loud, silent = (np.asarray(picture).astype(int) for picture in pictures)
    assert loud.shape == (242, 224, 3)
    assert loud[-18, 50:150].sum() > loud[20, 50:150].sum()
    if scaling != "sample":
        assert silent.max() <= 4


@pytest.mark.parametrize(
    ("waveform", "named"),
    [
        (torch.zeros(1, LENGTH + 1), r"of 16001 samples: this codec holds 16000; cut it or raise codec.num_samples"),
        (torch.full((1, 100), float("nan")), "NaN or infinite"),
        (torch.full((1, 100), float("inf")), "NaN or infinite"),
        (torch.zeros(100), r"sound of \(100,\).*give waveforms \(B, S\)"),
        (torch.zeros(1, 100, dtype=torch.int16), r"int16; give waveforms"),
    ],
)
def test_what_cannot_be_encoded_is_one_line(codecs, waveform, named):
    codec = codecs["magnitude", "corpus"]
    for refuse in (codec.encode, lambda sound: codec.fit([sound])):
        with pytest.raises(InputError, match=named):
            refuse(waveform)


def test_no_sound_at_all_cannot_be_measured():
    with pytest.raises(InputError, match="nothing to measure"):
        StftCodec(**SMALL).fit([])


@pytest.mark.parametrize(
    ("x_0", "named"),
    [
        (torch.zeros(1, 2, 121, 112), r"needs \(B, 1, 121, frames\)"),
        (torch.zeros(1, 1, 100, 112), r"needs \(B, 1, 121, frames\)"),
        (torch.full((1, 1, 121, 112), float("nan")), "sampler or its network has diverged"),
    ],
)
def test_what_cannot_be_decoded_is_one_line(codecs, x_0, named):
    with pytest.raises(InputError, match=named):
        codecs["magnitude", "corpus"].decode(x_0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"num_bins": 0}, "give at least 1"),
        ({"multiple": 0}, "give at least 1"),
        ({"n_fft": 481}, "give an even number"),
        ({"hop_length": 361}, "hardly overlap; give 360 at most"),
        ({"power": 0.0}, "0 < power <= 1"),
        ({"floor_db": 3.0}, "a floor below 0 dB"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, named):
    with pytest.raises(InputError, match=named):
        StftCodec(**settings)
