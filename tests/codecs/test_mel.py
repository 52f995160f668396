"""The log-mel codec (law 1): Vocos' published features, silence as padding, and back to sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from synesthete import seeding
from synesthete.codecs.mel import MelCodec
from synesthete.data.audio import read_audio
from synesthete.nn.spectrum import griffin_lim, mel_filterbank
from synesthete.tasks import find_task
from synesthete.types import InputError
from tiny import debug_recipe

if TYPE_CHECKING:
    from pathlib import Path

RATE, N_FFT, HOP, BANDS = 24_000, 1024, 256, 100
SHORT = 16 * HOP - 1  # 16 frames


@pytest.fixture(scope="module")
def codec() -> MelCodec:
    return MelCodec(num_samples=SHORT)


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["bands", "whitened"])
def fitted(request, corpus) -> MelCodec:
    """Measured on the debug recipe's corpus."""
    return MelCodec(num_samples=64 * HOP - 1, whitening=request.param).fit(corpus.split(100))


@pytest.fixture(scope="module")
def corpus(prepared) -> torch.Tensor:
    """Spoken digits (n, S) to measure a codec on."""
    files = clips_of("train")
    return torch.stack([read_audio(file, RATE) for file in files])


@pytest.fixture(scope="module")
def words(prepared) -> torch.Tensor:
    """Eight spoken digits (8, S)."""
    files = clips_of("test")[::8][:8]
    return torch.stack([read_audio(file, RATE) for file in files])


def clips_of(split: str) -> list[Path]:
    """The files of the debug recipe's corpus, whichever others there are."""
    folder = find_task("image-to-speech").default_folder(debug_recipe()) / "corpus"
    return sorted((folder / split).glob("*/*.wav"))


def speech_like(num_samples: int, seed: int = 0) -> torch.Tensor:
    """A voice on a gliding pitch with three formants, and a hiss between its syllables."""
    time = torch.arange(num_samples) / RATE
    phase = 2 * torch.pi * torch.cumsum(130 + 40 * torch.sin(2 * torch.pi * 1.5 * time), 0) / RATE
    voice = sum(
        sum(np.exp(-(((130 * k - formant) / 300) ** 2)) for formant in (600, 1500, 2600)) * torch.sin(k * phase)
        for k in range(1, 40)
    )
    syllables = torch.sin(2 * torch.pi * 3 * time).clamp(min=0)
    hiss = 0.1 * torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * (1 - syllables)
    return 0.3 * (voice / voice.abs().max() * syllables + hiss)


def by_definition(waveform: np.ndarray) -> np.ndarray:
    """Vocos' `MelSpectrogramFeatures` (24 kHz), written out in float64 from its definition; no code of ours in it."""
    padded = np.pad(waveform.astype(np.float64), N_FFT // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)  # periodic Hann
    frames = np.stack([padded[i : i + N_FFT] * window for i in range(0, len(waveform) + 1, HOP)])
    magnitude = np.abs(np.fft.rfft(frames, axis=1)).T  # (513, T)
    mel_top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, mel_top, BANDS + 2) / 2595) - 1)
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    rising = (bins - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - bins) / (corners[2:] - corners[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rising, falling))  # (100, 513), peak 1: no norm
    return np.log(np.maximum(filters @ magnitude, 1e-7))


@pytest.mark.parametrize("num_samples", [72_000, 16 * HOP - 1, 16 * HOP])
def test_equals_the_published_definition(num_samples):
    codec, waveform = MelCodec(num_samples=num_samples), speech_like(num_samples)
    found, expected = codec.log_mel(waveform[None])[0].numpy(), by_definition(waveform.numpy())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-3  # float32 in bins 80 dB under the loudest
    assert np.abs(found - expected).mean() < 1e-5


def test_three_seconds_are_282_frames():
    codec = MelCodec()
    assert codec.encode(speech_like(72_000)[None]).shape == (1, 1, 100, 282) == (1, *codec.shape)


