"""The hourglass: what goes around its tokens, and what goes through them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.denoisers.hourglass import Hourglass, divided, merged
from synesthete.diffusion.process import Process
from synesthete.types import Condition, InputError

TINY = {"cell_width": 32, "width": 16, "num_heads": 2, "condition_width": None, "pooled_width": None}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(**settings) -> Hourglass:
    torch.manual_seed(0)
    made = Hourglass(
        **{"sample_size": (8, 32), "cell_size": (8, 1), "depth": 1, "num_cell_blocks": 1} | TINY | settings
    )
    for parameter in made.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@given(
    tokens=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    width=st.integers(1, 3),
)
def test_cells_divided_are_what_was_merged(tokens, size, width):
    cells = draw(2, tokens[0] * size[0], tokens[1] * size[1], width)
    together = merged(cells, size)
    assert together.shape == (2, *tokens, size[0] * size[1] * width)
    assert torch.equal(together[0, 0, 0], cells[0, : size[0], : size[1]].flatten())
    assert torch.equal(divided(together, size), cells)


def test_a_frame_is_heard_nearby_around_the_tokens_and_everywhere_through_them():
    x_t, timestep = draw(1, 1, 8, 32), torch.tensor([300.0])
    changed = x_t.clone()
    changed[..., 9] += 1
    for silenced, reach in ((True, range(5, 14)), (False, range(32))):
        hourglass = network()
        if silenced:  # nothing comes back from the tokens: two blocks of two cells to either side are left
            torch.nn.init.zeros_(hourglass.split.weight)
        moved = hourglass(changed, timestep, Condition()) - hourglass(x_t, timestep, Condition())
        assert (moved.abs().amax(dim=(0, 1, 2)) > 1e-6).nonzero().flatten().tolist() == list(reach)


def test_a_spatial_condition_is_seen():
    hourglass, x_t = (
        network(sample_size=(13, 10), cell_size=(2, 2), merge=(2, 2), spatial_channels=3),
        draw(2, 1, 13, 10),
    )
    timestep = torch.tensor([10.0, 900.0])
    told = [Condition(spatial=draw(2, 3, 13, 10, seed=seed)) for seed in (1, 2)]
    seen = [hourglass(x_t, timestep, one) for one in told]
    assert (seen[0] - seen[1]).abs().mean() > 1e-3
    with pytest.raises(InputError, match="6 x 10 beside x_t of 13 x 10"):
        hourglass(x_t, timestep, replace(told[0], spatial=draw(2, 3, 6, 10)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_heads": 3}, "16 does not divide into 3 heads"),
        ({"cell_size": (8, 5)}, "8 x 5: 40 values, which cannot pass a cell_width of 32"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        network(**settings)


@pytest.mark.parametrize("schedule", ["flow", "cosine"])
def test_preconditioned_it_passes_fine_structure_that_its_tokens_could_not(schedule):
    """Cells of random signs, which 16 values for four frames of 8 cannot hold, are learned from x_t."""
    process, hourglass = Process(schedule, preconditioned=True), network().train()
    optimiser = torch.optim.AdamW(hourglass.parameters(), lr=5e-3)
    timestep = process.at(torch.full((32,), 0.3))
    for step in range(250):
        x_0, noise = draw(32, 1, 8, 32, seed=step).sign(), draw(32, 1, 8, 32, seed=1000 + step)
        x_t = process.add_noise(x_0, noise, timestep)
        guess = process.predict(hourglass, x_t, timestep, Condition())
        loss = (process.convert(guess, x_t, timestep, "preconditioned") - process.target(x_0, noise, timestep)).square()
        optimiser.zero_grad()
        loss.mean().backward()
        optimiser.step()
    # A guess of x_t alone, the best linear one, leaves sigma^2 / (alpha^2 + sigma^2).
    alpha, sigma = (level.flatten()[0] for level in process.alpha_sigma(timestep))
    assert (guess - x_0).square().mean() < 0.8 * sigma**2 / (alpha**2 + sigma**2)
