"""The diffusion transformer: its patches, its modulation networks and law 6; the other laws are in test_laws."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.denoisers.dit import DiT
from synesthete.diffusion.process import Process
from synesthete.objectives import Parts
from synesthete.types import Condition, InputError


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


@given(
    sides=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    patch=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.integers(1, 3),
)
def test_patches_put_together_are_what_was_cut(sides, patch, channels):
    patch = min(patch[0], sides[0]), min(patch[1], sides[1])  # a larger one is refused
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
