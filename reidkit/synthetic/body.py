"""Bodies, clothes and things as analytic primitives, posed by a gait phase; lengths in metres.

A person stands at the origin, y up, facing +z, with their left hand at +x. Every primitive is a canonical solid
(round cone, capped cone or box) under an affine map, so that a limb, a flat chest, a skull and a tote bag are
the same few formulas. All arrays are float64 on the host with one entry an actor; the renderer quantises them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_rgba_array

from .textures import PATTERNS

Array = np.ndarray
Number = float | Array  # one for all actors, or (N,)
Texture = tuple[Array, Array, Number]
Cues = Mapping[str, Array]
PARTS = {
    "background": 0, "skin": 1, "hair": 2, "hat": 3, "upper": 4, "lower": 5, "shoes": 6, "backpack": 7, "bag": 8,
    "handbag": 9, "occluder": 10,
}  # fmt: skip
# Every material: the part it belongs to where nothing else is said, the cue that colours it, its gloss and folds.
MATERIALS = pd.read_csv(Path(__file__).with_name("materials.csv")).set_index("material")
ROUND, CAPPED, BOX = 0, 1, 2


def vec(x: Number, y: Number, z: Number) -> Array:
    """(3,) of three numbers, or (N, 3) if one of them is an array."""
    return np.stack(np.broadcast_arrays(*(np.asarray(c, dtype=float) for c in (x, y, z))), axis=-1)


def unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def col(x: Number) -> Array:
    return np.asarray(x, dtype=float)[..., None]


def toward(a: Array, b: Array, share: Number) -> Array:
    """Points (N, 3) at a share of the way from a to b, beyond b if it is above 1."""
    return a + col(share) * (b - a)


def within(frame: Array, x: Number, y: Number, z: Number) -> Array:
    """World vectors (N, 3) of the coordinates x, y, z along the rows of frames (N, 3, 3)."""
    return np.einsum("nij,ni->nj", frame, vec(x, y, z) * np.ones((len(frame), 1)))


@dataclass
class Solids:
    """N primitives as flat arrays: q = (frame @ (p - origin)) / scale is the canonical space of each.

    frame (N, 3, 3) rows are unit axes, the second along the solid; scale (N, 3); shape (N, 3) = length and the
    two end radii; texture (N, 3, 3) and anchor (N, 3) give the coordinates in which patterns are drawn, and
    quarter (N,) a quarter of the way around, in body heights.
    """

    kind: Array
    origin: Array
    frame: Array
    scale: Array
    shape: Array
    texture: Array
    anchor: Array
    quarter: Array
    material: Array
    part: Array
    actor: Array

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, which: Array) -> "Solids":
        return Solids(**{name: value[which] for name, value in vars(self).items()})

    def moved(self, rotation: Array, shift: Number = 0.0) -> "Solids":
        """Each solid turned by its rotation (N, 3, 3), then shifted by (N, 3)."""
        origin, anchor = ((rotation @ points[..., None])[..., 0] + shift for points in (self.origin, self.anchor))
        back = np.swapaxes(rotation, -1, -2)
        return replace(self, origin=origin, anchor=anchor, frame=self.frame @ back, texture=self.texture @ back)

    def extent(self) -> tuple[Array, Array]:
        """Lower and upper corners (N, 3) of a box around each solid."""
        spread = np.swapaxes(self.frame, -1, -2) * self.scale[:, None, :]
        boxed = (self.kind == BOX)[:, None]
        size = np.where(boxed, np.abs(spread).sum(-1), np.linalg.norm(spread, axis=-1))
        near, far = (size * np.where(boxed, 1.0, self.shape[:, [k]]) for k in (1, 2))
        end = self.origin + self.frame[:, 1] * (self.scale[:, 1] * self.shape[:, 0])[:, None]
        return np.minimum(self.origin - near, end - far), np.maximum(self.origin + near, end + far)


def join(parts: list[Solids]) -> Solids:
    return Solids(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


@dataclass(frozen=True)
class Builder:
    """Collects primitives of N actors at once; builders made from another by `of` and `only` add to the same list."""

    n: int
    material: str = "skin"
    part: str | None = None  # None: the one the material belongs to
    where: Array | bool = True  # (N,) who has the thing
    side: Array | None = None  # (N, 3) where the sections of limbs are wider; None: the left of the world
    frame: Array = field(default_factory=lambda: np.eye(3))  # rows: the axes of balls and boxes
    texture: Texture | None = None  # axes (N, 3, 3), anchor (N, 3) and quarter; None: each solid's own
    collected: list[tuple[Array, Solids]] = field(default_factory=list)

    def of(self, material: str, **options: Any) -> "Builder":
        """For another material, and other options."""
        return replace(self, material=material, **options)

    def only(self, who: Array) -> "Builder":
        """Leaves those out who are not `who` (N,)."""
        return replace(self, where=np.asarray(self.where & who, dtype=bool))

    def _add(self, kind: int, origin: Array, frame: Array, scale: Array, shape: Array) -> None:
        """One primitive an actor."""
        frame = np.broadcast_to(frame, (self.n, 3, 3))
        scale, shape = np.broadcast_to(scale, (self.n, 3)), np.broadcast_to(shape, (self.n, 3))
        around = np.pi / 8 * (shape[:, 1] + shape[:, 2]) * (scale[:, 0] + scale[:, 2])
        axes, anchor, quarter = self.texture or (frame, origin, around)
        part = PARTS[self.part or MATERIALS["part"][self.material]]
        numbers = (quarter, MATERIALS.index.get_loc(self.material), part, np.arange(self.n))
        each = (np.broadcast_to(number, (self.n,)) for number in numbers)
        solids = Solids(np.full(self.n, kind), origin, frame, scale, shape, axes, anchor, *each)
        self.collected.append((np.broadcast_to(self.where, (self.n,)), solids))

    def limb(self, a: Array, b: Array, ra: Number, rb: Number, wide: Number = 1.0, kind: int = ROUND) -> None:
        """Tapered capsule (or capped cone) from a to b; its section is `wide` times broader along `side`."""
        y = unit(b - a)
        x = np.array([1.0, 0.0, 0.0]) if self.side is None else self.side
        x = x - y * np.sum(x * y, axis=-1, keepdims=True)
        x = unit(np.where(np.linalg.norm(x, axis=-1, keepdims=True) < 1e-3, np.array([0.0, 0.0, 1.0]), x))
        frame = np.stack([x, y, np.cross(x, y)], axis=1)
        self._add(kind, a, frame, vec(wide, 1.0, 1.0), vec(np.linalg.norm(b - a, axis=-1), ra, rb))

    def cone(self, a: Array, b: Array, ra: Number, rb: Number, wide: Number = 1.0) -> None:
        """Flat-ended cone, for hems, skirts, trouser legs and tote bags."""
        self.limb(a, b, ra, rb, wide, CAPPED)

    def ball(self, centre: Array, radii: Array) -> None:
        """Ellipsoid with radii (N, 3) along the rows of `frame`."""
        self._add(ROUND, centre, self.frame, radii, np.array([0.0, 1.0, 1.0]))

    def box(self, centre: Array, half: Array) -> None:
        """Cuboid with half sizes (N, 3) along the rows of `frame`."""
        self._add(BOX, centre, self.frame, half, np.array([0.0, 1.0, 1.0]))

    def solids(self) -> Solids:
        """Everything collected, primitive by primitive of actor 0, then of actor 1, ..."""
        keep = np.stack([where for where, _ in self.collected], axis=1)
        names = Solids.__dataclass_fields__
        return Solids(**{n: np.stack([getattr(solid, n) for _, solid in self.collected], 1)[keep] for n in names})


def cues(people: pd.DataFrame) -> dict[str, Array]:
    """Columns of a population as arrays, colours as (N, 3), and who is a woman, a child, an elder, old."""
    out: dict[str, Array] = {}
    for name, column in people.items():
        values = column.to_numpy()
        if len(values) and isinstance(values[0], str) and all(v == "" or v.startswith("#") for v in values):
            out[str(name)] = to_rgba_array([v or "#808080" for v in values])[:, :3]
            out[f"has_{name}"] = np.array([v != "" for v in values])
        else:
            out[str(name)] = values
    age = out["age"]
    return out | {"woman": out["gender"] == 2, "child": age == 1, "elder": age >= 3, "old": age == 4}


@dataclass(frozen=True)
class Skeleton:
    """Joints (N, 3) of posed actors in units of standing height, and the frames their parts turn with."""

    torso: Array  # (N, 3, 3) rows: left, up along the spine, forward
    pelvis: Array
    hip: Array  # height of the hips above the floor
    shoulder: Array  # height above the hips along the spine
    width: Array  # half the distance of the shoulder joints
    skull: Array
    skull_frame: Array
    head: Array  # height of the head, chin to crown
    legs: tuple[tuple[Array, Array, Array, Array], ...]  # hip, knee, ankle, toe; left then right
    arms: tuple[tuple[Array, Array, Array], ...]  # shoulder, elbow, wrist
    girth: Array

    def at(self, x: Number, y: Number, z: Number) -> Array:
        """Point at (left, up, forward) of the pelvis in the frame of the torso."""
        return self.pelvis + within(self.torso, x, y, z)

    def head_at(self, x: Number, y: Number, z: Number) -> Array:
        """Point at (left, up, forward) of the middle of the head, in heads."""
        return self.skull + within(self.skull_frame, *(c * self.head for c in (x, y, z)))

    def heads(self, x: Number, y: Number, z: Number) -> Array:
        """Radii (N, 3) of a ball, in heads."""
        return vec(x, y, z) * col(self.head)


def _swing(a: Array, length: Number, origin: Array, out: Number = 0.0) -> Array:
    """End of a bone that hangs from `origin`, swung forward by angle a and sideways by `out`."""
    return origin + col(length) * vec(np.sin(out), -np.cos(a) * np.cos(out), np.sin(a) * np.cos(out))


def skeleton(p: Cues, gait: Array, pace: Array) -> Skeleton:
    """Joints of people with cues p at gait phase `gait` (radians) walking with amplitude `pace` (0 stands)."""
    pace = pace * np.where(p["clothes"] == 1, 0.62, 1.0)  # skirts shorten the step
    woman, child, elder, old = p["woman"], p["child"], p["elder"], p["old"]
    head = np.where(child, 0.178, np.where(elder, 0.131, 0.136)) + 0.003 * p["head"]
    hip = np.where(child, 0.465, np.where(woman, 0.522, 0.512)) - 0.012 * elder + 0.010 * p["legginess"]
    width = np.where(child, 0.094, np.where(woman, 0.089, 0.107)) + 0.004 * p["shoulders"] + 0.003 * p["build"]
    girth = 1.0 + 0.10 * p["build"] - 0.05 * woman + 0.08 * child
    chin = 1.0 - head
    shoulder = chin - 0.048 - hip
    stoop = p["stoop"] + 0.03 * pace
    yaw = 0.16 * pace * np.sin(gait)
    up = vec(0.0, np.cos(stoop), np.sin(stoop))
    left = vec(np.cos(yaw), 0.0, -np.sin(yaw))
    left = unit(left - up * np.sum(left * up, axis=-1, keepdims=True))
    torso = np.stack([left, up, np.cross(left, up)], axis=1)

    thigh, shin, ankle_height = 0.478 * (hip - 0.04), 0.522 * (hip - 0.04), 0.04
    bones = []
    for side in (1, -1):
        phase = gait + (0.0 if side == 1 else np.pi)
        flex = (0.46 * np.sin(phase) + 0.06) * pace
        bend = 0.06 + pace * (0.10 + 0.85 * np.clip(np.cos(phase), 0, None) ** 2) + 0.12 * old
        joint = vec(side * np.where(woman, 0.050, 0.047) * girth, 0.0, 0.0)
        knee = _swing(flex, thigh, joint, -side * np.where(woman, 0.035, 0.0))
        ankle = _swing(flex - bend, shin, knee, side * np.where(woman, 0.02, 0.0))
        pitch = np.clip(0.55 * (flex - bend) + 0.12 * pace, -0.9, 0.35)
        toe = ankle + vec(side * 0.022, -0.019 + 0.092 * np.sin(pitch), 0.092 * np.cos(pitch))
        bones.append((joint, knee, ankle, toe))
    lowest = np.min([np.minimum(b[2][:, 1] - ankle_height, b[3][:, 1] - 0.017) for b in bones], axis=0)
    pelvis = vec(0.0, -lowest, 0.0)
    legs = tuple(tuple(j + pelvis for j in b) for b in bones)

    arms = []
    for side in (1, -1):
        swing = -0.50 * pace * np.sin(gait + (0.0 if side == 1 else np.pi)) * (1 - 0.3 * old)
        lift = 0.22 + 0.30 * pace * np.clip(swing, 0, None) + 0.25 * old
        joint = pelvis + within(torso, side * width, shoulder, 0.0)
        swing, lift, out = _carrying_arm(p, side, swing, lift)
        elbow = _swing(swing, 0.168, joint, side * out)
        wrist = _swing(swing + lift, 0.148, elbow, side * (out - 0.10))
        arms.append((joint, elbow, wrist))
    nod = 0.35 * p["stoop"]
    face_up = vec(0.0, np.cos(nod), np.sin(nod))
    face_up = unit(face_up - left * np.sum(left * face_up, -1, keepdims=True))
    skull_frame = np.stack([left, face_up, np.cross(left, face_up)], axis=1)
    neck = pelvis + within(torso, 0.0, chin - hip, 0.012)
    skull = neck + skull_frame[:, 1] * col(0.52 * head) + skull_frame[:, 2] * 0.010
    return Skeleton(torso, pelvis, hip, shoulder, width, skull, skull_frame, head, legs, tuple(arms), girth)


def _carrying_arm(p: Cues, side: int, swing: Array, lift: Array) -> tuple[Array, Array, Array]:
    """Swing, elbow bend and distance from the body of one arm, stilled by what its hand holds."""
    out = 0.13 + 0.05 * p["build"].clip(0, None)
    holds = (p["handbag"] == 2) & (p["side"] == side)
    crook = holds & (p["bag_size"] < 0.3)
    swing = np.where(holds, 0.2 * swing, swing)
    lift = np.where(crook, 1.7, np.where(holds, 0.08, lift))
    cane = p["cane"] & (p["side"] == -side)
    return np.where(cane, 0.45, swing), np.where(cane, 0.35, lift), np.where(holds, out + 0.06, out)


def person(p: Cues, gait: Array, pace: Array) -> Solids:
    """Primitives of N people, in units of their own height."""
    s = skeleton(p, gait, pace)
    b = Builder(len(s.hip))
    for add in (_legs, _pelvis, _torso, _arms, _head, _hat, _backpack, _shoulder_bag, _handbag, _cane):
        add(b, s, p)
    return b.solids()


def _legs(b: Builder, s: Skeleton, p: Cues) -> None:
    dress, short = p["clothes"] == 1, p["down"] == 2
    bare = b.of("skin").only(dress | short)
    trousers, shorts = b.of("lower").only(~dress & ~short), b.of("lower").only(~dress & short)
    fat = s.girth * np.where(p["woman"], 1.04, 1.0)
    baggy = 1.0 + 0.28 * p["loose"] * ~p["woman"] + 0.06
    reach = np.where(p["woman"], 0.42 + 0.45 * p["length"], 0.72 + 0.36 * p["length"])
    for hip, knee, ankle, toe in s.legs:
        thigh = toward(hip, knee, np.where(dress, 0.55, 0.3))
        bare.limb(thigh, knee, np.where(dress, 0.041, 0.045) * fat, 0.033 * fat)
        calf = toward(knee, ankle, 0.30) - np.array([0, 0, 0.006])
        bare.limb(knee, calf, 0.033 * fat, 0.0355 * fat)
        bare.limb(calf, ankle, 0.0355 * fat, 0.020)
        trousers.limb(hip, knee, 0.057 * fat, 0.039 * fat * baggy)
        cuff = toward(ankle, knee, 0.02 + 0.16 * (p["length"] < 0.15))
        trousers.limb(knee, toward(knee, cuff, 0.5), 0.039 * fat * baggy, 0.033 * fat * baggy)
        trousers.cone(knee, cuff, 0.038 * fat * baggy, (0.027 + 0.012 * p["flare"]) * baggy)
        end = toward(hip, knee, np.minimum(reach, 1.0)) + (ankle - knee) * col(np.maximum(reach - 1, 0))
        shorts.limb(hip, toward(hip, end, 0.45), 0.056 * fat, 0.053 * fat)
        shorts.cone(hip, end, 0.056 * fat, (0.047 + 0.014 * p["loose"]) * fat)
        _foot(b, p, knee, ankle, toe, dress | short)


def _foot(b: Builder, p: Cues, knee: Array, ankle: Array, toe: Array, bare: Array) -> None:
    sandal, boot, pump = (p["shoe_style"] == style for style in ("sandal", "boot", "pump"))
    shoes = b.of("shoes")
    heel = ankle + np.array([0, -0.020, -0.014])
    b.limb(ankle, toward(ankle, knee, 0.12), 0.022, 0.022)
    b.of("socks").only(p["has_socks"] & bare).limb(ankle, toward(ankle, knee, 0.24), 0.0255, 0.026)
    width = np.where(pump, 0.019, np.where(boot, 0.026, 0.0245))
    shoes.only(~sandal).limb(heel, toe, np.where(pump, 0.021, 0.025), width)
    b.only(sandal).limb(heel, toe, 0.020, 0.018)
    across = toward(heel, toe, 0.6) + np.array([0, 0.006, 0])
    shoes.only(sandal | pump).ball(across, vec(0.025, 0.019, 0.020))
    under = np.array([0, -0.013, 0.0])
    b.of("sole").limb(heel + under, toe + under, 0.0165, 0.016, wide=1.62)
    shoes.only(boot).cone(ankle + np.array([0, -0.01, 0]), toward(ankle, knee, 0.42), 0.028, 0.034)


def _spine(s: Skeleton) -> dict[str, Any]:
    """Options of what turns with the torso."""
    return {"side": s.torso[:, 0], "frame": s.torso, "texture": (s.torso, s.pelvis, 0.135)}


def _pelvis(b: Builder, s: Skeleton, p: Cues) -> None:
    lower, dress = b.of("lower", **_spine(s)), p["clothes"] == 1
    lower.limb(s.at(0, 0, 0), s.at(0, 0.075, 0.004), 0.060 * s.girth, 0.056 * s.girth, np.where(p["woman"], 1.62, 1.50))
    for side in (1, -1):
        lower.only(p["tucked"]).ball(s.at(side * 0.036, -0.004, -0.020), vec(0.044, 0.050, 0.042) * col(s.girth))
    long = dress & (p["down"] != 2)
    drop = np.where(long, 0.36 + 0.09 * p["length"], 0.15 + 0.12 * p["length"]) * s.hip / 0.52
    at_hem = [
        np.where(long, 0.3 * knee[:, 2] + 0.7 * ankle[:, 2], knee[:, 2] * np.minimum(drop / 0.24, 1))
        for _, knee, ankle, _ in s.legs
    ]
    hem = np.maximum(0.5 * np.abs(at_hem[0] - at_hem[1]) + 0.046, 0.074) + 0.024 * p["flare"]
    bottom = s.pelvis + vec(0, -drop, 0.5 * (at_hem[0] + at_hem[1]) + 0.006)
    lower.only(dress).cone(bottom, s.at(0, 0.07, 0.0), hem * s.girth, 0.058 * s.girth, wide=1.38)


def _torso(b: Builder, s: Skeleton, p: Cues) -> None:
    woman, elder, top = p["woman"], p["elder"], s.shoulder
    upper = b.of("upper", **_spine(s))
    waist = np.where(woman, 0.047, 0.052) * s.girth
    jacket = p["up"] == 1  # whoever wears long sleeves in this warm place wears a jacket: hood, bulk, a low hem
    cloth = (1.0 + 0.10 * p["loose"] * ~woman) * np.where(jacket, 1.14, 1.0)
    breast = 0.062 * (0.6 + 0.4 * s.girth)
    upper.limb(s.at(0, 0.085, 0.004), s.at(0, top - 0.066, 0.0), waist * cloth, breast, s.width / 0.062 * 0.95)
    for side in (1, -1):
        joint, collarbone = s.at(side * s.width * 0.93, top - 0.010, 0), s.at(side * 0.020, top + 0.028, -0.006)
        upper.of("upper", side=None).limb(joint, collarbone, 0.036, 0.030)
        bust = s.at(side * 0.040, top - 0.088, 0.044)
        upper.only(woman & (p["age"] > 1)).ball(bust, vec(0.037, 0.038, 0.028))
    belly = 0.012 + 0.020 * np.clip(p["build"], 0, None) * elder
    bellied = upper.only(p["child"] | (elder & (p["build"] > 0.1)))
    bellied.ball(s.at(0, 0.115, belly), vec(0.086, 0.088, 0.052) * col(s.girth))
    upper.of("collar").only(jacket).ball(s.at(0, top + 0.024, -0.046), vec(0.078, 0.046, 0.050))
    free = ~p["tucked"] | jacket
    drop = np.where(p["clothes"] == 1, 0.035, 0.005 - 0.060 * p["hem"])  # over a skirt the shirt ends high
    drop = np.where(jacket, -0.050 - 0.040 * p["hem"], drop)
    hem = (0.067 + 0.006 * p["loose"]) * np.where(jacket, 1.12, 1.0) * s.girth
    flat = np.where(woman, 1.56, 1.50)
    upper.only(free).cone(s.at(0, drop, 0.0), s.at(0, 0.16, 0.003), hem, waist * cloth * 1.02, wide=flat)
    belt, flat = upper.of("belt").only(~free), np.where(woman, 1.60, 1.50)
    belt.cone(s.at(0, 0.062, 0.002), s.at(0, 0.086, 0.002), 0.0605 * s.girth, 0.0600 * s.girth, wide=flat)
    neck, chin = s.at(0, top + 0.026, -0.006), s.skull - s.skull_frame[:, 1] * col(0.30 * s.head)
    b.limb(neck, chin, np.where(woman, 0.026, 0.031), np.where(woman, 0.025, 0.030))
    b.of("skin", frame=s.torso).only(woman).ball(s.at(0, top + 0.020, 0.020), vec(0.030, 0.026, 0.026))
    collar = upper.of("collar", side=None).only(np.isin(p["up_pattern"], ["shirt", "open"]))
    collar.cone(s.at(0, top + 0.018, -0.004), s.at(0, top + 0.050, -0.006), 0.042, 0.034)


def _arms(b: Builder, s: Skeleton, p: Cues) -> None:
    long = p["up"] == 1
    bare, sleeve, short_sleeve = b.only(~long), b.of("sleeve").only(long), b.of("sleeve").only(~long)
    hand = b.of("skin", side=s.torso[:, 2])
    fat = (0.55 + 0.45 * s.girth) * np.where(p["woman"], 0.86, 1.0)
    reach = np.where(p["woman"], 0.28, 0.42) + 0.30 * p["sleeve"]
    for shoulder, elbow, wrist in s.arms:
        bare.limb(shoulder, elbow, 0.029 * fat, 0.024 * fat)
        bare.limb(elbow, wrist, 0.024 * fat, 0.017 * fat)
        sleeve.limb(shoulder, elbow, 0.043 * fat, 0.041 * fat)
        sleeve.limb(elbow, wrist, 0.041 * fat, 0.036 * fat)
        short_sleeve.limb(shoulder, toward(shoulder, elbow, 0.12), 0.036 * fat, 0.036 * fat)
        end = toward(shoulder, elbow, reach)
        short_sleeve.cone(shoulder, end, 0.035 * fat, (0.036 + 0.010 * p["loose"]) * fat)
        along = unit(wrist - elbow)
        palm = wrist + 0.032 * along
        hand.limb(wrist + 0.008 * along, palm + 0.026 * along, 0.0185, 0.015, wide=1.35)


def _head(b: Builder, s: Skeleton, p: Cues) -> None:
    at, heads, h, style = s.head_at, s.heads, s.head, p["hair_style"]
    face = b.of("face", frame=s.skull_frame, texture=(s.skull_frame / col(col(h)), s.skull, 0.6))
    face.ball(at(0, 0.06, 0), heads(0.355, 0.44, 0.41))
    face.limb(at(0, -0.10, 0.10), at(0, -0.34, 0.15), 0.30 * h, np.where(p["woman"], 0.17, 0.20) * h)
    face.limb(at(0, 0.02, 0.36), at(0, -0.10, 0.44), 0.035 * h, 0.06 * h)
    for side in (1, -1):
        face.of("skin", texture=None).ball(at(side * 0.36, -0.02, 0.0), heads(0.05, 0.10, 0.07))

    def hair(*styles: str, **options: Any) -> Builder:
        return face.of("hair", **options).only(np.isin(style, styles))

    puff = np.where(p["woman"], 0.02, 0.0) + np.where(p["hair"] == 2, 0.02, 0.0)
    full, bald = face.of("hair").only(style != "bald"), hair("bald")
    full.ball(at(0, 0.155, -0.075), heads(0.395 + puff, 0.40, 0.42 + puff))
    full.ball(at(0, 0.02, -0.15), heads(0.385 + puff, 0.36, 0.33))
    bald.ball(at(0, -0.02, -0.10), heads(0.372, 0.22, 0.34))
    hair("parted").ball(at(0.12, 0.40, 0.14), heads(0.28, 0.16, 0.22))
    hair("bob", "long").ball(at(0, 0.33, 0.17), heads(0.33, 0.20, 0.235))  # a fringe
    fall = np.where(style == "bob", -0.40, -0.62 - 0.5 * p["hair_length"])
    for side in (1, -1):
        top, end = at(side * 0.33, 0.16, -0.03), at(side * 0.35, fall, -0.06)
        hair("bob", "loose", "long").limb(top, end, 0.11 * h, 0.10 * h)
    left = s.skull_frame[:, 0]
    end = at(0, -0.95 - 0.75 * p["hair_length"], -0.44)
    hair("loose", "long", side=left).limb(at(0, 0.05, -0.20), end, 0.25 * h, 0.17 * h, wide=1.65)
    hair("bob", side=left).limb(at(0, -0.05, -0.20), at(0, -0.36, -0.20), 0.26 * h, 0.22 * h, wide=1.55)
    tail, end = at(0, 0.02, -0.66), at(0, -0.85 - 0.6 * p["hair_length"], -0.58)
    hair("ponytail").limb(at(0, 0.22, -0.50), tail, 0.10 * h, 0.15 * h)
    hair("ponytail").limb(tail, end, 0.16 * h, 0.07 * h)
    hair("bun").ball(at(0, 0.42, -0.38), heads(0.19, 0.18, 0.19))


def _hat(b: Builder, s: Skeleton, p: Cues) -> None:
    at, heads, style = s.head_at, s.heads, p["hat_style"]
    hat = b.of("hat", frame=s.skull_frame, side=s.skull_frame[:, 0]).only(p["hat"] == 2)
    brim = hat.of("brim")
    hat.ball(at(0, 0.26, -0.02), heads(0.50, 0.46, 0.53))
    brim.only(style == "cap").ball(at(0, 0.22, 0.56), heads(0.42, 0.075, 0.42))
    brim.only(style == "sunhat").ball(at(0, 0.16, 0.0), heads(0.98, 0.11, 0.98))
    brim.only(style == "bucket").cone(at(0, 0.06, 0.0), at(0, 0.34, 0.0), 0.76 * s.head, 0.50 * s.head)
    brim.only(style == "beanie").ball(at(0, 0.12, -0.02), heads(0.515, 0.16, 0.545))
    brim.only(style == "beanie").ball(at(0, 0.76, -0.02), heads(0.16, 0.16, 0.16))


def _backpack(b: Builder, s: Skeleton, p: Cues) -> None:
    bag = b.of("bag", part="backpack", side=s.torso[:, 0]).only(p["backpack"] == 2)
    flap, top = bag.of("flap"), s.shoulder
    scale = 0.88 + 0.30 * p["bag_size"]
    low, high = top - 0.245 * scale, top - 0.055
    bag.limb(s.at(0, low + 0.02, -0.100), s.at(0, high, -0.092), 0.052 * scale, 0.050 * scale, wide=1.62)
    bag.cone(s.at(0, low - 0.025, -0.098), s.at(0, high + 0.02, -0.092), 0.054 * scale, 0.050 * scale, wide=1.58)
    pocket = s.at(0, low + 0.005, -0.140), s.at(0, low + 0.060 * scale, -0.140)
    flap.limb(*pocket, 0.034 * scale, 0.032 * scale, wide=1.75)
    flap.limb(s.at(0, high + 0.012, -0.100), s.at(0, high + 0.030, -0.092), 0.055 * scale, 0.046 * scale, wide=1.45)
    for side in (1, -1):
        x = side * 0.062
        back, shoulder = s.at(x, top + 0.030, -0.020), s.at(x * 1.02, top - 0.020, 0.052)
        breast, under_arm = s.at(x * 1.15, top - 0.115, 0.058), s.at(x * 1.55, top - 0.185, 0.0)
        bag.limb(back, shoulder, 0.0150, 0.0145, wide=1.3)
        bag.limb(shoulder, breast, 0.0145, 0.0140, wide=1.3)
        bag.of("bag", side=None).limb(breast, under_arm, 0.0140, 0.0125)


def _shoulder_bag(b: Builder, s: Skeleton, p: Cues) -> None:
    strap = b.of("bag").only(p["bag"] == 2)
    bag, side = strap.of("bag", side=s.torso[:, 2]), p["side"]
    scale = 0.95 + 0.45 * p["bag_size"]
    x, low = side * (0.125 + 0.02 * s.girth), -0.060 - 0.03 * p["bag_size"]
    bottom, top = s.at(x, low - 0.055 * scale, 0.012), s.at(x, low + 0.052 * scale, 0.012)
    bag.cone(bottom, top, 0.036 * scale, 0.033 * scale, wide=2.15)
    bottom, top = s.at(x, low + 0.004, 0.012), s.at(x, low + 0.056 * scale, 0.012)
    bag.of("flap").cone(bottom, top, 0.039 * scale, 0.034 * scale, wide=2.12)
    over = -side * 0.050
    for z, chest in ((0.064, 0.070), (-0.062, -0.066)):
        shoulder, breast = s.at(over, s.shoulder + 0.034, 0.2 * z), s.at(over * 0.55, s.shoulder - 0.06, chest)
        waist, end = s.at(side * 0.055, 0.105, z * 1.08), s.at(x * 0.93, low + 0.04, 0.5 * z)
        for here, there in pairwise((shoulder, breast, waist, end)):
            strap.limb(here, there, 0.0125, 0.0125)


def _handbag(b: Builder, s: Skeleton, p: Cues) -> None:
    handle, side = b.of("bag", part="handbag").only(p["handbag"] == 2), p["side"]
    forward = s.torso[:, 2]
    bag = handle.of("bag", side=forward)
    scale = 1.20 + 0.40 * p["bag_size"]
    _, elbow, wrist = (np.where(col(side > 0), left, right) for left, right in zip(*s.arms, strict=True))
    crook = p["bag_size"] < 0.3
    grip = np.where(col(crook), toward(elbow, wrist, 0.55), wrist + np.array([0, -0.040, 0.0]))
    upper = grip + vec(side * 0.012, 0.0, 0.0) + vec(0.0, -0.045 * scale, 0.0)
    lower = upper + vec(0.0, -0.110 * scale, 0.0)
    bag.cone(lower, upper, 0.033 * scale, 0.022 * scale, wide=2.5)
    bag.of("flap").cone(upper - np.array([0, 0.030, 0]), upper, 0.0275 * scale, 0.024 * scale, wide=2.5)
    for z in (1, -1):
        handle.limb(grip + vec(0, 0.004, 0), upper + forward * col(0.040 * scale * z), 0.0085, 0.0085)


def _cane(b: Builder, s: Skeleton, p: Cues) -> None:
    hand = np.where(col(p["side"] < 0), s.arms[0][2], s.arms[1][2])
    foot = vec(hand[:, 0] * 1.1, 0.012, hand[:, 2] + 0.05)
    b.of("dark").only(p["cane"]).limb(hand + np.array([0, -0.02, 0.0]), foot, 0.010, 0.009)


# A material is 14 numbers: three colours, pattern, scale, phase, gloss, strength of the folds.
WIDTH = 14


def materials(p: Cues) -> Array:
    """(N, len(MATERIALS), WIDTH) surface descriptions of N people."""
    patterns, n = {name: number for number, name in enumerate(PATTERNS)}, len(p["gender"])
    collar = np.where(col(p["up_pattern"] == "open"), p["up_1"], p["up_0"] * 0.92)
    colours = {**p, "collar": collar, "leather": np.array([0.10, 0.07, 0.05]), "wood": np.array([0.16, 0.12, 0.10])}
    table = np.zeros((n, len(MATERIALS), WIDTH))
    for i, material in enumerate(MATERIALS.itertuples()):
        table[:, i, :9] = np.tile(colours[material.colour] * material.brightness, 3)
        table[:, i, 10], table[:, i, 12], table[:, i, 13] = 0.5, material.gloss, material.folds
    for name, garment in (("upper", "up"), ("sleeve", "up"), ("lower", "down")):
        kind = np.array([patterns[name] for name in p[f"{garment}_pattern"]])
        if name == "sleeve":  # of one colour where the pattern belongs to the breast, or the sleeve has its own
            toned = (p["sleeve_tone"] != p["up_0"]).any(axis=1)
            kind = np.where(toned | np.isin(p["up_pattern"], ["print", "yoke", "open", "shirt"]), 0, kind)
        columns = [p[f"{garment}_1"], p[f"{garment}_2"], kind, p[f"{garment}_scale"], p[f"{garment}_phase"]]
        table[:, MATERIALS.index.get_loc(name), 3:12] = np.column_stack(columns)
    lips = p["skin"] * np.array([0.80, 0.52, 0.50])
    features = [p["hair_colour"] * 0.6, lips, np.full(n, patterns["face"]), p["glasses"], p["woman"]]
    table[:, MATERIALS.index.get_loc("face"), 3:12] = np.column_stack(features)
    return table