def test_silence_is_one_column_and_the_padding_of_every_clip(fitted):
    """Without whitening one number."""
    silence = torch.as_tensor(fitted.silence)
    silent = fitted.encode(torch.zeros(1, 1000))
    torch.testing.assert_close(silent, silence.expand_as(silent), rtol=0, atol=1e-4)
    assert silence.numel() == (BANDS if fitted.config.whitening else 1)
    log_floor = fitted.denormalise(silent)
    assert log_floor.min().item() == pytest.approx(np.log(1e-7), abs=1e-3)  # -16.118; a padding of 0 would be loud
    assert log_floor.max().item() == pytest.approx(np.log(1e-7), abs=1e-3)
    word = 0.5 * speech_like(20 * HOP)
    short, padded = fitted.encode(word[None]), fitted.encode(torch.cat([word, torch.zeros(5000)])[None])
    assert torch.equal(short, padded)
    rest = short[..., 23:]
    torch.testing.assert_close(rest, silence.expand_as(rest), rtol=0, atol=1e-4)
    assert fitted.denormalise(short)[..., :20].max() > np.log(1e-7) + 4


def test_the_corpus_of_a_recipe_has_mean_0_and_spread_1(prepared):
    """As encoded and kept, clip by clip: the range that the network sees."""
    x_0 = prepared.train.x_0[:].float()
    assert x_0.mean().item() == pytest.approx(0, abs=0.01)
    assert x_0.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("whitening", [0.0, 0.25, 0.5, 1.0])
def test_fitting_does_not_depend_on_how_clips_are_batched(words, whitening):
    whole = MelCodec(num_samples=words.shape[1], whitening=whitening).fit([words])
    parts = MelCodec(num_samples=words.shape[1], whitening=whitening).fit(words.split(3))
    values = whole.encode(words)
    assert (values.mean().item(), values.std().item()) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-4))
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())
    silent = MelCodec(num_samples=SHORT, whitening=whitening).fit([torch.zeros(2, SHORT)])  # no spread at all
    assert torch.isfinite(silent.encode(torch.zeros(1, SHORT))).all()


@pytest.mark.parametrize("whitening", [0.25, 0.5, 1.0])
def test_whitening_divides_each_coefficient_by_a_power_of_its_spread_and_is_undone(words, whitening):
    codec = MelCodec(num_samples=words.shape[1], whitening=whitening).fit([words])
    log_mel = codec.log_mel(words)
    x_0 = codec.encode(words)
    torch.testing.assert_close(codec.denormalise(x_0), log_mel, rtol=0, atol=2e-4)
    cepstra = torch.from_numpy(scipy.fft.dct(log_mel.numpy(), axis=1, norm="ortho"))
    spread, found = cepstra.std(dim=(0, 2)), x_0[:, 0].std(dim=(0, 2))
    torch.testing.assert_close(x_0.mean(dim=(0, 1, 3)), torch.zeros(BANDS), rtol=0, atol=1e-3)
    ratio = found / spread ** (1 - whitening)
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)


def test_whitening_lets_a_square_error_see_harmonics(words):
    """What lies at index 20 and above is well under 2% of the variance of bands, and at 0.5 more than a tenth."""
    shares = []
    for whitening in (1e-9, 0.5):
        x_0 = MelCodec(num_samples=words.shape[1], whitening=whitening).fit([words]).encode(words)
        variance = x_0[:, 0].var(dim=(0, 2))
        shares.append((variance[20:].sum() / variance.sum()).item())
    assert shares[0] < 0.02
    assert shares[1] > 0.1


@pytest.mark.parametrize("whitening", [-0.1, 1.1])
def test_a_whitening_that_is_no_power_is_refused(whitening):
    with pytest.raises(InputError, match=r"codec.whitening"):
        MelCodec(whitening=whitening)


