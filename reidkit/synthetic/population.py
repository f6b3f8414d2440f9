"""Who the synthetic people are: attributes with Market-1501's imbalance, and cues that no attribute names."""

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

Split = Literal["train", "test"]

UP_COLOURS = ("upblack", "upwhite", "upred", "uppurple", "upyellow", "upgray", "upblue", "upgreen")
DOWN_COLOURS = (
    "downblack", "downwhite", "downpink", "downpurple", "downyellow",
    "downgray", "downblue", "downgreen", "downbrown",
)  # fmt: skip
# The order of the fields differs between the two halves of the real annotation, so readers must go by name.
FIELDS: dict[str, tuple[str, ...]] = {
    "train": (
        "age", "backpack", "bag", "handbag", "downblack", "downblue", "downbrown", "downgray", "downgreen",
        "downpink", "downpurple", "downwhite", "downyellow", "upblack", "upblue", "upgreen", "upgray",
        "uppurple", "upred", "upwhite", "upyellow", "clothes", "down", "up", "hair", "hat", "gender",
    ),
    "test": (
        "age", "backpack", "bag", "handbag", "clothes", "down", "up", "hair", "hat", "gender",
        *UP_COLOURS, *DOWN_COLOURS,
    ),
}  # fmt: skip

# How many of the 751 + 750 people of Market-1501 carry each combination, table by table: the columns that are filled
# are joint (values in its 1/2 coding; elder is 2 for adult and old; carried is nothing 0, backpack 1, bag 2, handbag 3,
# and nobody has two; upper and lower are places in UP_COLOURS and DOWN_COLOURS, or after them for several colours).
# These joint counts keep the strongest co-occurrences: gender with hair, dress, bag and colours; age with hair, length
# of the clothes and what is carried.
COUNTS = pd.read_csv(Path(__file__).with_name("counts.csv"))
# The lowest hue, saturation and value of each colour word, then the highest; far enough apart for six cameras.
HSV = pd.read_csv(Path(__file__).with_name("colours.csv"), index_col="colour").T.to_dict("list")
SKIN = ("#f2d3bb", "#e8bf9f", "#dcae8c", "#cf9b76", "#b98259", "#8f5d3d")
DARK_HAIR = ("#15110f", "#1d1613", "#2b1d15", "#3b2618", "#4d3220", "#6b4525")
GRAY_HAIR = ("#b9b7b3", "#d8d6d2", "#8f8d8a")

Annotation = Mapping[str, int]  # the 27 fields of one person


def spread(chances: np.ndarray, rng: np.random.Generator, strata: np.ndarray) -> np.ndarray:
    """Draw one class a person so that every class count stays within about one of its expectation.

    This is error diffusion over the people, ordered by stratum and shuffled inside it. Each person adds their chances
    (N, C) to what every class is owed, and takes the class owed most. Independent draws would leave a class of
    1 % out of small sets and miss the real shares by several points in full ones.
    """
    order = np.lexsort((rng.random(len(chances)), strata))
    owed = rng.uniform(-0.25, 0.25, chances.shape[1])
    drawn = np.zeros(len(chances), dtype=np.int64)
    for person in order:
        owed += chances[person]
        drawn[person] = int(np.argmax(np.where(chances[person] > 0, owed, -np.inf)))
        owed[drawn[person]] -= 1.0
    return drawn


