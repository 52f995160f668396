"""The diffusion transformer (laws 2, 4 and 6), with the conditioners that feed it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.pictures import PictureStem
from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising, Parts
from synesthete.types import Batch, Condition, InputError

SHAPES = [  # (sample_size, patch_size): small squares, whole spectra, and sizes that no patch divides
    ((100, 64), (100, 4)),
    ((100, 64), (4, 8)),
    ((100, 282), (100, 4)),
    ((13, 10), (4, 8)),
]
every_shape = pytest.mark.parametrize(("sample_size", "patch_size"), SHAPES)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(sample_size=(100, 64), patch_size=(100, 4), *, awake=True, **settings) -> DiT:
    torch.manual_seed(0)
    settings = {"width": 32, "depth": 2, "num_heads": 2, "condition_width": 24, "pooled_width": 16} | settings
    made = DiT(sample_size=sample_size, patch_size=patch_size, **settings).eval()
    for parameter in made.parameters() if awake else ():
        if not parameter.any():  # what starts at zero would hide all that comes before it
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def condition(batch=2, num_tokens=5, seed=1) -> Condition:
    return Condition(tokens=draw(batch, num_tokens, 24, seed=seed), pooled=draw(batch, 16, seed=seed + 1))


def inputs(sample_size=(100, 64), batch=2):
    return draw(batch, 1, *sample_size), torch.linspace(10, 900, batch), condition(batch)


@every_shape
def test_the_output_starts_at_zero_and_has_the_shape_of_x_t(sample_size, patch_size):
    x_t, timestep, told = inputs(sample_size)
    assert torch.equal(network(sample_size, patch_size, awake=False)(x_t, timestep, told), torch.zeros_like(x_t))
    assert network(sample_size, patch_size)(x_t, timestep, told).shape == x_t.shape


def test_nothing_bounds_the_output():
    dit = network()
    plain = dit(*inputs())
    dit.to_out.weight.data *= 1000
    dit.to_out.bias.data *= 1000
    loud = dit(*inputs())
    assert loud.max() > 10
    assert loud.min() < -10
    torch.testing.assert_close(loud, 1000 * plain, rtol=1e-3, atol=1e-1)


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    patch=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.integers(1, 3),
)
def test_patches_put_together_are_what_was_cut(sides, patch, channels):
    dit = network(sides, patch, in_channels=channels, width=8, depth=1, awake=False)
    x = draw(2, channels, *sides)
    tokens = dit.patchify(x)
    rows, columns = -(-sides[0] // patch[0]), -(-sides[1] // patch[1])
    assert tokens.shape == (2, rows * columns, channels * patch[0] * patch[1])
    assert torch.equal(dit.unpatchify(tokens, sides), x)


def test_a_patch_is_a_rectangle_of_neighbours():
    x = torch.arange(100 * 16.0).view(1, 1, 100, 16)
    small = network((100, 16), (4, 8)).patchify(x)  # row by row, 25 x 2
    assert small.shape == (1, 50, 32)
    assert torch.equal(small[0, 3], x[0, 0, 4:8, 8:16].flatten())
    spectra = network((100, 16), (100, 4)).patchify(x)
    assert spectra.shape == (1, 4, 400)
    assert torch.equal(spectra[0, 1], x[0, 0, :, 4:8].flatten())


def test_a_spectrogram_of_another_length_is_refused():
    """Cut in silence, the frames beyond the table of places would never be denoised."""
    with pytest.raises(InputError, match="sample_size"):
        network((100, 64))(*inputs((100, 100)))


def make_parts(conditioner, patch_size=(100, 4)) -> Parts:
    process = Process(schedule="flow", prediction_type="sample", loss_space="flow")
    denoiser = network((100, 16), patch_size, awake=False, condition_width=32, pooled_width=32)
    return Parts(MelCodec(num_samples=15 * 256), conditioner, denoiser, process)


def batch_for(conditioner, num=16) -> Batch:
    label = torch.arange(num) % 10
    pictures = (draw(num, 1, 28, 28) * 60 + 128).clamp(0, 255).to(torch.uint8)
    raw = label if isinstance(conditioner, Labels) else pictures
    return Batch(signal=draw(num, 1, 100, 16), raw=raw, label=label, encoded=True)


@pytest.mark.parametrize("patch_size", [(100, 4), (4, 8)])
@pytest.mark.parametrize("make", [lambda: PictureStem(widths=(8, 8, 16), width=32), lambda: Labels(width=32)])
def test_every_parameter_learns(make, patch_size):
    """One key makes cross-attention a constant: it left 724,992 parameters of a seed without a gradient."""
    torch.manual_seed(0)
    conditioner = make()
    objective = Denoising(condition_dropout=0.3).attach(make_parts(conditioner, patch_size)).train()
    batch = batch_for(conditioner)
    optimiser = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    waiting = dict(objective.named_parameters())
    classes = torch.zeros(11, dtype=torch.bool)  # the null is the eleventh
    for step in range(6):
        optimiser.zero_grad()
        objective(batch, torch.Generator().manual_seed(step))["loss"].backward()
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not p.grad.any()}
        if isinstance(conditioner, Labels):
            classes |= conditioner.tokens.weight.grad.any(dim=1) & conditioner.pooled.weight.grad.any(dim=1)
        optimiser.step()
    assert not waiting
    assert classes.all() or isinstance(conditioner, PictureStem)


@every_shape
def test_the_condition_reaches_the_output_two_ways(sample_size, patch_size):
    dit, (x_t, timestep, told) = network(sample_size, patch_size), inputs(sample_size)
    plain = dit(x_t, timestep, told)
    other = condition(seed=7)
    for changed in (replace(told, tokens=other.tokens), replace(told, pooled=other.pooled)):
        assert (dit(x_t, timestep, changed) - plain).abs().mean() > 1e-3
    assert (dit(x_t, timestep + 50, told) - plain).abs().mean() > 1e-3


def test_a_condition_without_one_of_the_two_is_refused():
    for lacking in ("tokens", "pooled"):
        with pytest.raises(ValueError, match=f"reads a condition's {lacking}"):
            network()(draw(2, 1, 100, 64), torch.zeros(2), replace(condition(), **{lacking: None}))


def test_it_can_do_without_a_condition():
    dit = network((24, 30), (24, 4), condition_width=None, pooled_width=None)
    assert not any("cross" in name or "pooled" in name for name, _ in dit.named_parameters())
    x_t, timestep = draw(3, 1, 24, 30), torch.tensor([100.0, 500.0, 900.0])
    whole = dit(x_t, timestep, Condition())
    assert whole.shape == x_t.shape
    singles = torch.cat([dit(x_t[i : i + 1], timestep[i : i + 1], Condition()) for i in range(3)])
    torch.testing.assert_close(whole, singles, atol=1e-5, rtol=1e-4)
    whole.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in dit.parameters())


@pytest.mark.parametrize("num_modulation_networks", [1, 2])
def test_keys_computed_once_give_the_same(num_modulation_networks):
    dit, (x_t, timestep, told) = network(num_modulation_networks=num_modulation_networks), inputs()
    once = dit.precompute(told)
    assert len(once.keys_values) == 2
    assert torch.equal(dit(x_t, timestep, once), dit(x_t, timestep, told))
    assert torch.equal(dit(x_t, timestep, dit.precompute(once)), dit(x_t, timestep, told))


def test_tokens_that_are_masked_do_not_matter():
    dit, (x_t, timestep, told) = network(), inputs()
    mask = torch.tensor([[True, True, True, False, False], [True, True, False, True, True]])
    masked = replace(told, mask=mask)
    plain = dit(x_t, timestep, masked)
    noisy = replace(masked, tokens=told.tokens.where(mask[..., None], torch.tensor(9.0)))
    torch.testing.assert_close(dit(x_t, timestep, noisy), plain)
    short = Condition(tokens=told.tokens[:1, :3], pooled=told.pooled[:1])
    torch.testing.assert_close(dit(x_t[:1], timestep[:1], short), plain[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(dit(x_t, timestep, told), plain)


@every_shape
def test_a_batch_equals_its_singles(sample_size, patch_size):
    dit, (x_t, timestep, told) = network(sample_size, patch_size), inputs(sample_size, 4)
    batch = dit(x_t, timestep, told)
    for i in range(4):
        single = dit(x_t[i : i + 1], timestep[i : i + 1], told[i : i + 1])
        torch.testing.assert_close(single, batch[i : i + 1], rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        dit = network().train()
        if checkpointing:
            dit.enable_gradient_checkpointing()
            assert dit.gradient_checkpointing
        dit(*inputs()).square().mean().backward()
        gradients.append({name: p.grad for name, p in dit.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize(
    ("num_networks", "served"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (3, [0, 0, 1, 2]), (4, [0, 1, 2, 3])]
)
def test_neighbouring_layers_share_a_modulation_network(num_networks, served):
    """A gate of a network's own bias opens the layers that it serves, and no other."""
    dit = network(awake=False, depth=4, num_modulation_networks=num_networks)
    x_t, timestep, told = inputs()
    assert len(dit.modulations) == num_networks
    for i, modulation in enumerate(dit.modulations):
        opened: list[bool] = []

        def watch(block, arguments, out, opened=opened):
            opened.append(not torch.equal(out, arguments[0]))

        hooks = [block.register_forward_hook(watch) for block in dit.blocks]
        modulation.bias.data.fill_(1.0)
        dit(x_t, timestep, told)
        modulation.bias.data.zero_()
        for hook in hooks:
            hook.remove()
        assert opened == [network == i for network in served]


