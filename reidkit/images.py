"""The table of images: one row an image, one reader per benchmark, checks against the benchmark's card.

Every reader returns the same pandas table. Its columns are `path` (text, absolute), `pid` (person; -1 is
junk, 0 in a gallery is a distractor), `camid`, `split` ("train", "val", "query", "gallery"), `frame` and
`orientation` (both -1 where unknown). Its `attrs` name the data set, the root it was read from, the
exclusion rule of its protocol and the fold. Nothing here writes, moves or downloads a file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import InputError, choose, nearest

COLUMNS = ("path", "pid", "camid", "split", "frame", "orientation")
INTEGERS = ("pid", "camid", "frame", "orientation")
SPLITS = ("train", "val", "query", "gallery")
RULES = ("market1501", "same_image", "none")
JUNK, DISTRACTOR = -1, 0

Row = tuple[str, int, int, str, int, int]


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a data set before a file is opened; the cards stand in cards.toml."""

    name: str  # what commands call it
    title: str
    people: int | None = None  # None: the data decides
    cameras: int | None = None
    image_size: str  # height x width in pixels
    counts: dict[str, tuple[int | None, int | None]]  # split -> (images, people); None: depends on the fold
    folder: str  # where it is looked for under datasets/
    layout: str  # what the folder must look like
    licence: str
    source: str
    citation: str
    rule: str = "market1501"
    folders: tuple[str, ...] = field(default=(), repr=False)  # the sub-folders its layout names


def _card(name: str, counts: Mapping[str, Mapping[str, int]], folders: Iterable[str], **texts: Any) -> Card:
    """A card from its table in cards.toml."""
    full = {split: (count.get("images"), count.get("people")) for split, count in counts.items()}
    return Card(name=name, counts=full, folders=tuple(folders), **texts)


_TABLES = tomllib.loads((Path(__file__).parent / "cards.toml").read_text(encoding="utf-8"))
CARDS = {name: _card(name, **{"counts": {}, "folders": (), **table}) for name, table in _TABLES.items()}


def card_of(name: str) -> Card:
    """The card of a data set; InputError names the nearest one when there is none of that name."""
    return CARDS[choose(name, CARDS, "data set")]


def absolute(path: str | os.PathLike[str]) -> Path:
    """A path from the top, with `~` expanded and without `..`; links are left as they are."""
    try:
        return Path(os.path.normpath(Path(path).expanduser().absolute()))
    except RuntimeError as error:  # ~name of a user who does not exist
        raise InputError(f"{path} cannot be expanded ({error}); write the path out") from error


def default_root(name: str) -> Path:
    """Where a data set is looked for when no root is given.

    $REIDKIT_ROOT is either the data set itself or the folder that holds it under its card's name. Without it,
    `datasets/<folder>` is looked for from the working directory upwards, so that a notebook in notebooks/ and
    a command at the top find the same files.
    """
    folder = card_of(name).folder
    if given := os.environ.get("REIDKIT_ROOT"):
        root = absolute(given)
        return root / folder if (root / folder).exists() else root
    here = Path.cwd()
    candidates = [base / "datasets" / folder for base in (here, *here.parents)]
    return next((path for path in candidates if path.exists()), candidates[0])


def read_images(name: str, root: str | os.PathLike[str] | None = None, *, fold: int = 0) -> pd.DataFrame:
    """Read a benchmark into the table of images.

    Args:
        name: a key of `CARDS`.
        root: the data set's folder (for "table": the file); `~` is expanded. None: see `default_root`.
        fold: which random split by person, for viper (0..9), pku and towncentre; others have the given one.

    Returns:
        One row an image, sorted by split and path, columns `COLUMNS` ("table": and the table's own), text
        paths and int64 numbers; `attrs` holds dataset, root, rule and fold.

    Raises:
        InputError: the folder or a file in it is not what the card says.
    """
    card = card_of(name)
    limit = 10 if name == "viper" else 2**32  # VIPeR's protocol is ten halves; a seed has 32 bits
    if not 0 <= fold < limit:
        raise InputError(f"fold is {fold}, but {card.title} has folds 0 to {limit - 1}")
    where = absolute(root) if root is not None else default_root(name)
    images, where = _READERS[name](where, card, fold)
    rank = {split: i for i, split in enumerate(SPLITS)}
    images = images.sort_values(
        ["split", "path"], key=lambda column: column.map(rank) if column.name == "split" else column, ignore_index=True
    )
    rule = images.attrs.get("rule", card.rule)  # a table of one's own decides itself
    images.attrs = {"dataset": name, "root": str(where), "rule": rule, "fold": fold}
    check_schema(images)
    return images


