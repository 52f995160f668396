"""Notes become unknown, then where they begin; and are drawn again as they are predicted."""

from __future__ import annotations

import itertools

import pytest
import torch

from synesthete import seeding
from synesthete.codecs.roll import RollCodec
from synesthete.data.scores.score import to_grid
from synesthete.data.scores.sources import SyntheticChorales
from synesthete.diffusion.note_masking import NoteMasking, NoteSampler
from synesthete.diffusion.process import Process
from synesthete.diffusion.sampling import make_scheduler, sample
from synesthete.export.model import plain_steps
from synesthete.nn.roll import PARALLEL, Intervals, PitchConv, known_begins, mean_of_notes, note_numbers
from synesthete.objectives.denoising import Distillation, Parts
from synesthete.pipeline import Pipeline
from synesthete.pipeline.long_form import inpaint
from synesthete.types import InputError

PROCESS = NoteMasking()
CODEC = RollCodec(num_columns=64)
NUM = 4


@pytest.fixture(scope="module")
def x_0():
    grids = [to_grid(entry.read())[..., :64] for entry in SyntheticChorales(NUM).scores()]
    return CODEC.encode(torch.stack(grids))


def noise_of(seed=0):
    return seeding.randn(CODEC.shape, seeding.sample_generators(seed, NUM))


def at(fraction):
    return PROCESS.at(torch.full((NUM,), fraction))


def walk(denoise, num_steps=40, seed=1, around=None):
    scheduler = make_scheduler("notes", PROCESS)
    denoise = around(denoise) if around else denoise
    generators = seeding.sample_generators(seed, NUM)
    steps = sample(denoise, scheduler, noise_of(), num_inference_steps=num_steps, generators=generators)
    return [x.clone() for x in steps]


def test_notes_become_unknown_as_a_whole_and_their_beginnings_only_after_all_of_them(x_0):
    for fraction in (0.0, 0.2, 0.5, 0.74):
        x_t = PROCESS.add_noise(x_0, noise_of(), at(fraction))
        assert torch.equal(x_t[:, :, -1], x_0[:, :, -1])
        unknown = (x_t[:, :, 0] == 0).float()
        assert torch.equal(mean_of_notes(unknown[:, :, None], note_numbers(known_begins(x_t)))[:, :, 0], unknown)
        known = (x_t != 0).all(dim=2, keepdim=True).expand_as(x_t)
        assert torch.equal(x_t[known], x_0[known])
        numbers = note_numbers(known_begins(x_0))
        of_notes = [unknown[b, v].unique_consecutive().numel() for b in range(NUM) for v in range(4)]
        assert min(of_notes) >= 1
        first = numbers.diff(dim=-1, prepend=torch.full_like(numbers[..., :1], -1)) > 0
        assert unknown[first].mean() == pytest.approx(fraction / 0.75, abs=0.12)
    x_t = PROCESS.add_noise(x_0, noise_of(), at(0.875))
    assert not x_t[:, :, :-1].any()
    assert (x_t[:, :, -1] == 0).float().mean() == pytest.approx(0.5, abs=0.08)


def test_what_is_known_at_a_time_was_known_before_it(x_0):
    later = PROCESS.add_noise(x_0, noise_of(), at(0.6))
    earlier = PROCESS.add_noise(x_0, noise_of(), at(0.3))
    assert (earlier[later != 0] == later[later != 0]).all()
    assert (earlier == 0).sum() < (later == 0).sum()


def test_a_network_that_knows_the_score_walks_to_it_and_draws_nothing_twice(x_0):
    steps = walk(lambda x_t, timestep: PROCESS.stated(x_0, x_t, timestep))
    assert torch.equal(steps[-1], x_0)
    for before, after in itertools.pairwise(steps):
        assert torch.equal(after[before != 0], before[before != 0])
        assert (after == 0).sum() <= (before == 0).sum()
    rhythm = [not bool((x[:, :, -1] == 0).any()) for x in steps]
    assert not steps[rhythm.index(True) - 1][:, :, :-1].any()  # before all beginnings are known, no note is


def test_draws_follow_the_logits_and_a_note_has_one_pitch():
    logits = torch.zeros(NUM, *CODEC.shape)
    logits[:, :, 20] = logits[:, :, 30] = 9.0
    logits[:, :, -1] = -1.0
    x_0 = walk(lambda x_t, timestep: logits)[-1]
    rows = x_0[:, :, :-1].argmax(2)
    first = known_begins(x_0)
    assert set(rows.unique().tolist()) == {20, 30}
    assert (rows[first] == 20).float().mean() == pytest.approx(0.5, abs=0.1)
    assert (x_0[..., -1, :] > 0).float().mean() == pytest.approx(torch.sigmoid(torch.tensor(-1.0)).item(), abs=0.05)
    assert (rows[..., 1:] == rows[..., :-1])[~first[..., 1:]].all()


