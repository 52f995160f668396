"""Classifier-free guidance: a wrapper that costs one batched forward (law 5)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synesthete.diffusion.guidance import guided, guided_by_two
from synesthete.types import Condition

X_T = torch.randn(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
TIMESTEP = torch.tensor([500.0, 500.0, 500.0])


def condition(value: float) -> Condition:
    tokens = torch.full((3, 2, 4), value) + torch.arange(3.0).view(3, 1, 1)
    return Condition(tokens=tokens, pooled=tokens.mean(dim=1))


class Network:
    """Counts its calls; what it says depends on x_t, on the timestep and on each sample's own condition."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, x_t, timestep, condition):
        self.batches.append(len(x_t))
        assert len(x_t) == len(condition)
        told = condition.tokens.mean(dim=(1, 2)) + condition.pooled[:, 0].square()
        return x_t * told.view(-1, 1, 1, 1).sin() + timestep.view(-1, 1, 1, 1) / 1000


def test_scale_1_is_one_plain_forward():
    network = Network()
    found = guided(network, condition(2.0), condition(-1.0), 1.0)(X_T, TIMESTEP)
    assert network.batches == [3]
    assert torch.equal(found, Network()(X_T, TIMESTEP, condition(2.0)))


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.6, 0.8)])
def test_scale_0_is_the_null_alone_in_one_plain_forward(interval):
    """Everywhere: outside an interval the class would speak where nothing but the null was asked for."""
    network = Network()
    found = guided(network, condition(2.0), condition(-1.0), 0.0, interval, rescale=0.7)(X_T, TIMESTEP)
    assert network.batches == [3]
    assert torch.equal(found, Network()(X_T, TIMESTEP, condition(-1.0)))


@given(scale=st.floats(-2, 10).filter(lambda s: s not in (0.0, 1.0)))
def test_scale_s_is_the_formula_with_two_forwards_in_one(scale):
    network = Network()
    found = guided(network, condition(2.0), condition(-1.0), scale)(X_T, TIMESTEP)
    assert network.batches == [6]
    with_, without = (Network()(X_T, TIMESTEP, condition(value)) for value in (2.0, -1.0))
    torch.testing.assert_close(found, without + scale * (with_ - without), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("timestep", "batch"), [(100.0, 3), (200.0, 6), (500.0, 6), (800.0, 6), (801.0, 3)])
def test_outside_its_interval_it_is_off_and_costs_nothing(timestep, batch):
    network = Network()
    guide = guided(network, condition(2.0), condition(-1.0), 3.0, (0.2, 0.8))
    found = guide(X_T, torch.full((3,), timestep))
    assert network.batches == [batch]
    plain = Network()(X_T, torch.full((3,), timestep), condition(2.0))
    assert torch.equal(found, plain) == (batch == 3)


def test_a_timestep_without_a_batch_is_what_the_sampler_gives():
    def network(x_t, timestep, told):
        return x_t * told.pooled[:, 0].view(-1, 1, 1, 1) + timestep / 1000

    found = guided(network, condition(2.0), condition(-1.0), 3.0)(X_T, torch.tensor(500))
    with_, without = (network(X_T, torch.tensor(500), condition(value)) for value in (2.0, -1.0))
    torch.testing.assert_close(found, without + 3 * (with_ - without))


def test_rescale_1_gives_each_sample_the_spread_of_the_plain_prediction():
    plain = Network()(X_T, TIMESTEP, condition(2.0))
    for rescale in (0.0, 0.5, 1.0):
        found = guided(Network(), condition(2.0), condition(-1.0), 5.0, rescale=rescale)(X_T, TIMESTEP)
        off = guided(Network(), condition(2.0), condition(-1.0), 5.0)(X_T, TIMESTEP)
        expected = rescale * plain.std((1, 2, 3)) + (1 - rescale) * off.std((1, 2, 3))
        torch.testing.assert_close(found.std((1, 2, 3)), expected)