# Folders: finding them, and saying what is wrong when they are not there --------------------------------


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}; give a folder you may read") from error


def _folders(folder: Path) -> list[Path]:
    """The sub-folders, for hints only: what cannot be read has none."""
    try:
        return [path for path in _entries(folder) if path.is_dir()]
    except InputError:
        return []


def _absent(root: Path, card: Card, fits: Callable[[Path], bool]) -> InputError:
    """The error for a root that is not the data set: names what is there, what is expected, what is near."""
    expected = f"expected {card.layout}"
    if not root.exists():
        parent = next(path for path in root.parents if path.exists())
        guess = nearest(root.relative_to(parent).parts[0], [path.name for path in _folders(parent)])
        hint = f"did you mean {parent / guess}? " if guess else ""
        return InputError(f"{card.title}: there is no {root}; {hint}{expected}; source: {card.source}")
    if not root.is_dir():
        return InputError(f"{card.title}: {root} is a file, not a folder; {expected}")
    inside = _folders(root)
    for other in (root.parent, *inside, *(deeper for folder in inside[:50] for deeper in _folders(folder))):
        if os.access(other, os.R_OK | os.X_OK) and fits(other):
            return InputError(f"{card.title} is not in {root} but in {other}; give that folder as root")
    names = [path.name for path in inside]
    gone = [wanted for wanted in card.folders if wanted not in names]
    for wanted in gone:
        guess = nearest(wanted, set(names) - set(card.folders))
        if guess:
            return InputError(f"{card.title}: {root} holds {guess!r}, not {wanted!r}; rename it; {expected}")
    what = f"lacks {', '.join(gone)}" if len(gone) < len(card.folders) else "is not this data set's folder"
    found = [path.name for path in _entries(root)[:5]]
    holds = f"holds {', '.join(found)} ..." if found else "is empty"
    return InputError(f"{card.title}: {root} {what} (it {holds}); {expected}; give the right root")


def _parsed(folder: Path, pattern: str, form: str) -> list[Any]:
    """(path, number, ...) of every image in a folder, by its name; strays such as Thumbs.db are passed over.

    A file with the image's ending and a wrong name is an error: a silently dropped image changes every score.
    """
    suffix = Path(form).suffix
    rows = []
    for path in _entries(folder):
        if path.suffix.lower() == suffix:
            match = re.fullmatch(pattern, path.stem)
            if match is None:
                raise InputError(f"{path} is not named like {form}; rename it or move it out of the folder")
            rows.append((str(path), *map(int, match.groups())))
    if not rows:
        raise InputError(f"{folder} holds no {suffix} image; expected names like {form}: unpack it again")
    return rows


def _holds(name: str) -> Callable[[Path], bool]:
    """A test: does a folder hold a file whose whole name fits this pattern?"""
    return lambda folder: folder.is_dir() and any(re.fullmatch(name, path.name) for path in _entries(folder))


def _frame(rows: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(INTEGERS, "int64"))


