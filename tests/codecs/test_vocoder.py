"""A log-mel codec with a vocoder of its own: what decodes, that it travels with the codec, and where it comes from."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from synesthete import seeding
from synesthete.codecs.mel import MelCodec, VocoderCodec
from synesthete.codecs.vocoders import ConvNeXtBlock
from synesthete.types import InputError

RATE, HOP, BANDS = 8000, 64, 40
FRAMES = {"num_samples": 4000, "sample_rate": RATE, "n_fft": 256, "hop_length": HOP, "n_mels": BANDS}
SIZES = {"dim": 16, "intermediate_dim": 32, "num_layers": 2}


@pytest.fixture
def tones() -> torch.Tensor:
    """Three tones (3, S)."""
    time = torch.arange(4000) / RATE
    return torch.stack([0.4 * torch.sin(2 * torch.pi * pitch * time) for pitch in (220.0, 440.0, 1500.0)])


@pytest.fixture
def codec(tones) -> VocoderCodec:
    return VocoderCodec(**FRAMES, **SIZES, num_iterations=8).fit([tones])


@pytest.fixture
def trained(codec) -> VocoderCodec:
    """One whose network has weights of its own and is said to have learned them."""
    for parameter in codec.network.parameters():
        parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    codec.trained.fill_(True)
    return codec.eval()


def test_until_it_is_trained_it_is_a_mel_codec(codec, tones):
    plain = MelCodec(**FRAMES, num_iterations=8, vocoder="griffin-lim").fit([tones])
    x_0 = codec.encode(tones)
    torch.testing.assert_close(x_0, plain.encode(tones))
    assert codec.silence == pytest.approx(plain.silence)
    torch.testing.assert_close(codec.decode(x_0), plain.decode(x_0))
    assert codec.vocoder_in_use == "Griffin-Lim, 8 iterations (its network is not trained)"


def test_a_trained_network_decodes(trained, tones):
    x_0 = trained.encode(tones)
    waveform = trained.decode(x_0)
    assert waveform.shape == tones.shape and "Vocos network of its own" in trained.vocoder_in_use
    torch.testing.assert_close(waveform, trained.vocode(trained.log_mel(tones), 4000), atol=1e-4, rtol=1e-4)
    singles = torch.cat([trained.decode(one) for one in x_0.split(1)])
    torch.testing.assert_close(waveform, singles, atol=1e-5, rtol=1e-4)


def test_griffin_lim_can_be_asked_for(trained, tones):
    """The same network, for a comparison on the same x_0."""
    other = VocoderCodec(**FRAMES, **SIZES, num_iterations=8, vocoder="griffin-lim")
    other.load_state_dict(trained.state_dict())
    assert other.vocoder_in_use == "Griffin-Lim, 8 iterations"
    x_0, generators = trained.encode(tones), seeding.sample_generators(0, 3)
    plain = MelCodec(**FRAMES, num_iterations=8, vocoder="griffin-lim").fit([tones])
    torch.testing.assert_close(other.decode(x_0, generators), plain.decode(x_0, seeding.sample_generators(0, 3)))


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("num_frames", [1, 40, 63, 200])
def test_any_number_of_frames_decodes(codec, is_trained, num_frames):
    codec.trained.fill_(is_trained)
    x_0 = torch.randn(2, 1, BANDS, num_frames, generator=torch.Generator().manual_seed(0))
    waveform = codec.decode(x_0)
    assert waveform.shape == (2, max(4000, (num_frames - 1) * HOP)) and torch.isfinite(waveform).all()
    assert codec.decode(x_0, num_samples=5000).shape == (2, 5000)


def test_the_network_is_saved_with_the_codec(trained, tones, tmp_path):
    trained.save_pretrained(tmp_path)
    again = VocoderCodec.from_pretrained(tmp_path)
    assert again.config.dim == 16 and bool(again.trained)
    x_0 = trained.encode(tones)
    assert torch.equal(again.decode(x_0), trained.decode(x_0))


def test_fresh_weights_are_the_same_and_nobody_elses_draws_move():
    """Statistics measured in one process hold them, so that a seed has to mean the same in the next one."""
    torch.manual_seed(3)
    first, draw = VocoderCodec(**FRAMES, **SIZES), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), draw)
    for name, value in VocoderCodec(**FRAMES, **SIZES).state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name


@pytest.mark.parametrize("what", ["codec", "network"])
def test_fit_takes_a_network_trained_elsewhere(trained, tones, tmp_path, what):
    (trained if what == "codec" else trained.network).save_pretrained(tmp_path)
    other = VocoderCodec(**FRAMES | {"num_samples": 8000}, **SIZES, weights=str(tmp_path)).fit([0.1 * tones])
    assert bool(other.trained) and other.mean != trained.mean  # measured anew; the network does not read it
    sounds = F.pad(tones, (0, 4000))
    torch.testing.assert_close(
        other.decode(other.encode(sounds)), trained.vocode(trained.log_mel(sounds), 8000), atol=1e-4, rtol=1e-4
    )


def test_a_network_trained_here_serves_a_mel_codec(trained, tones, tmp_path):
    trained.network.save_pretrained(tmp_path)
    plain = MelCodec(**FRAMES, vocoder="vocos", vocos=str(tmp_path)).fit([tones])
    torch.testing.assert_close(plain.decode(plain.encode(tones)), trained.decode(trained.encode(tones)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"dim": 24}, "a vocoder of dim 16, the codec's is 24; --set codec.dim=16"), ({"n_mels": 32}, "codec.n_mels=40")],
)
def test_another_network_is_refused(trained, tones, tmp_path, changed, message):
    trained.save_pretrained(tmp_path)
    other = VocoderCodec(**(FRAMES | SIZES | changed), weights=str(tmp_path))
    with pytest.raises(InputError, match=message):
        other.fit([tones])


def test_an_untrained_or_missing_network_is_refused(codec, tones, tmp_path):
    codec.save_pretrained(tmp_path / "fresh")
    for folder, message in ((tmp_path / "fresh", "has not been trained"), (tmp_path / "nowhere", "no such model")):
        with pytest.raises(InputError, match=message):
            VocoderCodec(**FRAMES, **SIZES, weights=str(folder)).fit([tones])


def test_frames_are_mixed_as_by_a_plain_convolution():
    """The layout that is fast on a CPU gives the values of the published Conv1d, and its gradients."""
    block = ConvNeXtBlock(12, 24, layer_scale=0.5)
    x = torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(0), requires_grad=True)
    plain = block.dwconv(x.mT).mT
    plain = x + block.gamma * block.pwconv2(F.gelu(block.pwconv1(block.norm(plain))))
    torch.testing.assert_close(block(x), plain, atol=1e-5, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(y.square().sum(), (x, block.dwconv.weight)) for y in (block(x), plain))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