def test_a_lower_temperature_draws_likely_notes_more_often():
    logits = torch.zeros(NUM, *CODEC.shape)
    logits[:, :, 20] = 4.0
    shares = []
    for temperature in (1.0, 0.5):
        scheduler = make_scheduler("notes", NoteMasking(temperature=temperature))
        generators = seeding.sample_generators(1, NUM)
        *_, x_0 = sample(
            lambda x_t, timestep: logits, scheduler, noise_of(), num_inference_steps=20, generators=generators
        )
        shares.append((x_0[:, :, :-1].argmax(2) == 20)[known_begins(x_0)].float().mean().item())
    for share, temperature in zip(shares, (1.0, 0.5), strict=True):
        assert share == pytest.approx(torch.softmax(logits[0, 0, :-1, 0] / temperature, 0)[20].item(), abs=0.06)


def test_a_piece_is_the_same_alone_and_among_others():
    logits = torch.randn(NUM, *CODEC.shape, generator=torch.Generator().manual_seed(3))
    together = walk(lambda x_t, timestep: logits)[-1]
    scheduler = make_scheduler("notes", PROCESS)
    alone = sample(
        lambda x_t, timestep: logits[2:3],
        scheduler,
        noise_of()[2:3],
        num_inference_steps=40,
        generators=seeding.sample_generators(1, NUM)[2:3],
    )
    assert torch.equal([*alone][-1], together[2:3])


def test_what_is_held_comes_out_as_it_was(x_0):
    logits = torch.randn(NUM, *CODEC.shape, generator=torch.Generator().manual_seed(3))
    keep = torch.zeros(NUM, 4, 1, 64, dtype=torch.bool)
    keep[:, 0] = True
    made = walk(lambda x_t, timestep: logits, around=inpaint(PROCESS, x_0, keep, num_corrections=0))[-1]
    assert torch.equal(made[:, 0], x_0[:, 0])
    assert not torch.equal(made[:, 1], x_0[:, 1])


def test_the_loss_is_least_for_the_truth_and_reads_what_is_unknown_alone(x_0):
    for fraction in (0.3, 0.9):
        x_t = PROCESS.add_noise(x_0, noise_of(), at(fraction))
        sure = PROCESS.stated(x_0, x_t, at(fraction))
        none = torch.zeros_like(x_0)
        right, chance = (PROCESS.error(p, x_0, noise_of(), x_t, at(fraction)) for p in (sure, none))
        assert (right < 1e-6).all()
        expected = torch.tensor(float(CODEC.shape[1] - 1) if fraction < 0.75 else 2.0).log()
        torch.testing.assert_close(chance, expected.expand(NUM))
        wrong_where_known = torch.where(x_t == 0, sure, -sure)
        if fraction < 0.75:
            assert torch.equal(PROCESS.error(wrong_where_known, x_0, noise_of(), x_t, at(fraction)), right)
        guess = PROCESS.convert(none, x_t, at(fraction), "sample")
        assert torch.equal(guess[x_t != 0], x_0[x_t != 0])


def test_a_walk_by_stated_noise_reveals_and_never_hides(x_0):
    """As `diagnose` walks: deterministic, from what is predicted."""
    x_t = PROCESS.add_noise(x_0, noise_of(), at(0.9))
    for now, then in ((0.9, 0.7), (0.7, 0.4), (0.4, 0.1)):
        noise = PROCESS.convert(PROCESS.stated(x_0, x_t, at(now)), x_t, at(now), "epsilon")
        following = PROCESS.add_noise(x_0, noise, at(then))
        assert torch.equal(following[x_t != 0], x_t[x_t != 0])
        assert (following == 0).sum() < (x_t == 0).sum()
        x_t = following


