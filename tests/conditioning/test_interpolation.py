"""The way from one vector to another along the sphere."""

from __future__ import annotations

import torch

from synesthete.conditioning.audio_text import slerp


def test_it_goes_round_the_sphere_at_an_even_pace():
    torch.manual_seed(0)
    first, second = torch.nn.functional.normalize(torch.randn(2, 40), dim=1)
    shares = torch.linspace(0, 1, 9)
    found = slerp(first, second, shares)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(found[[0, -1]], torch.stack([first, second]), atol=1e-6, rtol=0)
    steps = torch.linalg.vecdot(found[1:], found[:-1]).arccos()
    torch.testing.assert_close(steps, steps.mean().expand(8), atol=1e-4, rtol=0)


def test_lengths_change_on_a_line():
    first, second = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    [middle] = slerp(first, second, torch.tensor([0.5]))
    torch.testing.assert_close(middle, torch.tensor([1.0, 1.0]) * 3 / 2**0.5)


def test_vectors_that_are_alike_or_opposite():
    vector = torch.tensor([0.6, 0.8])
    shares = torch.tensor([0.0, 0.3, 1.0])
    torch.testing.assert_close(slerp(vector, vector, shares), vector.expand(3, 2))
    found = slerp(vector, -vector, shares)
    assert found.isfinite().all()
    torch.testing.assert_close(found[[0, -1]], torch.stack([vector, -vector]))
