"""What every transformer of ours keeps (laws 2, 4 and 7), whatever cells it cuts x_t into."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from synesthete.codecs.mel import MelCodec
from synesthete.conditioning.labels import Labels
from synesthete.conditioning.pictures import PictureStem
from synesthete.denoisers.dit import DiT
from synesthete.denoisers.hourglass import Hourglass
from synesthete.diffusion.process import Process
from synesthete.objectives import Denoising, Parts
from synesthete.types import Batch, Condition, InputError

HOURGLASS = {"cell_width": 40, "num_cell_blocks": 1, "cell_mlp_ratio": 2.0, "mlp_ratio": 2.0}
SPECTRA = {"cell_size": (24, 1), "merge": (1, 4)} | HOURGLASS
SQUARES = {"cell_size": (2, 3), "merge": (2, 2)} | HOURGLASS
KINDS = [  # a network, and x_t of one sample: small squares, whole spectra, and sizes that no patch divides
    (DiT, {"patch_size": (100, 4)}, (1, 100, 64)),
    (DiT, {"patch_size": (4, 8)}, (1, 100, 64)),
    (DiT, {"patch_size": (100, 4)}, (1, 100, 282)),
    (DiT, {"patch_size": (4, 8)}, (1, 13, 10)),
    (DiT, {"patch_size": (100, 4), "num_modulation_networks": 2, "boundary_width": 8}, (1, 100, 64)),
    (Hourglass, SPECTRA, (1, 24, 64)),
    (Hourglass, SPECTRA, (1, 23, 30)),
    (Hourglass, SQUARES, (3, 16, 16)),
    (Hourglass, SQUARES, (2, 13, 11)),
]
every_kind = pytest.mark.parametrize(("cls", "settings", "shape"), KINDS)
one_of_each = pytest.mark.parametrize(("cls", "settings", "shape"), [KINDS[0], KINDS[4], KINDS[5], KINDS[8]])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(cls, settings, shape, *, awake=True, **more):
    torch.manual_seed(0)
    tiny = {"width": 32, "depth": 2, "num_heads": 2, "condition_width": 24, "pooled_width": 16}
    made = cls(sample_size=shape[1:], in_channels=shape[0], **tiny | settings | more).eval()
    for parameter in made.parameters() if awake else ():
        if not parameter.any():  # what starts at zero would hide all that comes before it
            torch.nn.init.normal_(parameter, std=0.2)
    return made


def condition(batch=2, num_tokens=5, seed=1) -> Condition:
    return Condition(tokens=draw(batch, num_tokens, 24, seed=seed), pooled=draw(batch, 16, seed=seed + 1))


def inputs(shape, batch=2):
    return draw(batch, *shape), torch.linspace(10, 900, batch), condition(batch)


@every_kind
def test_the_output_starts_at_zero_and_has_the_shape_of_x_t(cls, settings, shape):
    x_t, timestep, told = inputs(shape)
    assert torch.equal(network(cls, settings, shape, awake=False)(x_t, timestep, told), torch.zeros_like(x_t))
    assert network(cls, settings, shape)(x_t, timestep, told).shape == x_t.shape


@one_of_each
def test_nothing_bounds_the_output(cls, settings, shape):
    denoiser = network(cls, settings | {"boundary_width": None} if cls is DiT else settings, shape)
    plain = denoiser(*inputs(shape))
    denoiser.to_out.weight.data *= 1000
    denoiser.to_out.bias.data *= 1000
    loud = denoiser(*inputs(shape))
    assert loud.max() > 10
    assert loud.min() < -10
    torch.testing.assert_close(loud, 1000 * plain, rtol=1e-3, atol=1e-1)


@one_of_each
def test_every_block_starts_as_the_identity(cls, settings, shape):
    denoiser, seen = network(cls, settings, shape, awake=False), []
    blocks = [*denoiser.blocks, *getattr(denoiser, "cell_blocks", ())]
    for block in blocks:
        block.register_forward_hook(lambda _, arguments, out: seen.append(torch.equal(arguments[0], out)))
    denoiser(*inputs(shape))
    assert seen == [True] * len(blocks)


@one_of_each
def test_a_larger_input_is_refused_and_a_smaller_one_taken(cls, settings, shape):
    """Cut in silence, what lies beyond the table of places would never be denoised."""
    denoiser, (channels, height, width) = network(cls, settings, shape), shape
    with pytest.raises(InputError, match="sample_size"):
        denoiser(*inputs((channels, height, width + 40)))
    x_t, timestep, told = inputs((channels, height, width - 5))
    assert denoiser(x_t, timestep, told).shape == x_t.shape


def make_parts(conditioner, cls, settings) -> Parts:
    process = Process(schedule="flow", preconditioned=cls is Hourglass)
    told = {"condition_width": 32, "pooled_width": 32}
    denoiser = network(cls, settings, (1, 24, 16), awake=False, **told)
    return Parts(MelCodec(num_samples=15 * 256, n_mels=24), conditioner, denoiser, process)


def batch_for(conditioner, num=16) -> Batch:
    label = torch.arange(num) % 10
    pictures = (draw(num, 1, 28, 28) * 60 + 128).clamp(0, 255).to(torch.uint8)
    raw = label if isinstance(conditioner, Labels) else pictures
    return Batch(signal=draw(num, 1, 24, 16), raw=raw, label=label, encoded=True)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (DiT, {"patch_size": (24, 4)}),
        (DiT, {"patch_size": (4, 8)}),
        (Hourglass, SPECTRA),
        (Hourglass, SQUARES),
    ],
)
@pytest.mark.parametrize("make", [lambda: PictureStem(widths=(8, 8, 16), width=32), lambda: Labels(width=32)])
def test_every_parameter_learns(make, cls, settings):
    """One key makes cross-attention a constant: it left 724,992 parameters of a seed without a gradient."""
    torch.manual_seed(0)
    conditioner = make()
    objective = Denoising(condition_dropout=0.3).attach(make_parts(conditioner, cls, settings)).train()
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


@every_kind
def test_the_condition_reaches_the_output_two_ways(cls, settings, shape):
    denoiser, (x_t, timestep, told) = network(cls, settings, shape), inputs(shape)
    plain = denoiser(x_t, timestep, told)
    other = condition(seed=7)
    for changed in (replace(told, tokens=other.tokens), replace(told, pooled=other.pooled)):
        assert (denoiser(x_t, timestep, changed) - plain).abs().mean() > 1e-3
    assert (denoiser(x_t, timestep + 50, told) - plain).abs().mean() > 1e-3


@one_of_each
def test_a_condition_without_one_of_the_two_is_refused(cls, settings, shape):
    for lacking in ("tokens", "pooled"):
        with pytest.raises(ValueError, match=f"reads a condition's {lacking}"):
            network(cls, settings, shape)(draw(2, *shape), torch.zeros(2), replace(condition(), **{lacking: None}))


@one_of_each
def test_it_can_do_without_a_condition(cls, settings, shape):
    denoiser = network(cls, settings, shape, condition_width=None, pooled_width=None)
    assert not any("cross" in name or "pooled" in name for name, _ in denoiser.named_parameters())
    x_t, timestep = draw(3, *shape), torch.tensor([100.0, 500.0, 900.0])
    whole = denoiser(x_t, timestep, Condition())
    assert whole.shape == x_t.shape
    singles = torch.cat([denoiser(x_t[i : i + 1], timestep[i : i + 1], Condition()) for i in range(3)])
    torch.testing.assert_close(whole, singles, atol=1e-5, rtol=1e-4)
    whole.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in denoiser.parameters())


@one_of_each
def test_keys_computed_once_give_the_same(cls, settings, shape):
    denoiser, (x_t, timestep, told) = network(cls, settings, shape), inputs(shape)
    once = denoiser.precompute(told)
    assert len(once.keys_values) == 2
    assert torch.equal(denoiser(x_t, timestep, once), denoiser(x_t, timestep, told))
    assert torch.equal(denoiser(x_t, timestep, denoiser.precompute(once)), denoiser(x_t, timestep, told))


@one_of_each
def test_tokens_that_are_masked_do_not_matter(cls, settings, shape):
    denoiser, (x_t, timestep, told) = network(cls, settings, shape), inputs(shape)
    mask = torch.tensor([[True, True, True, False, False], [True, True, False, True, True]])
    masked = replace(told, mask=mask)
    plain = denoiser(x_t, timestep, masked)
    noisy = replace(masked, tokens=told.tokens.where(mask[..., None], torch.tensor(9.0)))
    torch.testing.assert_close(denoiser(x_t, timestep, noisy), plain)
    short = Condition(tokens=told.tokens[:1, :3], pooled=told.pooled[:1])
    torch.testing.assert_close(denoiser(x_t[:1], timestep[:1], short), plain[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(denoiser(x_t, timestep, told), plain)


@every_kind
def test_a_batch_equals_its_singles(cls, settings, shape):
    denoiser, (x_t, timestep, told) = network(cls, settings, shape), inputs(shape, 4)
    batch = denoiser(x_t, timestep, told)
    for i in range(4):
        single = denoiser(x_t[i : i + 1], timestep[i : i + 1], told[i : i + 1])
        torch.testing.assert_close(single, batch[i : i + 1], rtol=1e-4, atol=1e-5)


@one_of_each
def test_gradient_checkpointing_gives_the_same_gradients(cls, settings, shape):
    gradients = []
    for checkpointing in (False, True):
        denoiser = network(cls, settings, shape).train()
        if checkpointing:
            denoiser.enable_gradient_checkpointing()
            assert denoiser.gradient_checkpointing
        denoiser(*inputs(shape)).square().mean().backward()
        gradients.append({name: p.grad for name, p in denoiser.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@one_of_each
def test_bfloat16_says_nearly_the_same(cls, settings, shape):
    denoiser, arguments = network(cls, settings, shape), inputs(shape)
    exact = denoiser(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = denoiser(*arguments).float()
    rounded = denoiser.to(torch.bfloat16)(arguments[0].bfloat16(), *arguments[1:])
    assert rounded.dtype == torch.bfloat16
    for out in (mixed, rounded.float()):
        assert (out - exact).square().mean() < 0.003 * exact.square().mean()


@one_of_each
def test_a_saved_network_comes_back(cls, settings, shape, tmp_path):
    denoiser, arguments = network(cls, settings, shape), inputs(shape)
    denoiser.save_pretrained(tmp_path)
    torch.testing.assert_close(cls.from_pretrained(tmp_path)(*arguments), denoiser(*arguments))
