"""A model of ours inside plain diffusers code, and a diffusers scheduler inside ours."""

import torch
from diffusers import DDIMScheduler

import synesthete
from synesthete import seeding
from synesthete.diffusion.sampling import SAMPLERS, Sampler

STEPS = 10


@torch.no_grad()
def ours_in_diffusers(label: int = 7, seed: int = 0) -> torch.Tensor:
    """A picture (C, H, W) of a digit by a diffusers scheduler in a loop of one's own."""
    pipeline = synesthete.load("images-digits").pipeline
    process = pipeline.process
    scheduler = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=process.prediction_type,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    condition = pipeline.conditioner.encode(torch.tensor([label]))
    x_t = seeding.randn(pipeline.codec.shape, seeding.sample_generators(seed, 1))  # (1, C, H, W)
    scheduler.set_timesteps(STEPS)
    for timestep in scheduler.timesteps:
        prediction = pipeline.denoiser(x_t, timestep[None], condition)
        x_t = scheduler.step(prediction, timestep, x_t).prev_sample
    return pipeline.codec.decode(x_t)[0]


def diffusers_in_ours(label: int = 7, seed: int = 0) -> torch.Tensor:
    """A picture (C, H, W) by one of diffusers' schedulers that the package has no name for, as a setting."""
    SAMPLERS["deis"] = Sampler("DEISMultistepScheduler")
    pipeline = synesthete.load("images-digits").pipeline
    generators = seeding.sample_generators(seed, 1)
    return pipeline(torch.tensor([label]), generators=generators, sampler="deis", num_inference_steps=STEPS).signal[0]


def by_our_loop(label: int = 7, seed: int = 0) -> torch.Tensor:
    """What `ours_in_diffusers` makes, by our own loop."""
    how = {"sampler": "ddim", "num_inference_steps": STEPS, "guidance_scale": 1.0, "timestep_spacing": "trailing"}
    pipeline = synesthete.load("images-digits").pipeline
    return pipeline(torch.tensor([label]), generators=seeding.sample_generators(seed, 1), **how).signal[0]


if __name__ == "__main__":
    difference = (ours_in_diffusers().float() - by_our_loop().float()).abs().max()
    print(f"the two loops differ by {difference:.0f} of 255 levels at most")
    print("by DEIS:", tuple(diffusers_in_ours().shape))