BRANCHES = tuple(condition(value) for value in (-1.0, 2.0, 0.5))  # told nothing, the text, the text and the sound


def predictions() -> tuple[torch.Tensor, ...]:
    return tuple(Network()(X_T, TIMESTEP, branch) for branch in BRANCHES)


@given(scale=st.floats(-2, 10), audio=st.floats(-2, 10))
def test_two_scales_are_the_formula_with_the_forwards_it_needs_in_one(scale, audio):
    network = Network()
    found = guided_by_two(network, BRANCHES, scale, audio)(X_T, TIMESTEP)
    none, text, both = predictions()
    torch.testing.assert_close(found, none + scale * (text - none) + audio * (both - text), rtol=1e-4, atol=1e-4)
    assert len(network.batches) == 1


@pytest.mark.parametrize(
    ("scale", "audio", "branches"),
    [
        *[(7.0, 3.0, 3), (0.0, 3.0, 3), (7.0, 1.0, 3)],
        *[(1.0, 3.0, 2), (7.0, 0.0, 2), (3.0, 3.0, 2)],
        *[(1.0, 1.0, 1), (1.0, 0.0, 1), (0.0, 0.0, 1)],
    ],
)
def test_a_needless_branch_costs_nothing(scale, audio, branches):
    network = Network()
    guided_by_two(network, BRANCHES, scale, audio)(X_T, TIMESTEP)
    assert network.batches == [3 * branches]


@pytest.mark.parametrize("interval", [(0.0, 1.0), (0.6, 0.8)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 4.0])
def test_equal_scales_are_the_one_scale_to_the_bit(scale, interval):
    none, _, both = BRANCHES
    expected = guided(Network(), both, none, scale, interval, rescale=0.5)(X_T, TIMESTEP)
    assert torch.equal(guided_by_two(Network(), BRANCHES, scale, scale, interval, rescale=0.5)(X_T, TIMESTEP), expected)


def test_a_source_that_is_not_there_leaves_the_scale_of_the_other():
    none, text, both = BRANCHES
    for branches, left, scale in (((none, text, text), text, 5.0), ((none, none, both), both, 2.0)):
        network = Network()
        found = guided_by_two(network, branches, 5.0, 2.0)(X_T, TIMESTEP)
        assert torch.equal(found, guided(Network(), left, none, scale)(X_T, TIMESTEP))
        assert network.batches == [6]


@pytest.mark.parametrize(("scale", "audio", "told"), [(5.0, 2.0, 2), (1.0, 2.0, 2), (5.0, 0.0, 1), (0.0, 0.0, 0)])
def test_outside_the_interval_two_scales_are_off(scale, audio, told):
    network = Network()
    found = guided_by_two(network, BRANCHES, scale, audio, (0.6, 0.8))(X_T, TIMESTEP)
    assert network.batches == [3]
    assert torch.equal(found, predictions()[told])


def test_two_scales_are_rescaled_to_the_spread_of_the_prediction_of_both():
    plain = predictions()[2]
    for rescale in (0.5, 1.0):
        found = guided_by_two(Network(), BRANCHES, 5.0, 2.0, rescale=rescale)(X_T, TIMESTEP)
        off = guided_by_two(Network(), BRANCHES, 5.0, 2.0)(X_T, TIMESTEP)
        expected = rescale * plain.std((1, 2, 3)) + (1 - rescale) * off.std((1, 2, 3))
        torch.testing.assert_close(found.std((1, 2, 3)), expected)


def test_two_scales_take_a_timestep_without_a_batch():
    def network(x_t, timestep, told):
        return x_t * told.pooled[:, 0].view(-1, 1, 1, 1) + timestep / 1000

    found = guided_by_two(network, BRANCHES, 5.0, 2.0)(X_T, torch.tensor(500))
    none, text, both = (network(X_T, torch.tensor(500), branch) for branch in BRANCHES)
    torch.testing.assert_close(found, none + 5 * (text - none) + 2 * (both - text), rtol=1e-4, atol=1e-5)