@pytest.mark.parametrize("num_networks", [0, 3])
def test_more_modulation_networks_than_layers_are_refused(num_networks):
    with pytest.raises(InputError, match="give 1 to 2"):
        network(depth=2, num_modulation_networks=num_networks)


@pytest.mark.parametrize("prediction_type", ["sample", "flow", "v_prediction"])
def test_a_wide_patch_passes_noise_through_only_as_an_x_0_network(prediction_type):
    """Law 6 in its bare form: 400 values through a width of 32 cannot be carried, but a constant spectrum can."""
    process = Process(schedule="flow", prediction_type=prediction_type, loss_space="flow")
    dit = network((100, 16), (100, 4), awake=False)
    parts = Parts(None, None, dit, process)
    x_0 = torch.sin(torch.arange(100.0) / 9).view(1, 1, 100, 1).expand(16, 1, 100, 16)
    optimiser = torch.optim.AdamW(dit.parameters(), lr=3e-3)
    told = condition(16)
    for step in range(60):
        generator = torch.Generator().manual_seed(step)
        noise = torch.randn(x_0.shape, generator=generator)
        timestep = torch.full((16,), 600.0)
        x_t = process.add_noise(x_0, noise, timestep)
        prediction = parts.denoiser(x_t, timestep, told)
        loss = (process.convert(prediction, x_t, timestep, "flow") - (noise - x_0)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    guess = process.convert(prediction.detach(), x_t, timestep, "sample")
    error = (guess - x_0).square().mean().item()
    assert (error < 0.1) == (prediction_type == "sample")


def test_seams_start_as_nothing_and_then_see_across_the_borders_of_patches():
    x_t, timestep, told = inputs((100, 64))
    plain, asleep = network(awake=False), network(awake=False, boundary_width=8)
    assert torch.equal(asleep(x_t, timestep, told), plain(x_t, timestep, told))
    awake = network(boundary_width=8, depth=1)
    for weight in awake.blocks.parameters():
        torch.nn.init.zeros_(weight)  # each token alone: what still crosses a border does so in the seams
    changed = x_t.clone()
    changed[..., 7] += 1  # the last column of the second patch
    moved = (awake(changed, timestep, told) - awake(x_t, timestep, told)).abs().amax(dim=(0, 1, 2)) > 1e-6
    assert moved[:4].any() and moved[8:12].any(), "the patches beside it hear nothing of it"
    assert not moved[12:].any(), "further than two layers of two columns reach"


def test_a_network_with_seams_takes_a_shorter_piece():
    x_t, timestep, told = inputs((100, 30))
    assert network(boundary_width=8)(x_t, timestep, told).shape == x_t.shape
