"""Sound of any length: what is given stays, seams are like any other place, loops close, variations vary."""

from __future__ import annotations

import pytest
import torch

from pipeline.sounding import (
    ALIKE,
    HOP,
    N_FFT,
    RATE,
    WINDOW,
    ideal_pipeline,
    labels,
    noise,
    nothing,
    random_pipeline,
    random_upsampler,
    small_codec,
)
from synesthete import seeding
from synesthete.codecs.latent import LatentCodec
from synesthete.codecs.mel import MelCodec
from synesthete.pipeline import Canvas, long_form_steps, sample_long_form
from synesthete.pipeline.canvas import Frames, encode_whole, find_overlap, plan
from synesthete.types import InputError

NUM = 2
LONG = 150 * HOP
# Deterministic and stochastic, on a flow and on a beta schedule, of one and of several steps' memory.
SOME = ["flow-euler", "flow-heun", "flow-unipc", "ddim", "ddpm", "dpmsolver++", "dpmsolver++sde"]


def generators(seed=0, num=NUM):
    return seeding.sample_generators(seed, num)


def test_a_canvas_of_the_models_own_length_is_the_plain_call():
    pipeline = random_pipeline()
    output = sample_long_form(
        pipeline, nothing(NUM), Canvas.unconditional(pipeline.codec, NUM), generators=generators()
    )
    plain = pipeline(nothing(NUM), generators=generators())
    assert torch.equal(output.x_0, plain.x_0)
    assert torch.equal(output.signal, plain.signal)


@pytest.mark.parametrize("sampler", SOME)
@pytest.mark.parametrize("what", ["continued", "gapped", "wide gap"])
def test_what_is_given_stays_as_it_was(sampler, what):
    pipeline = ideal_pipeline(sampler, num_inference_steps=3)
    sound = noise(NUM, LONG)
    if what == "continued":
        canvas, kept = Canvas.continuation(pipeline.codec, sound, 2 * LONG), slice(0, LONG - N_FFT - HOP - 80)
    else:
        end = 1000 if what == "gapped" else 2000
        canvas, kept = Canvas.inpaint(pipeline.codec, sound, 800, end), slice(0, 800 - 80)
    before, known = canvas.x_0.clone(), canvas.known.clone()
    output = sample_long_form(pipeline, nothing(NUM), canvas, generators=generators())
    assert torch.equal(output.x_0[..., known], before[..., known])
    assert torch.equal(output.signal[:, kept], sound[:, kept])
    assert output.x_0[..., ~known].std() > 0.3
    assert not torch.equal(output.x_0[0, ..., ~known], output.x_0[1, ..., ~known])
    assert canvas.known.all()


def test_what_is_known_of_a_gap_touches_none_of_it():
    """Whatever the gap held, the rest is told and made the same."""
    codec, sound = small_codec(), noise(1, LONG)
    spoilt = sound.clone()
    spoilt[:, 803:1000] = 0.9
    one, other = (Canvas.inpaint(codec, clip, 803, 1000) for clip in (sound, spoilt))
    assert torch.equal(one.known, other.known)
    torch.testing.assert_close(one.x_0[..., one.known], other.x_0[..., one.known], rtol=0, atol=1e-4)
    assert (~one.known).sum() <= (1000 - 803 + N_FFT) / HOP + 1


def test_what_is_known_of_the_beginning_knows_nothing_of_its_end():
    codec, sound = small_codec(), noise(1, LONG)
    cut = Canvas.continuation(codec, sound[:, : LONG // 2 + 7], LONG)
    whole = encode_whole(codec, sound)
    torch.testing.assert_close(cut.x_0[..., cut.known], whole[..., cut.known.nonzero().flatten()], rtol=0, atol=1e-4)


@pytest.mark.parametrize("num_samples", [100, 624, 625, 2400, 2401, 5000])
def test_any_length_comes_out_as_asked(num_samples):
    pipeline = random_pipeline()
    output = sample_long_form(pipeline, nothing(1), Canvas.unconditional(pipeline.codec, 1, num_samples))
    assert output.signal.shape == (1, num_samples)
    assert output.signal.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"multiple": 16}, {"num_frames": 32}, {"kind": "complex"}])
