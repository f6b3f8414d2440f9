"""Who the synthetic people are: attributes with Market-1501's imbalance, and cues that no attribute names."""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

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

# How many of the 751 + 750 people of Market-1501 carry each combination (values in its 1/2 coding; elder is 2
# for adult and old). These joint counts keep the strongest co-occurrences: gender with hair, dress, bag and
# colours; age with hair, length of the clothes and what is carried.
Counts = dict[tuple[int, ...], int]
LOOKS: dict[str, Counts] = {  # gender, age, hair
    "train": {
        (1, 1, 1): 8, (1, 2, 1): 310, (1, 2, 2): 5, (1, 3, 1): 101, (1, 4, 1): 7, (2, 1, 1): 2,
        (2, 1, 2): 4, (2, 2, 1): 50, (2, 2, 2): 204, (2, 3, 1): 27, (2, 3, 2): 32, (2, 4, 1): 1,
    },
    "test": {
        (1, 1, 1): 2, (1, 2, 1): 345, (1, 3, 1): 65, (1, 4, 1): 2, (2, 2, 1): 40,
        (2, 2, 2): 255, (2, 3, 1): 18, (2, 3, 2): 20, (2, 4, 1): 3,
    },
}  # fmt: skip
LEGS: dict[str, Counts] = {  # gender, elder, clothes, down
    "train": {
        (1, 1, 2, 1): 100, (1, 1, 2, 2): 223, (1, 2, 2, 1): 90, (1, 2, 2, 2): 18, (2, 1, 1, 1): 12,
        (2, 1, 1, 2): 78, (2, 1, 2, 1): 60, (2, 1, 2, 2): 110, (2, 2, 1, 1): 3, (2, 2, 1, 2): 17,
        (2, 2, 2, 1): 29, (2, 2, 2, 2): 11,
    },
    "test": {
        (1, 1, 2, 1): 101, (1, 1, 2, 2): 246, (1, 2, 2, 1): 62, (1, 2, 2, 2): 5, (2, 1, 1, 1): 8,
        (2, 1, 1, 2): 62, (2, 1, 2, 1): 72, (2, 1, 2, 2): 153, (2, 2, 1, 1): 2, (2, 2, 1, 2): 13,
        (2, 2, 2, 1): 17, (2, 2, 2, 2): 9,
    },
}  # fmt: skip
SLEEVES: dict[str, Counts] = {  # gender, elder, up
    "train": {
        (1, 1, 1): 9, (1, 1, 2): 314, (1, 2, 1): 2, (1, 2, 2): 106,
        (2, 1, 1): 23, (2, 1, 2): 237, (2, 2, 1): 5, (2, 2, 2): 55,
    },
    "test": {
        (1, 1, 1): 10, (1, 1, 2): 337, (1, 2, 1): 2, (1, 2, 2): 65,
        (2, 1, 1): 28, (2, 1, 2): 267, (2, 2, 1): 5, (2, 2, 2): 36,
    },
}  # fmt: skip
CARRY: dict[str, Counts] = {  # gender, elder, nothing 0 | backpack 1 | bag 2 | handbag 3 (nobody has two)
    "train": {
        (1, 1, 0): 143, (1, 1, 1): 122, (1, 1, 2): 33, (1, 1, 3): 25, (1, 2, 0): 54, (1, 2, 1): 6,
        (1, 2, 2): 30, (1, 2, 3): 18, (2, 1, 0): 68, (2, 1, 1): 69, (2, 1, 2): 99, (2, 1, 3): 24,
        (2, 2, 0): 16, (2, 2, 1): 2, (2, 2, 2): 23, (2, 2, 3): 19,
    },
    "test": {
        (1, 1, 0): 159, (1, 1, 1): 122, (1, 1, 2): 51, (1, 1, 3): 15, (1, 2, 0): 34, (1, 2, 1): 1,
        (1, 2, 2): 17, (1, 2, 3): 15, (2, 1, 0): 99, (2, 1, 1): 63, (2, 1, 2): 99, (2, 1, 3): 34,
        (2, 2, 0): 10, (2, 2, 1): 1, (2, 2, 2): 18, (2, 2, 3): 12,
    },
}  # fmt: skip
HATS: dict[str, Counts] = {  # gender, hat
    "train": {(1, 1): 424, (1, 2): 7, (2, 1): 307, (2, 2): 13},
    "test": {(1, 1): 406, (1, 2): 8, (2, 1): 321, (2, 2): 15},
}
UPPER: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {  # gender -> UP_COLOURS, then multi-colour
    "train": {(1,): (69, 115, 38, 15, 23, 62, 35, 35, 39), (2,): (44, 113, 40, 15, 13, 24, 11, 21, 39)},
    "test": {(1,): (63, 99, 35, 16, 36, 69, 39, 21, 36), (2,): (46, 109, 41, 8, 25, 37, 13, 24, 33)},
}
LOWER: dict[str, dict[tuple[int, ...], tuple[int, ...]]] = {  # gender, clothes -> DOWN_COLOURS, then multi
    "train": {
        (1, 2): (185, 24, 2, 0, 0, 89, 68, 5, 46, 12),
        (2, 1): (28, 22, 15, 0, 8, 8, 11, 5, 4, 9),
        (2, 2): (80, 12, 12, 2, 2, 26, 44, 4, 19, 9),
    },
    "test": {
        (1, 2): (180, 15, 4, 0, 0, 99, 67, 7, 34, 8),
        (2, 1): (19, 16, 9, 0, 1, 9, 6, 4, 4, 17),
        (2, 2): (88, 19, 7, 0, 0, 18, 81, 9, 10, 19),
    },
}