def test_intervals_are_the_same_in_every_key(x_0):
    torch.manual_seed(0)
    intervals = Intervals(4, 49, width=8, num_beside=1)
    for weight in intervals.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    x_t = PROCESS.add_noise(x_0, noise_of(), at(0.4))
    assert not (x_t[:, :, 46:49] > 0).any()
    up = torch.cat([x_t[:, :, 46:49], x_t[:, :, :46], x_t[:, :, 49:]], dim=2)
    nothing = torch.zeros(NUM, 4, 49, 64)
    directly = intervals.directly
    for part in (intervals.embed, intervals.within, intervals.to_logits):
        torch.nn.init.zeros_(part.weight)
    tonic = torch.zeros(NUM, 1, 49, 64)
    tonic[:, :, 9:40:12] = 1
    here, moved = intervals(x_t, nothing, tonic), intervals(up, nothing, tonic.roll(3, 2))
    assert here.std() > 0.1
    assert (here - intervals(x_t, nothing, 0 * tonic)).std() > 0.1
    torch.testing.assert_close(moved[:, :, 3:], here[:, :, :-3])
    assert directly.weight.shape[-1] == 97


def test_what_is_kept_of_a_weight_follows_it():
    conv, x = PitchConv(2, 3, 49, 1, std=1.0), torch.randn(1, 2, 49, 8)
    with torch.no_grad():
        before = conv(x)
        torch.testing.assert_close(conv(x), before, rtol=0, atol=0)
        conv.weight.mul_(2)
        torch.testing.assert_close(conv(x), 2 * before)
        conv.load_state_dict(PitchConv(2, 3, 49, 1).state_dict())
        assert not conv(x).any()
    assert conv(x).requires_grad
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert conv(x).dtype == torch.bfloat16


def test_a_pitch_that_would_move_in_parallel_is_told_apart():
    """Two voices a fifth apart; the upper one moves by two semitones, and what the lower one does is unknown."""
    grid = torch.zeros(1, 2, 2, 8, dtype=torch.uint8)
    grid[0, 0, 0] = torch.tensor([67] * 4 + [69] * 4)
    grid[0, 1, 0] = torch.tensor([60] * 4 + [62] * 4)
    grid[:, :, 1, ::4] = 1
    roll = RollCodec(num_voices=2, num_columns=8).encode(grid)
    roll[0, 1, :-1, 4:] = 0
    intervals = Intervals(2, 49, width=1)
    for part in (intervals.directly, intervals.embed, intervals.within, intervals.to_logits):
        torch.nn.init.zeros_(part.weight)
    nothing = torch.zeros(1, 2, 49, 8)
    with torch.no_grad():
        intervals.parallels[0, 0] = -3 / PARALLEL  # what precedes, perfect
        intervals.parallels[0, 1] = 1 / PARALLEL  # what precedes, any other
    found = intervals(roll, nothing, nothing[:, :0])[0, 1]
    torch.testing.assert_close(found[62 - 34, 4:], torch.full((4,), -3.0))
    assert found[:, 4:].count_nonzero() == 4
    assert not found[:, :4].any()
    roll[0, 0, :-1] = roll[0, 0, :-1].roll(1, 0)  # a sixth: not perfect
    torch.testing.assert_close(intervals(roll, nothing, nothing[:, :0])[0, 1, 62 - 34, 4:], torch.ones(4))
    with torch.no_grad():
        intervals.parallels.zero_()
        intervals.parallels[1, 0] = 2 / PARALLEL  # what follows
    roll = RollCodec(num_voices=2, num_columns=8).encode(grid)
    roll[0, 1, :-1, :4] = 0
    torch.testing.assert_close(intervals(roll, nothing, nothing[:, :0])[0, 1, 60 - 34, :4], torch.full((4,), 2.0))


def test_it_is_saved_by_its_settings_and_a_share_that_is_none_is_refused():
    again = Process.of(NoteMasking(rhythm_share=0.4).settings())
    assert isinstance(again, NoteMasking)
    assert again.settings() == NoteMasking(rhythm_share=0.4).settings()
    assert isinstance(Process.of(Process().settings()), Process)
    with pytest.raises(InputError, match="rhythm_share"):
        NoteMasking(rhythm_share=1.0)
    with pytest.raises(InputError, match="temperature"):
        NoteMasking(temperature=0)
    with pytest.raises(InputError, match="choose from notes"):
        make_scheduler("ddim", PROCESS)
    with pytest.raises(InputError, match="notes"):
        make_scheduler("notes", Process())
    assert NoteSampler().init_noise_sigma == 0


def test_few_steps_and_a_plain_walk_are_of_gaussian_noise_alone():
    pipeline = Pipeline.load("music-compose")
    assert plain_steps(pipeline) == {}
    with pytest.raises(InputError, match="by chance"):
        Distillation().attach(Parts(pipeline.codec, pipeline.conditioner, pipeline.denoiser, pipeline.process))
