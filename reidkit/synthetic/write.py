"""A synthetic benchmark on disk, in the layout of Market-1501: whole or absent, and resumed where it stopped."""

import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.io import savemat
from tqdm.auto import tqdm

from .. import files
from ..errors import InputError, choose
from .body import PARTS
from .captures import FOLDERS, SIZES, Size, plan
from .population import DOWN_COLOURS, FIELDS, UP_COLOURS
from .render import box_error, choose_device, stream
from .scene import CAMERAS, DRAWN, camera

# Raised whenever the same seed would give other pixels, so that old and new images are never mixed.
REVISION = 2

CARD, ATTRIBUTES, TABLE = "card.json", "market_attribute.mat", "synthetic.csv"


def part_path(path: str) -> str:
    """Where the part map of an image is: `parts/<folder>/<stem>.png`."""
    return f"parts/{path.removesuffix('.jpg')}.png"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _finished(out: Path, recipe: dict[str, Any]) -> bool:
    """True if `out` holds this very set, False if there is nothing; anything else is refused."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    present = _read_json(out / CARD).get("recipe") if out.is_dir() else None
    if present == recipe:
        return True
    what = f"another synthetic set ({_words(present)})" if present else "files that are not a synthetic set"
    raise InputError(f"{out} already holds {what}; nothing was written: choose another folder or remove it first.")


def _words(recipe: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in recipe.items())


def _partial(out: Path, recipe: dict[str, Any]) -> Path:
    """The folder to work in, new or left by an interrupted run of the same recipe."""
    partial = out.parent / f".{out.name}.partial"
    begun = _read_json(partial / "recipe.json")
    if begun and begun != recipe:
        raise InputError(
            f"{partial} holds an unfinished set of another recipe ({_words(begun)}); "
            "finish that one or remove the folder."
        )
    if partial.exists() and not begun and any(partial.iterdir()):
        raise InputError(f"{partial} exists but is no unfinished synthetic set; remove it first.")
    for folder in FOLDERS.values():
        (partial / folder).mkdir(parents=True, exist_ok=True)
        (partial / "parts" / folder).mkdir(parents=True, exist_ok=True)
    for torn in partial.rglob(".*"):  # files that were being written when the run was stopped
        torn.unlink()
    files.write_whole(partial / "recipe.json", lambda path: path.write_text(json.dumps(recipe)))
    return partial


def _store(folder: Path, path: str, image: np.ndarray, parts: np.ndarray, quality: int) -> None:
    """The image is written last: where it exists, its part map does."""
    picture, part_map = Image.fromarray(image), Image.fromarray(parts)
    files.write_whole(folder / part_path(path), lambda name: part_map.save(name, "PNG", compress_level=4))
    files.write_whole(folder / path, lambda name: picture.save(name, "JPEG", quality=quality))


def occlusion(parts: np.ndarray) -> float:
    """Share of the foreground of a part map (H, W) that belongs to somebody or something else."""
    return float((parts == PARTS["occluder"]).sum() / max((parts > 0).sum(), 1))


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
    count, there = len(captures), len(captures) - len(left)
    bar = tqdm(total=count, initial=there, unit="image", desc="synthetic", disable=not progress)
    storing: list[Future[None]] = []

    def finish() -> None:
        for job in storing:
            job.result()
        bar.update(len(storing))
        storing.clear()

    with bar, ThreadPoolExecutor(2) as pool:
        for piece, images, parts in stream(people, left, recipe["height"], recipe["width"], choose_device(device)):
            finish()
            rows = left.iloc[piece]
            pixels, maps = images.permute(0, 2, 3, 1).cpu().numpy(), parts.cpu().numpy()
            for path, number, image, part_map in zip(rows["path"], rows["camera"], pixels, maps, strict=True):
                storing.append(pool.submit(_store, folder, path, image, part_map, camera(number).quality))
        finish()


def image_table(captures: pd.DataFrame, occluded: np.ndarray) -> pd.DataFrame:
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
            "camera": [camera(number).name for number in captures["camera"]],
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
    names = [camera(len(CAMERAS) + k).name for k in range(DRAWN)] if size.crowd else [c.name for c in CAMERAS]
    return {
        "name": "synthetic",
        "title": "reidkit synthetic pedestrians",
        "description": f"People that do not exist, drawn from analytic primitives, seen by {len(names)} cameras.",
        "licence": "CC0-1.0",
        "recipe": recipe,
        "made_by": f"reidkit {version('reidkit')}, synthetic revision {REVISION}",
        "identities": {"train": size.train_ids, "test": size.test_ids},
        "images": {"train": size.train, "query": size.query, "gallery": size.gallery},
        "junk": size.junk,
        "distractors": size.distractors,
        "cameras": names,
        "parts": PARTS,
        "train_identities_percent": _shares(people),
        "images_per_train_identity": round(float((captures["split"] == "train").sum() / size.train_ids), 2),
    }


def readme(facts: dict[str, Any]) -> str:
    """The data card for people.

    What `card_quick.md` adds was measured on `quick`: benchmarks/scores.py synthetic --seeds 0,1,2 and, for seed 0,
    benchmarks/difficulty.py; mean and sample deviation over seeds (other people and other weights), percent.
    """
    parts = ", ".join(f"{number} {name}" for name, number in facts["parts"].items())
    shares = "\n".join(f"| {name} | {share} |" for name, share in facts["train_identities_percent"].items())
    here = Path(__file__).parent
    measured = "\n" + (here / "card_quick.md").read_text(encoding="utf-8") if facts["recipe"]["size"] == "quick" else ""
    text = (here / "card.md").read_text(encoding="utf-8")
    drawn = facts["recipe"]["size"] == "crowd"
    named = {
        "camera_names": "drawn at random, in places drawn at random" if drawn else ", ".join(facts["cameras"]),
        "followed": "square roots of the" if drawn else "the",
        "count": len(facts["cameras"]),
    }
    return text.format(**facts, **named, part_numbers=parts, shares=shares, measured=measured)


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
    choose(size, SIZES, "synthetic size")
    if seed < 0 or height < 16 or width < 8:
        raise InputError(
            f"seed must not be negative and images not smaller than 16 x 8; got seed {seed}, {height} x {width}."
        )
    target = Path(out)
    recipe = {"size": size, "seed": seed, "height": height, "width": width, "revision": REVISION}
    if _finished(target, recipe):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(target, recipe)
    people, captures = plan(SIZES[size], seed)
    _images(partial, people, captures, recipe, device, progress)
    occluded = np.array([occlusion(np.asarray(Image.open(partial / part_path(path)))) for path in captures["path"]])
    facts = card(people, captures, recipe, SIZES[size])
    savemat(partial / ATTRIBUTES, {"market_attribute": annotation(people)})
    image_table(captures, occluded).to_csv(partial / TABLE, index=False, lineterminator="\n")
    (partial / "README.md").write_text(readme(facts), encoding="utf-8")
    (partial / CARD).write_text(json.dumps(facts, indent=2) + "\n")
    (partial / "recipe.json").unlink()
    if target.exists():
        target.rmdir()
    partial.rename(target)
    return target