# Hue, saturation and value ranges of each colour word, far enough apart to be told in six cameras.
HSV: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "black": ((0.0, 1.0), (0.0, 0.20), (0.07, 0.15)),
    "white": ((0.0, 1.0), (0.0, 0.06), (0.86, 0.97)),
    "gray": ((0.0, 1.0), (0.0, 0.08), (0.40, 0.58)),
    "red": ((0.975, 1.02), (0.72, 0.90), (0.62, 0.86)),
    "pink": ((0.92, 0.965), (0.32, 0.52), (0.86, 0.97)),
    "purple": ((0.76, 0.83), (0.45, 0.68), (0.36, 0.58)),
    "yellow": ((0.125, 0.16), (0.62, 0.88), (0.82, 0.96)),
    "blue": ((0.585, 0.655), (0.50, 0.85), (0.34, 0.74)),
    "green": ((0.29, 0.42), (0.45, 0.78), (0.32, 0.60)),
    "brown": ((0.065, 0.095), (0.42, 0.62), (0.32, 0.56)),
    "orange": ((0.06, 0.085), (0.78, 0.92), (0.85, 0.95)),
}
SKIN = ("#f2d3bb", "#e8bf9f", "#dcae8c", "#cf9b76", "#b98259", "#8f5d3d")
DARK_HAIR = ("#15110f", "#1d1613", "#2b1d15", "#3b2618", "#4d3220", "#6b4525")
GRAY_HAIR = ("#b9b7b3", "#d8d6d2", "#8f8d8a")

# Ways a material is patterned; the renderer evaluates them at every visible point of a garment.
PATTERNS = (
    "plain", "hoops", "stripes", "checks", "dots", "print", "yoke", "patches", "bands",
    "open", "shirt", "denim", "piping", "face", "goods",
)  # fmt: skip
HAIR_STYLES = ("crop", "parted", "bob", "bald", "loose", "ponytail", "bun", "long")
HAT_STYLES = ("cap", "sunhat", "beanie", "bucket")
SHOE_STYLES = ("sneaker", "sandal", "boot", "pump")


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


def conditional(counts: Mapping[tuple[int, ...], int], given: np.ndarray) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Classes, and the chance (N, C) of each one for people with the values `given` (N, K) of the first K keys."""
    known = given.shape[1]
    classes = sorted({key[known:] for key in counts})
    weights = np.array([[counts.get((*map(int, row), *c), 0) for c in classes] for row in given], dtype=float)
    return classes, weights / weights.sum(axis=1, keepdims=True)


def _present(chances: np.ndarray) -> np.ndarray:
    """Chances raised to one person where a class is possible at all, so that small sets keep the rare ones."""
    raised = np.where(chances > 0, np.maximum(chances, 0.6 / len(chances)), 0.0)
    return raised / raised.sum(axis=1, keepdims=True)


def _assign(counts: Counts, given: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Values (N, V) of the remaining attributes of `counts`, drawn by quota within the strata of `given`."""
    classes, chances = conditional(counts, given)
    strata = np.zeros(len(given), dtype=np.int64)
    for column in given.T:
        strata = strata * 16 + column
    return np.array(classes)[spread(_present(chances), rng, strata)]