def test_pieces_of_a_long_sound_are_encoded_as_the_whole(settings):
    codec, sound = small_codec(**settings), noise(NUM, LONG)
    all_frames = {key: value for key, value in settings.items() if key != "num_frames"}
    whole = small_codec(num_samples=LONG, **all_frames).encode(sound)[..., : LONG // HOP + 1]
    torch.testing.assert_close(encode_whole(codec, sound), whole, rtol=0, atol=1e-4)


def jumps(x_0):
    """Root mean square of the step from each frame to the next, (T - 1,)."""
    return (x_0[..., 1:] - x_0[..., :-1]).square().mean(dim=(0, 1, 2)).sqrt()


def at_seams_and_inside(num_corrections, sampler="flow-euler", num=32, **settings):
    """With the ideal denoiser of frames that are alike: the mean jump from a window to the next, and elsewhere."""
    pipeline = ideal_pipeline(sampler, **{"num_inference_steps": 20} | settings)
    canvas = Canvas.unconditional(pipeline.codec, num, LONG)
    frames = Frames.of(pipeline.codec)
    windows = plan(canvas.known, frames, find_overlap(frames))
    x_0 = sample_long_form(pipeline, nothing(num), canvas, num_corrections=num_corrections).x_0
    seams = torch.tensor([window.first - 1 for window in windows[1:]])
    inside = torch.ones(x_0.shape[-1] - 1, dtype=torch.bool)
    inside[seams] = False
    found = jumps(x_0)
    return found[seams].mean().item(), found[inside].mean().item(), x_0.std().item()


LOG_SNR = {"timestep_spacing": "log_snr"}


@pytest.mark.parametrize(
    ("sampler", "settings"),
    [
        *((sampler, {}) for sampler in ("flow-euler", "flow-unipc", "ddim", "dpmsolver++sde")),
        ("flow-dpmsolver++", LOG_SNR),
        ("flow-dpmsolver++sde", LOG_SNR),
    ],
)
def test_a_seam_is_like_any_other_place(sampler, settings):
    at_seams, inside, std = at_seams_and_inside(2, sampler, **settings)
    assert inside == pytest.approx((2 * (1 - ALIKE)) ** 0.5, rel=0.2)  # as in the data
    assert at_seams < 1.2 * inside
    assert std == pytest.approx(1.0, abs=0.15)


def test_what_is_only_held_leaves_a_seam():
    """The reason for the corrections, each of which costs a backward pass."""
    found = [at_seams_and_inside(num)[0] for num in (0, 1, 2)]
    inside = at_seams_and_inside(2)[1]
    assert found[0] > 1.7 * inside
    assert found[0] > found[1] > found[2]


def test_what_two_windows_made_goes_over_from_one_into_the_other():
    """Where nothing is corrected, the step at a seam is then divided over several frames."""
    pipeline, worst = ideal_pipeline(num_inference_steps=10), []
    frames = Frames.of(pipeline.codec)
    for num_blended in (0, 3):
        canvas = Canvas.unconditional(pipeline.codec, 32, LONG)
        firsts = [window.first for window in plan(canvas.known, frames, find_overlap(frames))[1:]]
        how = {"num_corrections": 0, "num_blended": num_blended}
        found = jumps(sample_long_form(pipeline, nothing(32), canvas, generators=generators(0, 32), **how).x_0)
        worst.append(max(found[[first - 1 - back for first in firsts]].mean().item() for back in range(5)))
        assert canvas.known.all()
    assert worst[1] < 0.7 * worst[0]


def test_resampling_brings_a_gap_nearer_to_what_is_around_it():
    """RePaint's rounds: the frames beside a short gap's ends fit better after them."""
    found = []
    for rounds in (0, 4):
        pipeline = ideal_pipeline(num_inference_steps=8)
        canvas = Canvas.unconditional(pipeline.codec, 64)
        canvas.x_0 = pipeline(nothing(64), generators=generators(7, 64), num_inference_steps=60).x_0
        canvas.known[:] = True
        canvas.known[18:22] = False
        x_0 = sample_long_form(pipeline, nothing(64), canvas, num_resamplings=rounds, num_corrections=0).x_0
        found.append(jumps(x_0)[[17, 21]].mean().item())
    assert found[1] < 0.9 * found[0]


@pytest.mark.parametrize("kind", ["complex", "magnitude"])
@pytest.mark.parametrize("num_frames", [WINDOW, 97])
def test_a_loop_has_no_seam(kind, num_frames):
    """Frames beside the wrap are as alike as any, and so are the samples of the sound."""
    pipeline = ideal_pipeline(num_inference_steps=30)
    codec = small_codec(kind=kind, num_iterations=32)
    x_0 = sample_long_form(
        pipeline, nothing(32), Canvas.unconditional(pipeline.codec, 32, num_frames * HOP, is_loop=True)
    ).x_0
    assert x_0.shape[-1] == num_frames
    around = torch.cat([x_0, x_0[..., :1]], dim=-1)
    found = jumps(around)
    assert found[-1] < 1.3 * found[:-1].mean()
    real = random_pipeline(codec=codec)
    sound = sample_long_form(real, nothing(8), Canvas.unconditional(codec, 8, num_frames * HOP, is_loop=True)).signal
    assert sound.shape == (8, num_frames * HOP)
    step = (sound - sound.roll(1, dims=-1)).abs()
    assert step[:, 0].mean() < 1.5 * step.mean()  # from the last sample to the first


def test_a_loop_is_as_long_as_asked_where_frames_do_not_fit():
    pipeline = random_pipeline()
    sound = sample_long_form(pipeline, nothing(1), Canvas.unconditional(pipeline.codec, 1, 1_001, is_loop=True)).signal
    assert sound.shape == (1, 1_001)


def test_a_loop_goes_on_after_a_clip_and_comes_back_to_it():
    pipeline = random_pipeline()
    sound = noise(1, 60 * HOP)
    output = sample_long_form(pipeline, nothing(1), Canvas.continuation(pipeline.codec, sound, 120 * HOP, is_loop=True))
    middle = slice(10 * HOP, 50 * HOP)
    assert torch.equal(output.signal[:, middle], sound[:, middle])
    assert output.signal.shape == (1, 120 * HOP)


@pytest.mark.parametrize("sampler", ["flow-euler", "ddim", "dpmsolver++sde"])
def test_a_variation_is_near_if_weak_and_unrelated_if_full(sampler):
    pipeline = ideal_pipeline(sampler, num_inference_steps=20)
    clip = noise(NUM, LONG)
    far = []
    for strength in (0.05, 0.5, 1.0):
        canvas = Canvas.variation(pipeline.codec, clip)
        start = canvas.x_0.clone()
        x_0 = sample_long_form(pipeline, nothing(NUM), canvas, strength=strength, generators=generators()).x_0
        far.append((x_0 - start).square().mean().sqrt().item())
    assert far == sorted(far)
    assert far[0] < 0.3 * far[-1]
    plain = sample_long_form(
        pipeline, nothing(NUM), Canvas.unconditional(pipeline.codec, NUM, LONG), generators=generators()
    ).x_0
    assert torch.equal(x_0, plain)  # nothing of the clip is left


@pytest.mark.parametrize("sampler", ["flow-euler", "ddpm", "dpmsolver++sde"])
def test_a_batch_equals_its_singles(sampler):
    pipeline = ideal_pipeline(sampler)
    clip = noise(3, LONG)

    def sound(rows, first, num):
        how = {"generators": seeding.sample_generators(4, num, first=first), "num_resamplings": 1}
        return sample_long_form(pipeline, nothing(num), Canvas.continuation(pipeline.codec, rows, 2 * LONG), **how).x_0

    batch = sound(clip, 0, 3)
    for i in range(3):
        torch.testing.assert_close(sound(clip[i : i + 1], i, 1)[0], batch[i], rtol=0, atol=1e-4)


def test_every_window_is_told_the_same_label():
    pipeline = random_pipeline(labels())
    found = []
    for label in (0, 1):
        raw = torch.full((NUM,), label)
        found.append(
            sample_long_form(
                pipeline, raw, Canvas.unconditional(pipeline.codec, NUM, LONG), generators=generators()
            ).x_0
        )
    apart = (found[0] - found[1]).abs().mean(dim=(0, 1, 2))
    assert (apart > 1e-3).all()


def test_each_window_is_told_its_own_stretch_of_a_sound():
    """A change late in the sound changes nothing early; one early changes the early windows."""
    pipeline = random_upsampler()
    sound = noise(1, LONG)
    changed = sound.clone()
    changed[:, -20 * HOP :] = 0
    one, other = (
        sample_long_form(pipeline, raw, Canvas.unconditional(pipeline.codec, 1, LONG), generators=generators(num=1)).x_0
        for raw in (sound, changed)
    )
    assert torch.equal(one[..., :80], other[..., :80])
    assert not torch.allclose(one[..., -20:], other[..., -20:], atol=1e-3)


def test_progress_counts_every_step():
    pipeline = ideal_pipeline("flow-heun", num_inference_steps=4)
    canvas = Canvas.unconditional(pipeline.codec, 1, LONG)
    num_windows = len(plan(canvas.known, Frames.of(pipeline.codec), find_overlap(Frames.of(pipeline.codec))))
    counted = list(long_form_steps(pipeline, nothing(1), canvas, num_resamplings=1))
    total = num_windows * (7 + 3)
    assert counted == [(i + 1, total) for i in range(total)]


def test_padded_frames_do_not_sound():
    """A codec that pads its grid to whole multiples: a window's padding is no part of a long sound."""
    codec = small_codec(multiple=16)
    assert Frames.of(codec) == Frames(num=48, whole=WINDOW, edge=1, hop=HOP, sample_rate=RATE)
    pipeline = random_pipeline(codec=codec)
    output = sample_long_form(pipeline, nothing(1), Canvas.unconditional(codec, 1, LONG))
    assert output.x_0.shape[-1] == LONG // HOP + 1


@pytest.mark.parametrize("kind", ["mel", "latent", "padded latent"])
def test_every_codec_of_sound_can_be_longer(kind):
    if kind == "mel":
        codec = MelCodec((WINDOW - 1) * HOP, RATE, 64, HOP, 8, num_iterations=4, vocoder="griffin-lim")
    else:
        base = small_codec(multiple=8 if kind == "latent" else 1, num_bins=16)
        codec = LatentCodec(base, latent_channels=2, channels=(8, 8), patch_size=2)
        assert Frames.of(codec).hop == 4 * HOP
    pipeline, clip = random_pipeline(codec=codec), noise(1, LONG)
    for canvas, num_samples in [
        (Canvas.unconditional(codec, 1, LONG + 5), LONG + 5),
        (Canvas.unconditional(codec, 1, LONG, is_loop=True), LONG),
        (Canvas.continuation(codec, clip, 2 * LONG), 2 * LONG),
        (Canvas.inpaint(codec, clip, 1_000, 1_200), LONG),
    ]:
        before, known = canvas.x_0.clone(), canvas.known.clone()
        output = sample_long_form(pipeline, nothing(1), canvas, overlap=0.05)
        assert output.signal.shape == (1, num_samples)
        assert output.signal.isfinite().all()
        assert torch.equal(output.x_0[..., known], before[..., known])


def test_bad_input_is_one_line():
    pipeline = random_pipeline()
    codec, clip = pipeline.codec, noise(1, LONG)
    for make, words in [
        (lambda: Canvas.unconditional(codec, 1, 0), "0 samples"),
        (lambda: Canvas.unconditional(codec, 1, 10 * HOP, is_loop=True), "shorter than this model's window"),
        (lambda: Canvas.continuation(codec, clip, LONG), "ask for a longer one"),
        (lambda: Canvas.continuation(codec, clip[:, :20], LONG), "too short to go on from"),
        (lambda: Canvas.variation(codec, clip[:, :300]), "shorter than this model's window"),
        (lambda: Canvas.inpaint(codec, clip, 100, 100), "START < END"),
        (lambda: Canvas.inpaint(codec, clip, 100, LONG + 1), "START < END"),
        (lambda: Canvas.inpaint(codec, clip, 0, LONG), "not all of it"),
        (lambda: Canvas.continuation(codec, clip * torch.nan, 2 * LONG), "NaN"),
        (lambda: sample_long_form(pipeline, nothing(2), Canvas.unconditional(codec, 1)), "2 conditions for 1 sounds"),
        (lambda: sample_long_form(pipeline, nothing(1), Canvas.unconditional(codec, 1), strength=0.0), "strength 0.0"),
        (lambda: sample_long_form(pipeline, nothing(1), Canvas.unconditional(codec, 1), overlap=3.0), "overlap 3.0 s"),
        (
            lambda: sample_long_form(pipeline, nothing(1), Canvas.unconditional(codec, 1), num_resamplings=-1),
            "num_resamplings -1",
        ),
    ]:
        with pytest.raises(InputError) as caught:
            make()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
