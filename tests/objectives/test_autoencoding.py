"""The autoencoder's loss: every part sees what it is for, every weight learns, the round trip comes with a floor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.pixels import PixelCodec
from synesthete.codecs.stft import StftCodec
from synesthete.objectives import Autoencoding, Parts
from synesthete.objectives.autoencoding import log_spectral_distance, measure_round_trip, pooled
from synesthete.types import Batch, InputError

SMALL = {"latent_channels": 4, "channels": (8, 16), "patch_size": 2}
STFT = {"num_samples": 4000, "sample_rate": 8000, "n_fft": 64, "hop_length": 32, "num_bins": 32, "num_frames": 124}
BASES = {
    "magnitude": lambda: StftCodec(**STFT),
    "complex": lambda: StftCodec(**STFT, kind="complex"),
    "pixels": lambda: PixelCodec((16, 24)),
}


def signals(name: str, num: int = 4) -> torch.Tensor:
    """Smooth pictures, or chords over faint noise that begin one after the other."""
    generator = torch.Generator().manual_seed(0)
    if name == "pixels":
        return nn.functional.interpolate(torch.rand(num, 3, 4, 6, generator=generator), size=(16, 24), mode="bilinear")
    time = torch.arange(4000) / 8000
    pitch = 200 + 1500 * torch.rand(num, 3, 1, generator=generator)
    starts = torch.linspace(0, 0.3, num)[:, None]
    chord = torch.sin(2 * torch.pi * pitch * time).mean(dim=1) * (time > starts)
    return 0.5 * chord + 1e-3 * torch.randn(num, 4000, generator=generator)


def objective_over(name: str, **settings) -> Autoencoding:
    torch.manual_seed(0)
    codec = LatentCodec(BASES[name](), **SMALL)
    codec.fit([signals(name)])
    return Autoencoding(**settings).attach(Parts(codec, nn.Identity(), nn.Identity(), None))


def batch_of(name: str, **changes) -> Batch:
    label = torch.zeros(4, dtype=torch.int64)
    return Batch(**{"signal": signals(name), "raw": label, "label": label, **changes})


def losses(objective: Autoencoding, name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    return objective(batch_of(name), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", BASES)
def test_every_weight_of_encoder_and_decoder_learns(name):
    objective = objective_over(name)
    found = losses(objective, name)
    found["loss"].backward()
    assert list(found) == ["loss", "l1", "spectral", "edges", "kl"]
    assert all(torch.isfinite(value) and value > 0 for value in found.values())
    still = [n for n, p in objective.parts.codec.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def test_the_loss_is_the_weighted_sum_of_its_parts_and_drawn_by_the_generator():
    objective = objective_over("magnitude", kl_weight=0.1, spectral_weight=0.3, edge_weight=0.7)
    found = losses(objective, "magnitude")
    expected = found["l1"] + 0.3 * found["spectral"] + 0.7 * found["edges"] + 0.1 * found["kl"]
    torch.testing.assert_close(found["loss"], expected)
    assert torch.equal(found["loss"], losses(objective, "magnitude")["loss"])
    assert not torch.equal(found["loss"], losses(objective, "magnitude", seed=1)["loss"])


@pytest.mark.parametrize("name", ["magnitude", "pixels"])
def test_a_few_steps_bring_signals_back(name):
    """Seen on the signals themselves, since it is to be seen in seconds; a held-out figure is logged in training."""
    objective = objective_over(name)
    codec = objective.parts.codec
    before = measure_round_trip(codec, signals(name))
    optimiser = torch.optim.AdamW(codec.parameters(), lr=4e-3)
    for step in range(60):
        losses(objective, name, seed=step)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
    after = measure_round_trip(codec, signals(name))
    assert after.error < 0.6 * before.error
    assert after.error < after.floor == before.floor
    assert f"{after.floor:.3g}" in str(after)


def test_a_step_is_shown_some_columns_drawn_anew():
    objective = objective_over("magnitude", num_columns=32)
    x = torch.arange(124.0).expand(2, 1, 32, 124)
    cuts = [objective._cut(x, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert {cut.shape[-1] for cut in cuts} == {32}
    assert len({cut[0, 0, 0, 0].item() for cut in cuts}) > 4
    assert all((cut.diff(dim=-1) == 1).all() for cut in cuts)
    assert objective_over("magnitude", num_columns=500)._cut(x, torch.Generator()) is x


def test_loud_cells_weigh_more():
    """The same error costs more where it would be heard."""
    objective = objective_over("magnitude", quiet_weight=0.2)
    x = objective.parts.codec.signal_grid(signals("magnitude"))
    level = objective.parts.codec.base.decibels(x).unsqueeze(1)
    loud = level > level.amax(dim=(2, 3), keepdim=True) - 12
    faint = level < level.amax(dim=(2, 3), keepdim=True) - 60
    errors = [objective._l1(x, x + one) * one.numel() / one.sum() for one in (loud.float(), faint.float())]
    assert errors[0] > 3 * errors[1] > 0
    even = objective_over("magnitude", quiet_weight=1.0)
    same = [even._l1(x, x + one) * one.numel() / one.sum() for one in (loud.float(), faint.float())]
    assert same[0] == pytest.approx(same[1].item(), rel=1e-3)


def test_pooled_power_sees_noise_that_lost_its_energy():
    """In dB the median of noise is below its power: restored as it is by l1, a band would sink."""
    generator = torch.Generator().manual_seed(0)
    power = -torch.rand(1, 1, 64, 64, generator=generator).log()  # of noise, exponentially distributed
    noise = 10 * power.log10()
    flat = noise.median().expand_as(noise)
    lost = (pooled(noise, 16, as_power=True) - pooled(flat, 16, as_power=True)).mean().item()
    assert lost == pytest.approx(-10 * torch.tensor(2.0).log().log10().item(), abs=0.3)  # ln 2 of the mean
    assert pooled(flat, 16, as_power=True) == pytest.approx(flat[..., ::16, ::16], abs=1e-3)


def test_edges_see_what_the_mean_does_not():
    objective = objective_over("magnitude")
    codec = objective.parts.codec
    x = codec.signal_grid(signals("magnitude"))
    blurred = nn.functional.avg_pool2d(x, (1, 9), stride=1, padding=(0, 4), count_include_pad=False)
    louder = x + (blurred - x).abs().mean()
    assert objective._at_scales(x, blurred)["edges"] > 3 * objective._at_scales(x, louder)["edges"]
    assert objective._at_scales(x, x)["spectral"] == objective._at_scales(x, x)["edges"] == 0


def test_what_it_cannot_train_is_refused():
    with pytest.raises(InputError, match="LatentCodec"):
        Autoencoding().attach(Parts(PixelCodec(8), nn.Identity(), nn.Identity(), None))
    with pytest.raises(InputError, match="signals"):
        objective_over("pixels")(batch_of("pixels", encoded=True), torch.Generator())


def test_log_spectral_distance_is_in_decibels():
    level = torch.randn(2, 5, 7)
    assert log_spectral_distance(level, level + 3) == pytest.approx(3, rel=1e-5)
    half = level.clone()
    half[:, :, ::2] += 4  # 4 of 7 frames
    assert log_spectral_distance(level, half) == pytest.approx(16 / 7, rel=1e-5)
