"""Discrete diffusion of scores: notes become unknown, then where they begin, and one by one are drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.diffusion.process import Process
from synesthete.nn.part import Config
from synesthete.nn.roll import known_begins, mean_of_notes, note_numbers
from synesthete.types import Condition, InputError

__all__ = ["NoteMasking", "NoteSampler"]

CERTAIN = 30.0  # a logit of what is known


class NoteMasking(Process, schedule="absorbing"):
    """x_t is the score x_0 (B, V, R, T) with what is unknown at 0: an absorbing process (D3PM, Austin et al. 2021).

    Until `1 - rhythm_share` of the way notes become unknown, each with all its columns at once, and where they begin
    stays; from there on every pitch is unknown, and column by column where notes begin becomes so. Walked back, a score
    gets its rhythm first, and then its notes in a random order, each told those before it (the order of Coconet, Huang
    et al. 2017). At t each has become unknown with a chance that grows evenly.

    The network predicts logits of pitches and rests, which are averaged over the columns of a note, and one of whether
    a note begins. The loss is the cross-entropy of what is unknown, averaged over it, which weighs timesteps as the
    bound on the likelihood does (Sahoo et al. 2024, eq. 10).

    Gaussian noise decides what becomes unknown, by its quantiles, so that it is drawn as that of every process: of a
    note that of its first column in its voice's first row, of beginnings that of their own row.

    Args:
        rhythm_share: of the way, in which beginnings become unknown. temperature: what logits of pitches are divided by
            before they are drawn from: below 1, likely notes are drawn more often.

    Raises:
        InputError: a share that is none, or a temperature that is not above 0.
    """

    is_gaussian = False

    def __init__(self, num_train_timesteps: int = 1000, rhythm_share: float = 0.25, temperature: float = 1.0) -> None:
        if not 0 < rhythm_share < 1:
            raise InputError(f"process.rhythm_share {rhythm_share}: give more than 0 and less than 1")
        if not temperature > 0:
            raise InputError(f"process.temperature {temperature}: give more than 0")
        super().__init__("flow", num_train_timesteps=num_train_timesteps)
        self.schedule, self.prediction_type, self.loss_space = "absorbing", "logits", "cross_entropy"
        self.rhythm_share, self.temperature = rhythm_share, temperature

    @property
    def sampler_space(self) -> str:
        """Logits."""
        return self.prediction_type

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, and the schedule, by which `Process.of` knows it."""
        names = "schedule num_train_timesteps rhythm_share temperature"
        return {name: getattr(self, name) for name in names.split()}

    def scheduler_config(self) -> dict[str, Any]:
        """What `NoteSampler` needs."""
        return {name: value for name, value in self.settings().items() if name != "schedule"}

    def at(self, fraction: Tensor) -> Tensor:
        """Fractions in [0, 1) of the way to an unknown score -> timesteps, as they are."""
        return fraction * self.num_train_timesteps

    def alpha_sigma(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Share of the way that is left and that is gone, each (B, 1, 1, 1)."""
        gone = (timestep.float() / self.num_train_timesteps).view(-1, 1, 1, 1)
        return 1 - gone, gone

    def unknown_shares(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Chances, at timesteps of any shape, that a note is unknown, and that it is where one begins."""
        return unknown_shares(timestep / self.num_train_timesteps, self.rhythm_share)

    def add_noise(self, x_0: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """x_t at timesteps (B,); an x_0 that is no score yet counts as the likeliest."""
        pitches, begins = x_0[:, :, :-1], x_0[:, :, -1] > 0
        pitches = F.one_hot(pitches.argmax(2), pitches.shape[2]).movedim(-1, 2).to(x_0) * 2 - 1
        chance = torch.special.ndtr(noise)
        of_notes, of_begins = self.unknown_shares(timestep)
        notes = chance[:, :, 0].gather(2, note_numbers(begins)) < of_notes.view(-1, 1, 1)  # (B, V, T)
        begin = (begins.to(x_0) * 2 - 1).masked_fill(chance[:, :, -1] < of_begins.view(-1, 1, 1), 0)
        return torch.cat([pitches.masked_fill(notes.unsqueeze(2), 0), begin.unsqueeze(2)], dim=2)

    def predict(self, denoiser: Any, x_t: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """Logits (B, V, R, T), those of a note's pitch alike in all its columns, float32."""
        logits = denoiser(x_t.to(denoiser.dtype), timestep, condition).float()
        of_notes = mean_of_notes(logits[:, :, :-1], note_numbers(known_begins(x_t)))
        return torch.cat([of_notes, logits[:, :, -1:]], dim=2)

    def target(self, x_0: Tensor, noise: Tensor, timestep: Tensor, space: str | None = None) -> Tensor:
        """The score itself."""
        return x_0

    def convert(self, prediction: Tensor, x_t: Tensor, timestep: Tensor, to: str, min_level: float = 1e-4) -> Tensor:
        """Logits as the expected x_0 ("sample"), what x_t shows as it is; or as noise ("epsilon") that hides the rest.

        That noise leaves unknown, at an earlier timestep, what would have been then: notes in an order by their place.
        """
        if to == self.prediction_type:
            return prediction
        if to == "sample":
            expected = torch.cat([2 * prediction[:, :, :-1].softmax(2) - 1, prediction[:, :, -1:].div(2).tanh()], 2)
            return torch.where(x_t == 0, expected, x_t)
        places = torch.arange(x_t.shape[1] * x_t.shape[3], device=x_t.device).view(1, x_t.shape[1], 1, -1)
        order = (places * 0.6180339887) % 1  # evenly spread, however many of them
        of_notes, of_begins = (share.view(-1, 1, 1, 1) for share in self.unknown_shares(timestep))
        is_begin = torch.arange(x_t.shape[2], device=x_t.device).view(1, 1, -1, 1) == x_t.shape[2] - 1
        shares = torch.where(is_begin, of_begins, of_notes)
        hidden = torch.special.ndtri((order * shares).clamp(1e-6, 1 - 1e-6))
        return torch.where(x_t == 0, hidden, torch.full_like(x_t, 5.0))

    def stated(self, x_0: Tensor, x_t: Tensor, timestep: Tensor) -> Tensor:
        """x_0 as logits that leave no doubt."""
        return CERTAIN * x_0

    def best_guess(self, x_t: Tensor, timestep: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """What is known as it is, the rest at its mean."""
        return torch.where(x_t == 0, mean, x_t)

    def error(self, prediction: Tensor, x_0: Tensor, noise: Tensor, x_t: Tensor, timestep: Tensor) -> Tensor:
        """Cross-entropy (B,) in nats, of each sample's unknown notes, or of its unknown beginnings."""
        begins = x_0[:, :, -1]
        numbers = note_numbers(begins > 0)
        first = F.pad(numbers[..., 1:] != numbers[..., :-1], (1, 0), value=True)  # a note counts once
        notes = F.cross_entropy(prediction[:, :, :-1].movedim(2, 1), x_0[:, :, :-1].argmax(2), reduction="none")
        beats = F.binary_cross_entropy_with_logits(prediction[:, :, -1], (begins > 0).float(), reduction="none")
        unknown_begins = x_t[:, :, -1] == 0
        unknown_notes = first & (x_t[:, :, 0] == 0) & ~unknown_begins.flatten(1).any(1)[:, None, None]
        total = (notes * unknown_notes + beats * unknown_begins).flatten(1).sum(1)
        return total / (unknown_notes | unknown_begins).flatten(1).sum(1).clamp(min=1)


def unknown_shares(gone: Tensor, rhythm_share: float) -> tuple[Tensor, Tensor]:
    """Chances, `gone` of the way, that a note is unknown, and that it is where one begins."""
    left = 1 - rhythm_share
    return (gone / left).clamp(max=1), ((gone - left) / rhythm_share).clamp(min=0)


class NoteSampler:
    """Ancestral sampling of `NoteMasking`: in every step some of what is unknown is drawn from what is predicted.

    With the interface of diffusers' schedulers. What is drawn in one step does not know of each other: the more steps,
    the less of it.
    """

    order = 1
    init_noise_sigma = 0.0  # all is unknown

    def __init__(self, num_train_timesteps: int = 1000, rhythm_share: float = 0.25, temperature: float = 1.0) -> None:
        self.config = Config(
            num_train_timesteps=num_train_timesteps, rhythm_share=rhythm_share, temperature=temperature
        )
        self.timesteps = torch.zeros(0)

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Evenly from the end on."""
        left = 1 - torch.arange(num_inference_steps, device=device) / num_inference_steps
        self.timesteps = left * self.config.num_train_timesteps

    def add_noise(self, x_0: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """As the process."""
        return NoteMasking(**self.config).add_noise(x_0, noise, timestep)

    def step(
        self,
        prediction: Tensor,
        timestep: Tensor,
        x_t: Tensor,
        return_dict: bool = True,
        generator: Sequence[torch.Generator] | None = None,
    ) -> tuple[Tensor]:
        """Logits at x_t (B, V, R, T) -> x_t at the next of the timesteps, what was known as it was."""
        place = int((self.timesteps - timestep).abs().argmin())
        following = self.timesteps[place + 1] if place + 1 < len(self.timesteps) else torch.zeros(())
        gone = (t / self.config.num_train_timesteps for t in (timestep, following))
        now, then = (unknown_shares(share, self.config.rhythm_share) for share in gone)
        shape = (2, 2, x_t.shape[1], x_t.shape[3])
        draws = [torch.rand(shape, generator=of) for of in generator or [None] * len(x_t)]  # type: ignore[list-item]
        chosen, value = torch.stack(draws, dim=2).to(x_t.device)  # each (2, B, V, T)
        begins, numbers = x_t[:, :, -1], note_numbers(known_begins(x_t))
        beats = torch.where(value[1] < prediction[:, :, -1].sigmoid(), 1.0, -1.0)
        drawn = (begins == 0) & (chosen[1] * now[1] >= then[1])
        new_begins = torch.where(drawn, beats, begins)
        # A note that no one knows the length of is not drawn.
        has_rhythm = ~(begins == 0).flatten(1).any(1)[:, None, None]
        drawn = has_rhythm & (x_t[:, :, 0] == 0) & (chosen[0].gather(2, numbers) * now[0] >= then[0])
        cumulative = (prediction[:, :, :-1] / self.config.temperature).softmax(2).cumsum(2)
        rows = (cumulative < value[0].gather(2, numbers).unsqueeze(2) * cumulative[:, :, -1:]).sum(2)
        rows = rows.clamp(max=cumulative.shape[2] - 1)
        pitches = F.one_hot(rows, cumulative.shape[2]).movedim(-1, 2).to(x_t) * 2 - 1
        new_pitches = torch.where(drawn.unsqueeze(2), pitches, x_t[:, :, :-1])
        return (torch.cat([new_pitches, new_begins.unsqueeze(2)], dim=2),)