def _assign(people: pd.DataFrame, counts: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """The columns of `counts` that people lack, drawn by quota within the strata of those they have."""
    given = [name for name in counts if name in people]
    drawn = [name for name in counts if name not in [*given, "count"]]
    classes = counts.pivot_table("count", given, drawn, aggfunc="sum", fill_value=0)
    strata = classes.index.get_indexer(people.set_index(given).index)
    weights = classes.to_numpy(dtype=float)[strata]
    chances = weights / weights.sum(axis=1, keepdims=True)
    # Raised to one person where a class is possible at all, so that small sets keep the rare ones.
    chances = np.where(chances > 0, np.maximum(chances, 0.6 / len(people)), 0.0)
    chosen = spread(chances / chances.sum(axis=1, keepdims=True), rng, strata)
    return classes.columns.to_frame(index=False).iloc[chosen].reset_index(drop=True)


def annotations(n_ids: int, rng: np.random.Generator, split: Split = "train", power: float = 1.0) -> pd.DataFrame:
    """The 27 fields of the Market-1501 annotation for `n_ids` people, in its 1/2 coding (age 1..4).

    Counts are raised to `power`: 1 keeps the real imbalance, below 1 the rare is less rare.
    """
    people = pd.DataFrame({"split": [split] * n_ids})
    half = COUNTS[COUNTS["split"] == split]
    for _, counts in half.assign(count=half["count"] ** power).groupby("table", sort=False):
        counts = counts.drop(columns="table").dropna(axis=1)
        people = people.join(_assign(people, counts, rng))
    table = {
        "age": people["age"],
        **{name: (people["carried"] == i + 1) + 1 for i, name in enumerate(("backpack", "bag", "handbag"))},
        **people[["clothes", "down", "up", "hair", "hat", "gender"]],
        **{name: (people["upper"] == i) + 1 for i, name in enumerate(UP_COLOURS)},
        **{name: (people["lower"] == i) + 1 for i, name in enumerate(DOWN_COLOURS)},
    }
    return pd.DataFrame(table).astype(np.uint8)


def colour(word: str, rng: np.random.Generator) -> str:
    """One shade of a colour word."""
    hue, saturation, value = rng.uniform(HSV[word][:3], HSV[word][3:])
    return to_hex(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def shade(base: str, amount: float) -> str:
    """The same colour lighter (amount > 0) or darker (amount < 0)."""
    rgb = np.array(to_rgb(base))
    red, green, blue = np.clip(rgb + (1 - rgb) * amount if amount > 0 else rgb * (1 + amount), 0, 1)
    return to_hex((red, green, blue))


def _contrast(base: str, rng: np.random.Generator) -> str:
    """A second colour that does not change which colour word names the garment: a shade, or white or black."""
    luminance = np.array(to_rgb(base)) @ [0.3, 0.59, 0.11]
    if rng.random() < 0.5:
        return shade(base, -0.5 if luminance > 0.45 else 0.45)
    return colour("black" if luminance > 0.5 else "white", rng)


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    share = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=share / share.sum()))


def _garment(
    row: Annotation, fields: Sequence[str], weights: Mapping[str, float], rng: np.random.Generator
) -> tuple[str, list[str]]:
    """Pattern and three colours of a garment; none of the fields marked means strongly multi-coloured."""
    word = next((name.removeprefix("up").removeprefix("down") for name in fields if row[name] == 2), None)
    if word is None:
        words = list(rng.permutation(["red", "yellow", "blue", "green", "white", "purple", "black", "orange"])[:3])
        return _pick(rng, {"patches": 0.45, "bands": 0.35, "checks": 0.2}), [colour(w, rng) for w in words]
    base = colour(word, rng)
    second = _contrast(base, rng)
    third = colour(str(rng.choice(["red", "yellow", "blue", "white", "black", "orange", "green"])), rng)
    return _pick(rng, weights), [base, second, third]


def _upper(row: Annotation, rng: np.random.Generator) -> tuple[str, list[str]]:
    elder, woman = row["age"] >= 3, row["gender"] == 2
    weights = {
        "plain": 0.14, "hoops": 0.16, "stripes": 0.08, "checks": 0.10, "dots": 0.10 if woman else 0.03,
        "print": 0.05 if elder else 0.24, "yoke": 0.10, "shirt": 0.30 if elder else 0.05, "open": 0.08,
    }  # fmt: skip
    return _garment(row, UP_COLOURS, weights, rng)


def _lower(row: Annotation, rng: np.random.Generator) -> tuple[str, list[str]]:
    if row["clothes"] == 1:
        weights = {"plain": 0.3, "dots": 0.2, "hoops": 0.15, "checks": 0.15, "yoke": 0.12, "stripes": 0.08}
    else:
        denim = 0.7 if 2 in (row["downblue"], row["downgray"], row["downblack"]) else 0.0
        weights = {"plain": 0.30, "denim": denim, "piping": 0.18, "checks": 0.12, "stripes": 0.06}
    return _garment(row, DOWN_COLOURS, weights, rng)


def _hair(row: Annotation, rng: np.random.Generator) -> tuple[str, str]:
    woman, old = row["gender"] == 2, row["age"] == 4
    if row["hair"] == 2:
        style = _pick(rng, {"loose": 0.4, "ponytail": 0.35, "long": 0.25})
    elif woman:
        style = _pick(rng, {"bob": 0.55, "bun": 0.25, "parted": 0.2})
    else:
        bald = 0.35 if old else 0.12 if row["age"] == 3 else 0.0
        style = _pick(rng, {"crop": 0.5, "parted": 0.5, "bald": bald})
    tones, weights = (GRAY_HAIR, [0.4, 0.4, 0.2]) if old else (DARK_HAIR, [0.28, 0.26, 0.18, 0.12, 0.08, 0.08])
    return style, shade(str(rng.choice(tones, p=weights)), rng.uniform(-0.15, 0.1))


