"""A synthetic benchmark on disk, in the layout of Market-1501: whole or absent, and resumed where it stopped."""

import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.io import savemat
from tqdm.auto import tqdm

from ..errors import InputError
from .body import PARTS
from .captures import FOLDERS, SIZES, Size, plan
from .population import DOWN_COLOURS, FIELDS, UP_COLOURS
from .render import box_error, choose_device, stream
from .scene import CAMERAS

# Raised whenever the same seed would give other pixels, so that old and new images are never mixed.
REVISION = 2

# What was measured on `quick`, for its data card: benchmarks/scores.py synthetic --seeds 0,1,2 and, for seed 0,
# benchmarks/difficulty.py; mean and sample deviation over seeds (other people and other weights), percent.
MEASURED = """
## How hard it is
From random weights, 128 x 64 pixels, 10 epochs, rule market1501; mean and deviation over the seeds 0, 1 and 2.

| system | mAP | rank-1 |
|---|---|---|
| ResNet-18, random weights | 1.2 ± 0.1 | 1.8 ± 0.5 |
| colour histogram of six stripes | 7.7 ± 0.3 | 17.2 ± 0.8 |
| ResNet-18, identity | 47.6 ± 1.2 | 62.2 ± 0.9 |
| ResNet-18, identity + triplet | 66.5 ± 1.4 | 81.9 ± 1.0 |

Matches of the last one (seed 0) from the query's own camera: 75.2 mAP; from other cameras 66.1; of these, seen from
within 45 degrees of the query's view 67.1, turned by 90 degrees 53.6, by more 55.2.
"""
CARD, ATTRIBUTES, TABLE = "card.json", "market_attribute.mat", "synthetic.csv"


def _recipe(size: str, seed: int, height: int, width: int) -> dict[str, Any]:
    return {"size": size, "seed": seed, "height": height, "width": width, "revision": REVISION}


def part_path(path: str) -> str:
    """Where the part map of an image is: `parts/<folder>/<stem>.png`."""
    return f"parts/{path.removesuffix('.jpg')}.png"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _finished(out: Path, recipe: dict[str, Any]) -> bool:
    """True if `out` holds this very set, False if there is nothing; anything else is refused."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    found = _read_json(out / CARD).get("recipe") if out.is_dir() else None
    if found == recipe:
        return True
    what = f"another synthetic set ({_words(found)})" if found else "files that are not a synthetic set"
    raise InputError(f"{out} already holds {what}; nothing was written: choose another folder or remove it first.")


def _words(recipe: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in recipe.items())


def _partial(out: Path, recipe: dict[str, Any]) -> Path:
    """The folder to work in, new or left by an interrupted run of the same recipe."""
    partial = out.parent / f".{out.name}.partial"
    found = _read_json(partial / "recipe.json")
    if found and found != recipe:
        raise InputError(
            f"{partial} holds an unfinished set of another recipe ({_words(found)}); "
            "finish that one or remove the folder."
        )
    if partial.exists() and not found and any(partial.iterdir()):
        raise InputError(f"{partial} exists but is no unfinished synthetic set; remove it first.")
    for folder in FOLDERS.values():
        (partial / folder).mkdir(parents=True, exist_ok=True)
        (partial / "parts" / folder).mkdir(parents=True, exist_ok=True)
    for torn in partial.rglob(".*"):  # files that were being written when the run was stopped
        torn.unlink()
    _save(partial / "recipe.json", json.dumps(recipe).encode())
    return partial


def _save(path: Path, data: bytes) -> None:
    """Writes under a temporary name first: a file that has its name is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)


def _encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _store(folder: Path, path: str, image: np.ndarray, parts: np.ndarray, quality: int) -> None:
    """The image is written last: where it exists, its part map does."""
    _save(folder / part_path(path), _encoded(parts, "PNG", compress_level=4))
    _save(folder / path, _encoded(image, "JPEG", quality=quality))


def occlusion(parts: np.ndarray) -> np.ndarray:
    """Share of the foreground of part maps (N, H, W) that belongs to somebody or something else, (N,)."""
    foreground = (parts > 0).sum(axis=(1, 2))
    return (parts == PARTS["occluder"]).sum(axis=(1, 2)) / np.maximum(foreground, 1)