def _half(pids: Iterable[int], random: np.random.RandomState) -> set[int]:
    """A random half of the people, for training; of an odd number the smaller half."""
    people = np.array(sorted(set(pids)))
    return set(random.permutation(people)[: len(people) // 2].tolist())


def _generator(fold: int) -> np.random.RandomState:
    # RandomState, not default_rng: NumPy froze its stream, so a fold stays the same people in every version.
    return np.random.RandomState(fold)


# One reader per layout: (root, card, fold) -> (table, the folder it was found in) -----------------------

Found = tuple[pd.DataFrame, Path]
_PARQUET = (".parquet", ".pq")
# 24 names of the published Market-1501 end in .jpg.jpg.
_MARKET = (r"(-1|\d{4,})_c(\d+)s\d+_(\d+)_\d+(?:\.jpg)?", "PPPP_cCsS_FFFFFF_BB.jpg")
_DUKE = (r"(\d{4,})_c(\d+)_f(\d+)", "PPPP_cC_fFFFFFFF.jpg")
_GIVEN = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}


def _three_folders(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in _GIVEN)


def _market(root: Path, card: Card, _fold: int) -> Found:
    if not _three_folders(root):
        images = any((root / name).is_dir() for name in _GIVEN)
        lists = [folder for folder in (root / "market_lists", root) if (folder / "market1501_train.csv").is_file()]
        if card.name == "market1501" and lists and not images:
            return _market_lists(lists[0], root), root
        raise _absent(root, card, _three_folders)
    named = _DUKE if card.name == "dukemtmc" else _MARKET
    rows = [
        (path, pid, camid, split, frame, -1)
        for folder, split in _GIVEN.items()
        for path, pid, camid, frame in _parsed(root / folder, *named)
    ]
    return _frame(rows), root


def _market_lists(folder: Path, root: Path) -> pd.DataFrame:
    """Market-1501 from its lists of file names: everything that statistics need, without an image."""
    rows: list[Row] = []
    for part, split in (("train", "train"), ("query", "query"), ("test", "gallery")):
        file = folder / f"market1501_{part}.csv"
        if not file.is_file():
            raise InputError(f"{folder} lacks {file.name}; the three lists belong together, so add it")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            pid, _, name = line.partition(",")
            match = re.fullmatch(_MARKET[0], Path(name).stem)
            if match is None or not re.fullmatch(r"-?\d+", pid) or int(pid) != int(match[1]):
                raise InputError(f"{file}: line {number} is {line[:60]!r}, not `pid,folder/{_MARKET[1]}`; mend it")
            rows.append((str(root / name), int(pid), int(match[2]), split, int(match[3]), -1))
    return _frame(rows)


def _synthetic(root: Path, card: Card, fold: int) -> Found:
    """The Market layout, and from synthetic.csv what file names do not say: orientation and frame."""
    images, root = _market(root, card, fold)
    file = root / "synthetic.csv"
    if not file.is_file():
        raise InputError(f"{root} lacks synthetic.csv; write the data again with `reidkit data synthetic`")
    truth = _load_table(file)
    if lacking := [column for column in ("path", "frame", "orientation") if column not in truth]:
        raise InputError(f"{file} lacks the columns {', '.join(lacking)}; write the data set again")
    truth["path"] = [str(root / path) for path in truth["path"].astype(str)]
    truth = truth.drop_duplicates("path").set_index("path").reindex(images["path"])
    if truth["orientation"].isna().any():
        first = truth.index[truth["orientation"].isna()][0]
        raise InputError(f"{file} has no row for {first}; the two are of different runs, so write both again")
    for column in ("frame", "orientation"):
        images[column] = _integers(truth[column], file).to_numpy()
    return images, root


def _viper(root: Path, card: Card, fold: int) -> Found:
    if (root / "cam_a").is_dir() and (root / "cam_b").is_dir():
        cameras = [_parsed(root / folder, r"(\d+)_(\d+)", "ID_ANGLE.bmp") for folder in ("cam_a", "cam_b")]
        images = [(*image, camid) for camid, camera in enumerate(cameras, 1) for image in camera]
    else:
        root = _peta(root, card, r"\d+_\d+_[12]\.bmp")
        images = _parsed(root, r"(\d+)_(\d+)_([12])", "ID_ANGLE_CAM.bmp")
    odd = [path for path, _, angle, _ in images if angle % 45 or angle >= 360]
    if odd:
        raise InputError(f"{odd[0]} has an angle that is not 0, 45, ... 315; rename it or move it away")
    return _two_cameras([(path, pid, camid, angle // 45) for path, pid, angle, camid in images], fold), root


def _pku(root: Path, card: Card, fold: int) -> Found:
    fits = _holds(r"\d+_0?[12]_[1-8]\.png")
    if not fits(root):
        raise _absent(root, card, fits)
    images = _parsed(root, r"(\d+)_(0?[12])_([1-8])", "ID_CC_O.png")
    # orientations are named 1 to 8; 0 to 7 in the table, as everywhere
    return _two_cameras([(path, pid, camid, side - 1) for path, pid, camid, side in images], fold), root


def _two_cameras(images: list[tuple[str, int, int, int]], fold: int) -> pd.DataFrame:
    """Half the people train; of the others camera 1 asks and camera 2 is searched."""
    train = _half((pid for _, pid, _, _ in images), _generator(fold))
    test = {1: "query", 2: "gallery"}
    return _frame((path, pid, cam, "train" if pid in train else test[cam], -1, o) for path, pid, cam, o in images)


def _peta(root: Path, card: Card, name: str) -> Path:
    """PETA keeps a subset's images in SUBSET/archive; the subset and PETA itself are taken as root too."""
    fits, inside = _holds(name), ("", "archive", f"{card.folder}/archive", f"PETA/{card.folder}/archive")
    for folder in inside:
        if fits(root / folder):
            return root / folder
    raise _absent(root, card, lambda folder: fits(folder) or fits(folder / "archive"))


def _towncentre(root: Path, card: Card, fold: int) -> Found:
    """Half the labelled people train; of each other labelled person one random image asks all test images.

    The query stays in the gallery under the same path, which is what the rule `same_image` takes out. People
    whom Label.txt does not name (the published files have none) never train and never ask; they stay in the
    gallery. Without a Label.txt everybody counts as labelled.
    """
    root = _peta(root, card, r"\d+_\d+\.jpg")
    images = _frame((path, pid, 1, "gallery", n, -1) for path, pid, n in _parsed(root, r"(\d+)_(\d+)", "ID_FRAME.jpg"))
    labels, named = root / "Label.txt", set(images["pid"])
    if labels.is_file():
        text = labels.read_text(encoding="utf-8", errors="replace")
        named &= {int(pid) for pid in re.findall(r"(?m)^\s*(\d+)\s", text)}
    random = _generator(fold)
    train = _half(named, random)
    images["split"] = images["split"].mask(images["pid"].isin(train), "train")
    asking = images[images["pid"].isin(named - train)].sort_values(["pid", "frame"]).groupby("pid")
    queries = [shots.iloc[[random.randint(len(shots))]].assign(split="query") for _, shots in asking]
    return pd.concat([images, *queries]), root


def _load_table(file: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file) if file.suffix.lower() in _PARQUET else pd.read_csv(file)
    except Exception as error:  # pandas and pyarrow raise a dozen kinds for a file that is not a table
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{file} cannot be read as a table ({reason}); save it again") from error
    return table.reset_index(drop=True)  # Parquet may carry one in which a number stands twice


def _integers(column: pd.Series, file: Path) -> pd.Series:
    """Whole numbers as int64, or an InputError that names the first value that is none."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = ~np.isfinite(numbers.astype("float64")) | (numbers % 1 != 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        value = "an empty cell" if pd.isna(column.iloc[row]) else repr(str(column.iloc[row]))
        where = f"{file}: column {column.name!r} holds {value} in row {row + 1}"
        raise InputError(f"{where}, where a whole number is expected; mend it and save the table again")
    return numbers.astype("int64")


def _table(root: Path, card: Card, _fold: int) -> Found:
    if not root.is_file():
        folder = root if root.is_dir() else root.parent
        names = [p.name for p in _entries(folder) if p.suffix in (".csv", *_PARQUET)] if folder.is_dir() else []
        guess = nearest(root.name, names) or (names[0] if len(names) == 1 else None)
        hint = f"did you mean {folder / guess}? " if guess else ""
        what = "is a folder" if root.is_dir() else "is not there"
        raise InputError(f"the table {root} {what}; {hint}expected {card.layout}")
    table = _load_table(root)
    lacking = [column for column in ("path", "pid", "split") if column not in table]
    if lacking:
        found = ", ".join(map(str, table.columns[:12])) or "none"
        raise InputError(f"{root} lacks {', '.join(lacking)} (it has {found}); expected {card.layout}")
    if table.empty:
        raise InputError(f"{root} has no rows; expected one row an image")
    rule = "market1501" if "camid" in table else "same_image"
    unknown = {"frame": -1, "orientation": -1} | ({} if "camid" in table else {"camid": 0})
    fixed = table.reindex(columns=list(COLUMNS)).fillna(unknown)
    if fixed["path"].isna().any():
        row = int(fixed["path"].isna().argmax()) + 1
        raise InputError(f"{root}: row {row} has no path; fill it in or leave the row out")
    fixed["path"] = [str(absolute(root.parent / str(path))) for path in fixed["path"]]
    for column in INTEGERS:
        fixed[column] = _integers(fixed[column], root)
    fixed["split"] = fixed["split"].astype(str).str.strip()
    images = fixed.join(table.drop(columns=list(COLUMNS), errors="ignore"))
    images.attrs = {"rule": rule}
    return images, root


_READERS: dict[str, Callable[[Path, Card, int], Found]] = {
    "synthetic": _synthetic, "market1501": _market, "dukemtmc": _market, "viper": _viper, "pku": _pku,
    "towncentre": _towncentre, "table": _table,
}  # fmt: skip


def check_schema(images: pd.DataFrame) -> None:
    """Raise an InputError unless this is a table of images: columns, types, splits, no row twice."""
    lacking = [column for column in COLUMNS if column not in images]
    if lacking:
        raise InputError(f"the table of images lacks {', '.join(lacking)}; it needs {', '.join(COLUMNS)}")
    if images.empty:
        raise InputError("the table of images has no rows; check the root it was read from")
    for column in INTEGERS:
        if images[column].dtype != np.int64:
            raise InputError(f"column {column!r} has type {images[column].dtype}; expected int64: use astype")
    for split in sorted(set(images["split"])):
        choose(str(split), SPLITS, "split")
    if (images["pid"] < JUNK).any():
        raise InputError(f"pid {images['pid'].min()} is below -1; people are 0 or more, -1 is junk")
    twice = images.duplicated(["path", "split"])
    if twice.any():
        path, split = images.loc[twice, ["path", "split"]].iloc[0]
        raise InputError(f"{path} stands twice in {split} ({twice.sum()} such rows); keep one row an image")


def is_person(images: pd.DataFrame) -> pd.Series:
    """Which rows show a person with an identity, (N,) bool: neither junk (-1) nor distractors.

    pid 0 means "distractor" only where no training image and no query has it: VIPeR and TownCentre have a
    real person 0.
    """
    zero_asks = ((images["pid"] == DISTRACTOR) & (images["split"] != "gallery")).any()
    return images["pid"] > (JUNK if zero_asks else DISTRACTOR)


def validation_fold(
    images: pd.DataFrame, fraction: float = 0.4, seed: int = 0, labels: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Move a share of the training PEOPLE, with all their images, to the split "val".

    Five people with a hat may all be moved by chance, and then nobody is left to learn hats from. With labels each
    answer is shared out by itself, the rarest first (iterative stratification, Sechidis et al. 2011).

    Args:
        images: a table of images with a split "train".
        fraction: share of the people to move, 0 < fraction < 1; 0.4 is the 60/40 of the protocol.
        seed: of the random choice.
        labels: (P, T) answers by pid, such as `Attributes.tasks`, -1 for missing.

    Returns:
        A new table with the same rows in the same order; at least one person stays and one moves.
    """
    people = np.unique(images.loc[(images["split"] == "train") & is_person(images), "pid"])
    if not 0 < fraction < 1:
        raise InputError(f"fraction is {fraction}; expected a share between 0 and 1, such as 0.4")
    if len(people) < 2:
        raise InputError(f"the split train has {len(people)} people; a validation fold needs at least 2")
    n = min(max(round(fraction * len(people)), 1), len(people) - 1)
    has = np.zeros((len(people), 0), dtype=bool)  # (P, A), who gives which answer
    if labels is not None:
        known = labels.reindex(people).where(lambda table: table >= 0)
        has = pd.get_dummies(known.astype("category")).to_numpy(bool)
    leave, stay, free = np.empty(0, int), np.empty(0, int), _generator(seed).permutation(len(people))
    for one in has.T[np.argsort(has.sum(0), kind="stable")]:  # (P,), the rarest answer first
        lacking = max(round(fraction * one.sum()) - one[leave].sum(), 0)
        own, free = free[one[free]], free[~one[free]]
        leave, stay = np.append(leave, own[:lacking]), np.append(stay, own[lacking:])
    chosen = people[np.concatenate([leave, free, stay[::-1]])[:n]]
    moved = (images["split"] == "train") & images["pid"].isin(chosen)
    return images.assign(split=images["split"].mask(moved, "val"))
