"""The gallery sheet: people x cameras and orientations, with part maps."""

import os

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from .body import PARTS
from .captures import Size, plan
from .render import render
from .scene import CAMERAS

# One colour a part, for looking at part maps.
COLOURS = np.array([
    [24, 24, 28], [240, 190, 150], [110, 70, 40], [230, 60, 140], [70, 130, 220], [60, 170, 100],
    [240, 220, 90], [220, 120, 40], [170, 90, 210], [220, 70, 60], [130, 130, 135],
], dtype=np.uint8)  # fmt: skip
assert len(COLOURS) == len(PARTS)
GAP = 3


def _variety(people: pd.DataFrame, n: int) -> list[int]:
    """Row numbers of people who together show hats, dresses, bags, ages and several colours."""
    wanted = [
        people["hat"] == 2, people["backpack"] == 2, people["bag"] == 2, people["handbag"] == 2, people["clothes"] == 1,
        people["age"] == 1, people["age"] == 4, people["age"] == 3, people["hair"] == 2, people["up"] == 1,
        people["up_pattern"] == "print", people["up_pattern"] == "bands",
    ]  # fmt: skip
    chosen: list[int] = []
    for k in range(n):
        having = [i for i in np.flatnonzero(wanted[k % len(wanted)].to_numpy()) if i not in chosen]
        chosen.append(int(having[0]) if having else next(i for i in range(len(people)) if i not in chosen))
    return chosen


def sheet(path: str | os.PathLike[str] | None = None, seed: int = 0, people: int = 8, height: int = 128) -> Image.Image:
    """One row a person: eight orientations through the six cameras, then part maps; saved if a path is given."""
    cast, captures = plan(Size(96, 16, 960, 64, 128, 0, 0), seed)
    rows = _variety(cast[cast["split"] == "train"], people)
    views = captures[captures["kind"] == "person"].iloc[: len(rows) * 8].reset_index(drop=True)
    views["person"] = np.repeat(rows, 8)
    views["angle"] = np.tile(np.arange(8) * 45.0, len(rows))
    views["camera"] = [(k + r) % len(CAMERAS) for r in range(len(rows)) for k in range(8)]
    views["wall"] = [CAMERAS[c].wall for c in views["camera"]]
    views["elevation"] = [float(CAMERAS[c].elevation) for c in views["camera"]]
    views[["dx", "dy"]] = 0.0
    views["zoom"], views["stretch"] = 1.04, 1.0
    images, parts = render(cast, views, height, height // 2)
    pixels, maps = images.permute(0, 2, 3, 1).cpu().numpy(), parts.cpu().numpy()
    w, h = height // 2 + GAP, height + GAP
    picture = Image.new("RGB", (12 * w + 3 * GAP, len(rows) * h + GAP), "white")
    for i in range(len(views)):
        r, k = divmod(i, 8)
        picture.paste(Image.fromarray(pixels[i]), (GAP + k * w, GAP + r * h))
        if k % 2 == 0:
            picture.paste(Image.fromarray(COLOURS[maps[i]]), (3 * GAP + (8 + k // 2) * w, GAP + r * h))
    if path is not None:
        ImageOps.posterize(picture, 5).save(path, optimize=True)  # sensor noise does not compress
    return picture