def _images(
    folder: Path,
    people: pd.DataFrame,
    captures: pd.DataFrame,
    recipe: dict[str, Any],
    device: str | torch.device | None,
    progress: bool,
) -> None:
    """Renders and stores every capture that is not there yet."""
    left = captures[[not (folder / path).exists() for path in captures["path"]]]
    bar = tqdm(
        total=len(captures), initial=len(captures) - len(left), unit="image", desc="synthetic", disable=not progress
    )
    waiting: list[Future[None]] = []
    batch_by_batch = stream(people, left, recipe["height"], recipe["width"], choose_device(device))
    with bar, ThreadPoolExecutor(2) as pool:
        for piece, images, parts in batch_by_batch:
            for done in waiting:
                done.result()
            bar.update(len(waiting))
            rows = left.iloc[piece]
            pixels, maps = images.permute(0, 2, 3, 1).cpu().numpy(), parts.cpu().numpy()
            waiting = [
                pool.submit(_store, folder, path, pixels[i], maps[i], CAMERAS[camera].quality)
                for i, (path, camera) in enumerate(zip(rows["path"], rows["camera"], strict=True))
            ]
        for done in waiting:
            done.result()
        bar.update(len(waiting))


def table(captures: pd.DataFrame, occluded: np.ndarray) -> pd.DataFrame:
    """One row an image: what `synthetic.csv` holds."""
    angle = captures["angle"].to_numpy(dtype=float)
    return pd.DataFrame(
        {
            "path": captures["path"],
            "pid": captures["pid"],
            "camid": captures["camera"] + 1,
            "split": captures["split"],
            "frame": captures["path"].str.extract(r"_(\d{6})_")[0].astype(int),
            "orientation": (np.round(angle / 45) % 8).astype(int),
            "angle": angle.round(2),
            "gait": captures["gait"].to_numpy(dtype=float).round(4),
            "occlusion": occluded.round(4),
            "box_error": box_error(captures).round(4),
            "camera": [CAMERAS[c].name for c in captures["camera"]],
            "kind": captures["kind"],
        }
    )