def test_a_word_survives_the_round_trip(fitted, words):
    """Correlation and SNR of the log-mel of what Griffin-Lim made against that of the word, to -40 dB of its peak."""
    x_0 = fitted.encode(words)
    again = fitted.encode(fitted.decode(x_0, seeding.sample_generators(0, len(words))))
    for before, after in zip(fitted.denormalise(x_0), fitted.denormalise(again), strict=True):
        heard = before > before.max() - np.log(100)
        assert torch.corrcoef(torch.stack([before[heard], after[heard]]))[0, 1] > 0.98  # measured: 0.991 to 0.996
        error = (after - before)[heard]  # in e-folds
        assert error.abs().mean() < 0.12  # 0.06 to 0.10
        power = (before[heard] - before[heard].mean()).square().mean()
        assert 10 * torch.log10(power / error.square().mean()) > 15  # 17 to 20 dB


def test_decoded_silence_is_silent(fitted):
    silent = torch.as_tensor(fitted.silence).expand(1, *fitted.shape)
    assert fitted.decode(silent).abs().max() < 1e-4


def test_a_decoded_batch_equals_its_singles(fitted, words):
    x_0 = fitted.encode(words[:4])
    batch = fitted.decode(x_0, seeding.sample_generators(3, 4))
    assert batch.shape == (4, 64 * HOP - 1)
    for i in range(4):
        single = fitted.decode(x_0[i : i + 1], seeding.sample_generators(3, 1, i))
        # Griffin-Lim feeds the last bit of an FFT back 32 times: up to 1.5e-4, by processor.
        torch.testing.assert_close(single[0], batch[i], rtol=0, atol=5e-4)
    assert torch.equal(fitted.decode(x_0), fitted.decode(x_0))  # without generators from seed 0


def test_griffin_lim_is_as_good_as_that_of_librosa(words):
    """Spectral convergence, | |STFT(y)| - S | / | S |, after the same iterations with the same momentum.

    Random first phases move that of one word by half, so it is the mean over eight words and two seeds.
    """
    window, num_samples = torch.hann_window(N_FFT), words.shape[1]

    def magnitude(waveform):
        return torch.stft(waveform, N_FFT, HOP, window=window, return_complex=True).abs()

    wanted, ours, theirs = magnitude(words), [], []
    for seed in range(2):
        rebuilt = griffin_lim(
            wanted,
            window,
            HOP,
            num_samples=num_samples,
            num_iterations=32,
            momentum=0.99,
            generators=seeding.sample_generators(seed, len(words)),
        )
        settings = {"n_iter": 32, "hop_length": HOP, "momentum": 0.99, "length": num_samples, "pad_mode": "reflect"}
        oracle = librosa.griffinlim(wanted.numpy(), **settings, random_state=seed)
        for waveform, found in ((rebuilt, ours), (torch.from_numpy(oracle), theirs)):
            found.append((magnitude(waveform) - wanted).norm(dim=(1, 2)) / wanted.norm(dim=(1, 2)))
    assert torch.stack(ours).mean() <= 1.05 * torch.stack(theirs).mean()


def test_griffin_lim_is_its_transforms_frame_by_frame(words):
    """Two iterations by torch's own transforms, of more frames than are computed at once; the hop is no divisor."""
    window, hop, num_samples = torch.hann_window(N_FFT), 200, words.shape[1]
    settings = {"n_fft": N_FFT, "hop_length": hop, "window": window}
    wanted = torch.stft(words, **settings, return_complex=True).abs()
    turns = torch.stack([torch.rand(one.shape, generator=g) for one, g in zip(wanted, generators(wanted), strict=True)])
    cells, previous = torch.polar(wanted, 2 * torch.pi * turns), 0.0
    for _ in range(2):
        rebuilt = torch.stft(torch.istft(cells, **settings, length=num_samples), **settings, return_complex=True)
        cells, previous = rebuilt - 0.5 * previous, rebuilt
        cells = wanted * cells / cells.abs().clamp(min=1e-16)
    found = griffin_lim(
        wanted, window, hop, num_samples=num_samples, num_iterations=2, momentum=1.0, generators=generators(wanted)
    )
    torch.testing.assert_close(found, torch.istft(cells, **settings, length=num_samples), rtol=0, atol=1e-4)


def generators(batch):
    return seeding.sample_generators(5, len(batch))