def _cues(row: Annotation, rng: np.random.Generator) -> dict[str, object]:
    """Everything about one person that no attribute names, drawn to agree with the attributes."""
    woman, child, elder, old = row["gender"] == 2, row["age"] == 1, row["age"] >= 3, row["age"] == 4
    upper_pattern, upper = _upper(row, rng)
    lower_pattern, lower = _lower(row, rng)
    one_piece = row["clothes"] == 1 and rng.random() < 0.3
    hair_style, hair = _hair(row, rng)
    things = ["black", "red", "blue", "brown", "gray", "green", "pink", "yellow", "white", "purple"]
    likely = np.array([0.28, 0.13, 0.14, 0.15, 0.08, 0.06, 0.06, 0.04, 0.03, 0.03])
    stature = 1.18 if child else rng.normal(1.61, 0.05) if woman else rng.normal(1.73, 0.06)
    shoe_words = ["black", "white", "gray", "red", "blue", "brown", "green", "yellow", "pink"]
    shoe = colour(str(rng.choice(shoe_words, p=[0.26, 0.22, 0.1, 0.1, 0.1, 0.1, 0.04, 0.04, 0.04])), rng)
    kinds = {"sneaker": 0.6, "sandal": 0.15, "boot": 0.08, "pump": 0.17 if woman else 0.0}
    if row["handbag"] == 2:  # small and low: it has to catch the eye
        likely = np.array([0.08, 0.24, 0.10, 0.14, 0.02, 0.08, 0.14, 0.10, 0.06, 0.04])
    carried = colour(str(rng.choice(things, p=likely)), rng)
    return {
        "height": stature + rng.uniform(-0.06, 0.06) * child - 0.04 * old,
        "build": float(np.clip(rng.normal(0.45 if elder else -0.1, 0.45), -1, 1.2)),
        "shoulders": float(np.clip(rng.normal(0, 0.6), -1.2, 1.2)),
        "legginess": float(np.clip(rng.normal(0, 0.6), -1.2, 1.2)),
        "head": float(np.clip(rng.normal(0, 0.5), -1, 1)),
        "skin": shade(str(rng.choice(SKIN, p=[0.18, 0.3, 0.24, 0.14, 0.08, 0.06])), rng.uniform(-0.08, 0.05)),
        "hair_style": hair_style,
        "hair_colour": hair,
        "hair_length": rng.uniform(0, 1),
        "hat_style": _pick(rng, {"cap": 0.45, "sunhat": 0.3 if woman else 0.08, "beanie": 0.1, "bucket": 0.15}),
        "hat_colour": colour(str(rng.choice(["red", "blue", "white", "orange", "yellow", "pink", "green"])), rng),
        "glasses": bool(rng.random() < 0.16),
        "up_pattern": upper_pattern,
        **{f"up_{i}": c for i, c in enumerate(upper)},
        "up_scale": rng.uniform(0, 1),
        "up_phase": rng.uniform(0, 1),
        "sleeve": rng.uniform(0, 1),
        "sleeve_tone": _contrast(upper[0], rng) if rng.random() < 0.16 else upper[0],
        "tucked": bool(rng.random() < (0.35 if elder or woman else 0.12)),
        "hem": rng.uniform(0, 1),
        "loose": rng.uniform(0, 1),
        "down_pattern": upper_pattern if one_piece and lower_pattern == "plain" else lower_pattern,
        **{f"down_{i}": c for i, c in enumerate(lower)},
        "down_scale": rng.uniform(0, 1),
        "down_phase": rng.uniform(0, 1),
        "length": rng.uniform(0, 1),
        "flare": rng.uniform(0, 1),
        "shoe_style": _pick(rng, kinds),
        "shoe_colour": shoe,
        "sole_colour": colour("white", rng) if rng.random() < 0.55 else shade(shoe, -0.4),
        "socks": colour("white" if rng.random() < 0.6 else "black", rng) if rng.random() < 0.3 else "",
        "bag_colour": carried,
        "bag_second": colour(str(rng.choice(things, p=likely)), rng) if rng.random() < 0.5 else shade(carried, -0.35),
        "bag_size": rng.uniform(0, 1),
        "side": 1 if rng.random() < 0.5 else -1,
        "stride": float(np.clip(rng.normal(0.9 if old else 1.0, 0.15), 0.5, 1.3)) * (0.6 if old else 1.0),
        "stoop": rng.uniform(0.26, 0.42) if old else rng.uniform(-0.01, 0.07),
        "cane": bool(old and rng.random() < 0.5),
    }


def population(n_ids: int, seed: int, split: Split = "train", power: float = 1.0) -> pd.DataFrame:
    """People: one row a person, Market-1501's fields first, then hidden identity cues.

    `split` chooses whose statistics are followed, those of the real training or of the real test identities; `power`
    how closely (see `annotations`).
    """
    half = ("train", "test").index(split)
    table = annotations(n_ids, np.random.default_rng([seed, 101, half]), split, power)
    cues = [_cues(row, np.random.default_rng([seed, 102, half, i])) for i, row in enumerate(table.to_dict("records"))]
    return pd.concat([table, pd.DataFrame(cues)], axis=1)