def annotation(people: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """The struct `market_attribute`: identity-level fields of both halves, image_index as 4-digit strings."""
    halves: dict[str, dict[str, np.ndarray]] = {}
    for half in ("test", "train"):
        mine = people[people["split"] == half].sort_values("pid")
        names = np.empty((1, len(mine)), dtype=object)
        names[0, :] = [f"{pid:04d}" for pid in mine["pid"]]
        halves[half] = {f: mine[f].to_numpy(dtype=np.uint8)[None] for f in FIELDS[half]} | {"image_index": names}
    return halves


def _shares(people: pd.DataFrame) -> dict[str, float]:
    """Percent of the training identities with each attribute."""
    train = people[people["split"] == "train"]
    marked = {f: float((train[f] == 2).mean()) for f in FIELDS["train"] if f != "age"}
    ages = {name: float((train["age"] == i + 1).mean()) for i, name in enumerate(("young", "teenager", "adult", "old"))}
    multi = {
        "upmulticolour": float((train[list(UP_COLOURS)] == 1).all(axis=1).mean()),
        "downmulticolour": float((train[list(DOWN_COLOURS)] == 1).all(axis=1).mean()),
    }
    return {name: round(100 * share, 1) for name, share in (ages | marked | multi).items()}


def card(people: pd.DataFrame, captures: pd.DataFrame, recipe: dict[str, Any], size: Size) -> dict[str, Any]:
    """What a set says about itself."""
    return {
        "name": "synthetic",
        "title": "reidkit synthetic pedestrians",
        "description": "People that do not exist, drawn from analytic primitives, seen by six cameras.",
        "licence": "CC0-1.0",
        "recipe": recipe,
        "made_by": f"reidkit {version('reidkit')}, synthetic revision {REVISION}",
        "identities": {"train": size.train_ids, "test": size.test_ids},
        "images": {"train": size.train, "query": size.query, "gallery": size.gallery},
        "junk": size.junk,
        "distractors": size.distractors,
        "cameras": [c.name for c in CAMERAS],
        "parts": PARTS,
        "train_identities_percent": _shares(people),
        "images_per_train_identity": round(float((captures["split"] == "train").sum() / size.train_ids), 2),
    }


def readme(facts: dict[str, Any]) -> str:
    """The data card for people."""
    recipe, images, identities = facts["recipe"], facts["images"], facts["identities"]
    shares = "\n".join(f"| {name} | {share} |" for name, share in facts["train_identities_percent"].items())
    labels = ", ".join(f"{value} {name}" for name, value in facts["parts"].items())
    return f"""# Synthetic pedestrians ({recipe["size"]}, seed {recipe["seed"]})

People that do not exist, in the layout of Market-1501. Nobody was photographed; no image or annotation of a real
benchmark is in here. The statistics of the attributes follow published counts of Market-1501's annotation.

- Made by {facts["made_by"]}, {recipe["height"]} x {recipe["width"]} pixels. The same recipe gives the same pixels.
- Licence: CC0 1.0, public domain.
- {identities["train"]} training and {identities["test"]} test identities.
- {images["train"]} training images, {images["query"]} queries, {images["gallery"]} gallery images;
  of these {facts["junk"]} are junk (pid -1) and {facts["distractors"]} distractors (pid 0).
- Six cameras: {", ".join(facts["cameras"])}.

## Files
- `bounding_box_train/ query/ bounding_box_test/`: `PPPP_cCsS_FFFFFF_BB.jpg` as in Market-1501. One query a test
  person and camera; every query has images of that person from other cameras in the gallery.
- `{ATTRIBUTES}`: 27 attributes an identity, coded 1/2 (age 1..4), in `train` and `test`; a person with no upper
  (lower) colour marked wears several.
- `parts/<folder>/<stem>.png`: the part of every pixel: {labels}.
- `{TABLE}`: one row an image: path, pid, camid, split, frame, orientation (0 faces the camera, 2 walks to the right
  of the image, 4 walks away), angle in degrees, gait phase in radians, occlusion (share of the foreground that is
  something else), box_error (1 - intersection over union with the true box), camera, kind.

## How it is made
A body of tapered capsules, ellipsoids, cones and boxes, posed by a gait phase, is traced in closed form by an
orthographic camera, shaded with a key light, sky and cast shadows, set into a painted place and photographed with the
camera's own colour, exposure, blur, noise and JPEG quality. Patterns, prints, shoes, hair, stature and things carried
tell people apart beyond what the attributes name.

## What it is not
Not a substitute for measuring on real images: everybody walks or stands, the light is simple and the cameras are six.

{MEASURED if recipe["size"] == "quick" else ""}
## Share of the training identities with each attribute (percent)
| attribute | share |
|---|---|
{shares}
"""


def write(
    out: str | os.PathLike[str],
    size: str = "quick",
    seed: int = 0,
    height: int = 128,
    width: int = 64,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Path:
    """Writes a set of SIZES to the folder `out` and returns it; returns at once if it is already there.

    Everything is first written to `.<name>.partial` beside it, where an interrupted run is taken up again.
    """
    if size not in SIZES:
        raise InputError(f"there is no synthetic size {size!r}; choose one of {', '.join(SIZES)}.")
    if seed < 0 or height < 16 or width < 8:
        raise InputError(
            f"seed must not be negative and images not smaller than 16 x 8; got seed {seed}, {height} x {width}."
        )
    target, recipe = Path(out), _recipe(size, seed, height, width)
    if _finished(target, recipe):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target, recipe)
    people, captures = plan(SIZES[size], seed)
    _images(partial, people, captures, recipe, device, progress)
    maps = (np.asarray(Image.open(partial / part_path(path)))[None] for path in captures["path"])
    occluded = np.concatenate([occlusion(one) for one in maps])
    facts = card(people, captures, recipe, SIZES[size])
    savemat(partial / ATTRIBUTES, {"market_attribute": annotation(people)})
    table(captures, occluded).to_csv(partial / TABLE, index=False, lineterminator="\n")
    (partial / "README.md").write_text(readme(facts), encoding="utf-8")
    (partial / CARD).write_text(json.dumps(facts, indent=2) + "\n")
    (partial / "recipe.json").unlink()
    if target.exists():
        target.rmdir()
    shutil.move(partial, target)
    return target