def test_magnitudes_have_the_mel_they_were_made_of(fitted, words):
    mel = fitted.log_mel(words).exp()
    magnitude = fitted.magnitude(mel)
    assert (magnitude >= 0).all()
    again = fitted.filterbank @ magnitude
    assert ((again - mel).norm() / mel.norm()).item() < 0.01


@pytest.mark.parametrize(
    ("waveform", "named"),
    [
        (torch.zeros(1, SHORT + 1), r"of 4096 samples: this codec holds 4095; cut it or raise codec.num_samples"),
        (torch.full((1, 100), float("nan")), "NaN or infinite"),
        (torch.full((1, 100), float("inf")), "NaN or infinite"),
    ],
)
def test_what_cannot_be_encoded_is_one_line(codec, waveform, named):
    with pytest.raises(InputError, match=named):
        codec.encode(waveform)


@given(
    waveform=npst.arrays(
        np.float32, st.integers(0, SHORT), elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False)
    )
)
def test_any_finite_waveform_encodes_to_finite_values(codec, waveform):
    x_0 = codec.encode(torch.from_numpy(waveform)[None])
    assert x_0.shape == (1, *codec.shape)
    assert torch.isfinite(x_0).all()
    assert (x_0 >= codec.silence - 1e-5).all()  # nothing is quieter than silence


@given(seed=st.integers(0, 999), spread=st.floats(0, 1e4), offset=st.floats(-1e4, 1e4))
def test_any_x_0_decodes_to_a_finite_waveform(seed, spread, offset):
    codec = MelCodec(num_samples=SHORT, num_iterations=2)
    x_0 = offset + spread * torch.randn(1, *codec.shape, generator=torch.Generator().manual_seed(seed))
    waveform = codec.decode(x_0)
    assert waveform.shape == (1, SHORT)
    assert torch.isfinite(waveform).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_x_0_decodes_in_full(fitted, words, dtype):
    x_0 = fitted.encode(words[:1])
    torch.testing.assert_close(
        fitted.decode(x_0.to(dtype)).abs().max(), fitted.decode(x_0).abs().max(), rtol=0.3, atol=0.1
    )


def test_pictures_are_dark_where_it_is_silent_and_have_low_bands_at_the_bottom(fitted):
    quiet = fitted.decode(torch.as_tensor(fitted.silence).expand(1, *fitted.shape))
    hum = 0.5 * torch.sin(2 * torch.pi * 200 * torch.arange(quiet.shape[1]) / RATE)
    low = fitted.encode(torch.stack([hum, quiet[0]]))
    pictures = [np.asarray(picture) for picture in fitted.pictures(low, scale=2)]
    assert pictures[0].shape == (200, 128, 3)
    assert pictures[0][-20:].mean() > 5 * pictures[0][:20].mean()
    assert pictures[1].max() <= 4


@pytest.mark.parametrize("n_mels", [40, 100])
def test_other_settings_keep_their_own_shapes(n_mels):
    codec = MelCodec(num_samples=8000, sample_rate=16_000, n_fft=512, hop_length=160, n_mels=n_mels)
    x_0 = codec.encode(torch.zeros(2, 8000))
    assert x_0.shape == (2, 1, n_mels, 51) == (2, *codec.shape)
    assert codec.decode(x_0).shape == (2, 8000)


def test_statistics_are_saved_with_it(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    again = MelCodec.from_pretrained(tmp_path)
    assert again.shape == fitted.shape
    assert all(torch.equal(again.state_dict()[name], value) for name, value in fitted.state_dict().items())
    assert torch.equal(again.encode(torch.zeros(1, 9)), fitted.encode(torch.zeros(1, 9)))


@pytest.mark.parametrize("htk", [True, False])
@pytest.mark.parametrize("sizes", [(24_000, 1024, 100), (32_000, 2048, 128), (8000, 256, 48), (1500, 128, 10)])
def test_the_filterbank_is_librosas_to_the_bit(htk, sizes):
    sample_rate, n_fft, n_mels = sizes
    expected = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, htk=htk, norm=None)
    assert torch.equal(mel_filterbank(*sizes, htk), torch.from_numpy(expected))
