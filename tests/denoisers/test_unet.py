"""The U-Net (laws 2, 4 and 7)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from synesthete.denoisers.dit import DiT
from synesthete.denoisers.unet import SqueezeExcitation, UNet
from synesthete.diffusion.guidance import guided
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler, sample
from synesthete.types import Condition, InputError

SIZES = [(16, 16), (13, 10), (5, 22), (1, 1)]
VARIANTS = [
    {},
    {"patch_size": 2},
    {"channels": (8,), "attention_levels": (0,)},
    {"channels": (8, 12, 8, 16), "attention_levels": (1, 3), "num_blocks": 2, "in_channels": 3},
    {"squeeze_excitation": True},
]
every_variant = pytest.mark.parametrize("settings", VARIANTS)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def wake(network):
    """What starts at zero would hide all that comes before it."""
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return network


def network(*, awake=True, **settings) -> UNet:
    torch.manual_seed(0)
    tiny = {"channels": (8, 16), "num_blocks": 1, "attention_levels": (1,), "num_heads": 2, "in_channels": 1}
    tiny |= {"sample_size": (16, 16), "condition_width": 24, "pooled_width": 12}
    made = UNet(**tiny | settings).eval()
    return wake(made) if awake else made


def condition(batch=2, num_tokens=5, seed=1) -> Condition:
    return Condition(tokens=draw(batch, num_tokens, 24, seed=seed), pooled=draw(batch, 12, seed=seed + 1))


def inputs(size=(16, 16), batch=2, channels=1):
    return draw(batch, channels, *size), torch.linspace(10, 900, batch), condition(batch)


@pytest.mark.parametrize("size", SIZES)
@every_variant
def test_any_size_starts_at_zero_and_keeps_its_shape(size, settings):
    x_t, timestep, told = inputs(size, channels=settings.get("in_channels", 1))
    assert torch.equal(network(awake=False, **settings)(x_t, timestep, told), torch.zeros_like(x_t))
    out = network(**settings)(x_t, timestep, told)
    assert out.shape == x_t.shape
    assert out.is_contiguous()
    assert out.isfinite().all()


def test_nothing_bounds_the_output():
    unet = network()
    plain = unet(*inputs())
    unet.conv_out.weight.data *= 1000
    unet.conv_out.bias.data *= 1000
    loud = unet(*inputs())
    assert loud.max() > 10
    assert loud.min() < -10
    torch.testing.assert_close(loud, 1000 * plain, rtol=1e-3, atol=1e-1)


@every_variant
def test_every_block_starts_as_its_shortcut(settings):
    unet = network(awake=False, **settings)
    for block in [*unet.down_blocks, *unet.mid_blocks]:
        x = draw(2, block.residual.conv_out.out_channels, 4, 6)
        told = None if block.reader is None else block.reader.keys_values(draw(2, 5, 24))
        assert torch.equal(block(x, draw(2, unet.embed_pooled.out_features), told), x)


@every_variant
def test_every_parameter_learns(settings):
    unet = network(**settings).train()
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-3)
    waiting = dict(unet.named_parameters())
    x_t, timestep, told = inputs(channels=settings.get("in_channels", 1))
    for _ in range(2):
        optimiser.zero_grad()
        (unet(x_t, timestep, told) - draw(*x_t.shape, seed=5)).square().mean().backward()
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not p.grad.any()}
        optimiser.step()
    assert not waiting


def test_what_starts_at_zero_does_not_stay_there():
    unet = network(awake=False).train()
    waiting = dict(unet.named_parameters())
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-2)
    x_t, timestep, told = inputs()
    for _ in range(5):
        optimiser.zero_grad()
        (unet(x_t, timestep, told) - draw(*x_t.shape, seed=5)).square().mean().backward()
        waiting = {name: p for name, p in waiting.items() if p.grad is None or not p.grad.any()}
        optimiser.step()
    assert not waiting


@every_variant
def test_the_condition_reaches_the_output_two_ways(settings):
    unet = network(**settings)
    x_t, timestep, told = inputs(channels=settings.get("in_channels", 1))
    plain, other = unet(x_t, timestep, told), condition(seed=7)
    for changed in (replace(told, tokens=other.tokens), replace(told, pooled=other.pooled)):
        assert (unet(x_t, timestep, changed) - plain).abs().mean() > 1e-3
    assert (unet(x_t, timestep + 50, told) - plain).abs().mean() > 1e-3


def test_cells_attend_to_each_other_beside_the_tokens():
    """A public model put cross-attention in place of self-attention: here each layer has both, an output each."""
    unet = network()
    x_t, timestep, told = inputs((16, 64))
    attention = next(block.attention for block in unet.down_blocks if block.attention is not None)
    for layer in (attention.self_attention, attention.cross_attention):
        plain = unet(x_t, timestep, told)
        layer.to_out.weight.data *= -1
        assert (unet(x_t, timestep, told) - plain).abs().mean() > 1e-4
    grid = draw(1, 16, 4, 6)
    keys_values = attention.cross_attention.keys_values(told.tokens[:1])
    far = grid.clone()
    far[..., -1, -1] *= -1
    moved = (attention(far, keys_values) - attention(grid, keys_values)).abs().amax(1)
    assert (moved > 1e-5).all()  # one cell is heard in all of them


def test_tokens_that_are_masked_do_not_matter():
    unet, (x_t, timestep, told) = network(), inputs()
    mask = torch.tensor([[True, True, True, False, False], [True, True, False, True, True]])
    masked = replace(told, mask=mask)
    plain = unet(x_t, timestep, masked)
    noisy = replace(masked, tokens=told.tokens.where(mask[..., None], torch.tensor(9.0)))
    torch.testing.assert_close(unet(x_t, timestep, noisy), plain)
    assert not torch.allclose(unet(x_t, timestep, told), plain)


@every_variant
def test_keys_computed_once_give_the_same(settings):
    unet = network(**settings)
    x_t, timestep, told = inputs(channels=settings.get("in_channels", 1))
    once = unet.precompute(told)
    layers = [module for name, module in unet.named_modules() if name.endswith("cross_attention")]
    assert len(once.keys_values) == len(layers) > 0
    assert torch.equal(unet(x_t, timestep, once), unet(x_t, timestep, told))
    for layer in layers:  # with keys at hand, the tokens are not projected again
        layer.to_key_value.weight.data.fill_(torch.nan)
    assert unet(x_t, timestep, once).isfinite().all()


@pytest.mark.parametrize("size", SIZES)
@every_variant
def test_a_batch_equals_its_singles(size, settings):
    unet = network(**settings)
    x_t, timestep, told = inputs(size, 4, settings.get("in_channels", 1))
    batch = unet(x_t, timestep, told)
    for i in range(4):
        single = unet(x_t[i : i + 1], timestep[i : i + 1], told[i : i + 1])
        torch.testing.assert_close(single, batch[i : i + 1], rtol=1e-3, atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        unet = network(dropout=0.2).train()
        if checkpointing:
            unet.enable_gradient_checkpointing()
            assert unet.gradient_checkpointing
        torch.manual_seed(3)  # dropout falls alike
        unet(*inputs()).square().mean().backward()
        gradients.append({name: p.grad for name, p in unet.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_a_saved_network_comes_back(tmp_path):
    unet = network(channels=(8, 16, 16), attention_levels=(1, 2), spatial_channels=2)
    x_t, timestep, told = inputs((13, 10))
    told = replace(told, spatial=draw(2, 2, 13, 10))
    unet.save_pretrained(tmp_path)
    back = UNet.from_pretrained(tmp_path)
    torch.testing.assert_close(back(x_t, timestep, told), unet(x_t, timestep, told))


def test_a_spatial_condition_is_seen():
    unet, (x_t, timestep, told) = network(spatial_channels=3), inputs((13, 10))
    seen = [unet(x_t, timestep, replace(told, spatial=draw(2, 3, 13, 10, seed=seed))) for seed in (1, 2)]
    assert seen[0].shape == x_t.shape
    assert (seen[0] - seen[1]).abs().mean() > 1e-3
    with pytest.raises(InputError, match="6 x 10 beside x_t of 13 x 10"):
        unet(x_t, timestep, replace(told, spatial=draw(2, 3, 6, 10)))


@pytest.mark.parametrize("attention_levels", [(), (1,)])
def test_it_works_unconditionally(attention_levels):
    unet = network(condition_width=None, pooled_width=None, attention_levels=attention_levels)
    x_t, timestep, told = inputs((13, 10))
    assert not any("cross" in name or "pooled" in name for name, _ in unet.named_parameters())
    nothing = unet.precompute(Condition())
    out = unet(x_t, timestep, nothing)
    assert out.shape == x_t.shape
    assert torch.equal(out, unet(x_t, timestep, told))
    assert (unet(x_t, timestep + 50, nothing) - out).abs().mean() > 1e-3


@pytest.mark.parametrize("part", ["tokens", "pooled", "spatial"])
def test_a_condition_that_lacks_what_is_read_is_refused(part):
    unet, (x_t, timestep, told) = network(spatial_channels=1), inputs()
    told = replace(told, spatial=x_t)
    with pytest.raises(ValueError, match=f"reads a condition's {part}"):
        unet(x_t, timestep, replace(told, **{part: None}))


def test_only_the_pooled_condition_can_be_read():
    unet, (x_t, timestep, told) = network(condition_width=None, attention_levels=()), inputs()
    changed = replace(told, tokens=None, pooled=told.pooled + 1)
    assert (unet(x_t, timestep, changed) - unet(x_t, timestep, told)).abs().mean() > 1e-3


@every_variant
def test_bfloat16_says_nearly_the_same(settings):
    unet = network(**settings)
    arguments = inputs((13, 10), channels=settings.get("in_channels", 1))
    exact = unet(*arguments)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = unet(*arguments).float()
    rounded = unet.to(torch.bfloat16)(arguments[0].bfloat16(), *arguments[1:])
    assert rounded.dtype == torch.bfloat16
    for out in (mixed, rounded.float()):
        assert (out - exact).square().mean() < 0.003 * exact.square().mean()


@pytest.mark.parametrize("squeeze_excitation", [False, True])
def test_grids_stay_channels_last(squeeze_excitation):
    """One layer that turns them back makes a copy before every convolution that follows."""
    unet = network(channels=(8, 16, 24), attention_levels=(1, 2), squeeze_excitation=squeeze_excitation)
    layouts = []
    for block in [*unet.down_blocks, *unet.mid_blocks, *unet.up_blocks]:
        block.register_forward_hook(
            lambda _, arguments, out: layouts.extend(
                x.is_contiguous(memory_format=torch.channels_last) for x in (arguments[0], out)
            )
        )
    unet(*inputs())
    assert len(layouts) == 2 * 8
    assert all(layouts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention_levels": (2,)}, "no level 2; give 0 to 1"),
        ({"num_heads": 3}, "16 do not divide into 3 heads"),
        ({"attention_levels": ()}, "nothing would read the tokens"),
        ({"channels": (), "attention_levels": ()}, "at least one"),
        ({"num_blocks": 0}, "at least one"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        network(**settings)


def test_the_size_of_a_known_network():
    """Counted by hand, layer by layer."""

    def conv(channels_in, channels, side=3):
        return channels_in * channels * side**2 + channels

    def residual(channels_in, channels):
        body = 2 * channels_in + conv(channels_in, channels) + 33 * 2 * channels + conv(channels, channels)
        return body + (conv(channels_in, channels, 1) if channels_in != channels else 0)

    attention = 2 * 2 * 16 + (16 * 48 + 48) + (16 * 16 + 16) + (16 * 16 + 16) + (24 * 32 + 32) + (16 * 16 + 16)
    entry = (256 * 32 + 32) + (32 * 32 + 32) + (12 * 32 + 32) + conv(1, 8)
    down = residual(8, 8) + conv(8, 16) + residual(16, 16) + attention
    middle = 2 * residual(16, 16) + attention
    up = residual(32, 16) + attention + conv(16, 8) + residual(16, 8)
    expected = entry + down + middle + up + 16 + conv(8, 1)
    assert sum(p.numel() for p in network().parameters()) == expected


def test_squeeze_excitation_starts_as_the_network_without_it():
    """Also where every convolution speaks: the factors themselves are 1, exactly."""
    plain, excited = network(), network(squeeze_excitation=True)
    missing, unexpected = excited.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".excite." in name for name in missing)
    for name, parameter in excited.named_parameters():
        if name.endswith(("excite.linear_out.weight", "excite.linear_out.bias")):
            torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(excited(*inputs()), plain(*inputs()))


def test_squeeze_excitation_weighs_channels_by_the_whole_grid():
    layer = wake(SqueezeExcitation(16))
    x = draw(3, 16, 6, 10)
    factors = layer(x)
    assert factors.shape == (3, 16, 1, 1)
    assert ((factors > 0) & (factors < 2)).all()
    assert factors.std(1).min() > 1e-3
    torch.testing.assert_close(layer(x.flip(-1)), factors)  # where on the grid says nothing
    assert (layer(x + 1) - factors).abs().min() > 1e-6  # one mean is heard in every channel


def test_squeeze_excitation_learns_from_where_it_starts():
    """Behind a convolution and before a layer that both start at zero: it has a gradient after three steps."""
    unet = network(awake=False, squeeze_excitation=True).train()
    before = {name: p.clone() for name, p in unet.named_parameters() if ".excite." in name}
    optimiser = torch.optim.AdamW(unet.parameters(), lr=1e-2, weight_decay=0)
    x_t, timestep, told = inputs()
    for _ in range(5):
        optimiser.zero_grad()
        (unet(x_t, timestep, told) - draw(*x_t.shape, seed=5)).square().mean().backward()
        optimiser.step()
    assert len(before) == 4 * 6
    assert not [name for name, p in unet.named_parameters() if name in before and torch.equal(p, before[name])]


def test_squeeze_excitation_costs_next_to_nothing():
    def flops(unet):
        with FlopCounterMode(display=False) as counter:
            unet(*inputs((32, 32)))
        return counter.get_total_flops()

    plain = network(channels=(32, 64))
    excited = network(channels=(32, 64), squeeze_excitation=True)

    def size(network: UNet) -> int:
        return sum(p.numel() for p in network.parameters())

    assert size(excited) < 1.03 * size(plain)
    assert flops(plain) < flops(excited) < 1.001 * flops(plain)


def test_a_network_saved_before_the_option_existed_loads_unchanged(tmp_path):
    unet = network()
    unet.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["squeeze_excitation"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    back = UNet.from_pretrained(tmp_path)
    assert not back.config.squeeze_excitation
    torch.testing.assert_close(back(*inputs()), unet(*inputs()))


@pytest.mark.parametrize(
    "make",
    [
        network,
        lambda: wake(DiT((16, 16), (4, 4), 1, 16, 1, num_heads=2, condition_width=24, pooled_width=12)).eval(),
    ],
)
def test_denoisers_are_interchangeable(make):
    denoiser, noise = make(), draw(2, 1, 16, 16)
    process = Process(schedule="cosine", prediction_type="v_prediction")
    told, null = denoiser.precompute(condition(2)), denoiser.precompute(condition(2, seed=9))

    def denoise(x_t, timestep, told):
        return denoiser(x_t, timestep.expand(len(x_t)), told)

    with torch.no_grad():
        ends = [
            list(
                sample(
                    guided(denoise, told, null, scale, (0.0, 1.0)),
                    make_scheduler("ddim", process),
                    noise,
                    num_inference_steps=2,
                )
            )[-1]
            for scale in (1.0, 3.0)
        ]
    assert ends[0].shape == noise.shape
    assert (ends[0] - ends[1]).abs().mean() > 1e-3