def _colours(table: Mapping[tuple[int, ...], Sequence[int]], given: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    counts = {(*key, i): n for key, row in table.items() for i, n in enumerate(row)}
    return _assign(counts, given, rng)[:, 0]


def attributes(n_ids: int, rng: np.random.Generator, split: Split = "train") -> pd.DataFrame:
    """The 27 fields of the Market-1501 annotation for `n_ids` people, in its 1/2 coding (age 1..4)."""
    looks = _assign(LOOKS[split], np.zeros((n_ids, 0), dtype=np.int64), rng)
    gender, age, hair = looks.T
    elder = np.where(age >= 3, 2, 1)
    who = np.stack([gender, elder], axis=1)
    clothes, down = _assign(LEGS[split], who, rng).T
    carry = _assign(CARRY[split], who, rng)[:, 0]
    upper = _colours(UPPER[split], gender[:, None], rng)
    lower = _colours(LOWER[split], np.stack([gender, clothes], axis=1), rng)
    table = {
        "age": age,
        **{name: (carry == i + 1) + 1 for i, name in enumerate(("backpack", "bag", "handbag"))},
        "clothes": clothes,
        "down": down,
        "up": _assign(SLEEVES[split], who, rng)[:, 0],
        "hair": hair,
        "hat": _assign(HATS[split], gender[:, None], rng)[:, 0],
        "gender": gender,
        **{name: (upper == i) + 1 for i, name in enumerate(UP_COLOURS)},
        **{name: (lower == i) + 1 for i, name in enumerate(DOWN_COLOURS)},
    }
    return pd.DataFrame(table).astype(np.uint8)


def hexa(rgb: Sequence[float]) -> str:
    """`#rrggbb` of three numbers in 0..1."""
    return "#" + "".join(f"{round(255 * min(max(c, 0.0), 1.0)):02x}" for c in rgb)


def unhexa(colours: Sequence[str]) -> np.ndarray:
    """(N, 3) in 0..1 of N strings `#rrggbb`."""
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], dtype=float).reshape(-1, 3) / 255


def colour(word: str, rng: np.random.Generator) -> str:
    """One shade of a colour word."""
    hue, saturation, value = (rng.uniform(*span) for span in HSV[word])
    return hexa(colorsys.hsv_to_rgb(hue % 1.0, saturation, value))


def shade(base: str, amount: float) -> str:
    """The same colour lighter (amount > 0) or darker (amount < 0)."""
    rgb = unhexa([base])[0]
    return hexa(rgb + (1 - rgb) * amount if amount > 0 else rgb * (1 + amount))


def _contrast(base: str, rng: np.random.Generator) -> str:
    """A second colour that does not change which colour word names the garment: a shade, or white or black."""
    luminance = float(unhexa([base])[0] @ [0.3, 0.59, 0.11])
    if rng.random() < 0.5:
        return shade(base, -0.5 if luminance > 0.45 else 0.45)
    return colour("black" if luminance > 0.5 else "white", rng)


def _word(row: pd.Series, fields: Sequence[str], prefix: str) -> str | None:
    marked = [name.removeprefix(prefix) for name in fields if row[name] == 2]
    return marked[0] if marked else None


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    share = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=share / share.sum()))


def _garment(word: str | None, weights: Mapping[str, float], rng: np.random.Generator) -> tuple[str, list[str]]:
    """Pattern and three colours of a garment; no colour word means strongly multi-coloured."""
    if word is None:
        words = list(rng.permutation(["red", "yellow", "blue", "green", "white", "purple", "black", "orange"])[:3])
        return _pick(rng, {"patches": 0.45, "bands": 0.35, "checks": 0.2}), [colour(w, rng) for w in words]
    base = colour(word, rng)
    second = _contrast(base, rng)
    third = colour(str(rng.choice(["red", "yellow", "blue", "white", "black", "orange", "green"])), rng)
    return _pick(rng, weights), [base, second, third]


def _upper(row: pd.Series, rng: np.random.Generator) -> tuple[str, list[str]]:
    elder, woman = row["age"] >= 3, row["gender"] == 2
    weights = {
        "plain": 0.14, "hoops": 0.16, "stripes": 0.08, "checks": 0.10, "dots": 0.10 if woman else 0.03,
        "print": 0.05 if elder else 0.24, "yoke": 0.10, "shirt": 0.30 if elder else 0.05, "open": 0.08,
    }  # fmt: skip
    return _garment(_word(row, UP_COLOURS, "up"), weights, rng)


def _lower(row: pd.Series, rng: np.random.Generator) -> tuple[str, list[str]]:
    word = _word(row, DOWN_COLOURS, "down")
    denim = 0.7 if word in ("blue", "gray", "black") and row["clothes"] == 2 else 0.0
    weights = {"plain": 0.30, "denim": denim, "piping": 0.18, "checks": 0.12, "stripes": 0.06}
    if row["clothes"] == 1:
        weights = {"plain": 0.3, "dots": 0.2, "hoops": 0.15, "checks": 0.15, "yoke": 0.12, "stripes": 0.08}
    return _garment(word, weights, rng)


def _hair(row: pd.Series, rng: np.random.Generator) -> tuple[str, str]:
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


def _cues(row: pd.Series, rng: np.random.Generator) -> dict[str, object]:
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


def population(n_ids: int, seed: int, split: Split = "train") -> pd.DataFrame:
    """People: one row a person, Market-1501's fields first, then hidden identity cues.

    `split` chooses whose statistics are followed, those of the real training or of the real test identities.
    """
    half = ("train", "test").index(split)
    table = attributes(n_ids, np.random.default_rng([seed, 101, half]), split)
    cues = [_cues(row, np.random.default_rng([seed, 102, half, i])) for i, row in table.iterrows()]
    return pd.concat([table, pd.DataFrame(cues)], axis=1)
