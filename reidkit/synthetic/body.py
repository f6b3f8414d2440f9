"""Bodies, clothes and things as analytic primitives, posed by a gait phase; lengths in metres.

A person stands at the origin, y up, facing +z, with their left hand at +x. Every primitive is a canonical solid
(round cone, capped cone or box) under an affine map, so that a limb, a flat chest, a skull and a tote bag are
the same few formulas. All arrays are float64 on the host with one entry an actor; the renderer quantises them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from .population import PATTERNS, unhexa

PARTS = {
    "background": 0,
    "skin": 1,
    "hair": 2,
    "hat": 3,
    "upper": 4,
    "lower": 5,
    "shoes": 6,
    "backpack": 7,
    "bag": 8,
    "handbag": 9,
    "occluder": 10,
}
MATERIALS = (
    "skin",
    "face",
    "hair",
    "hat",
    "brim",
    "upper",
    "sleeve",
    "collar",
    "lower",
    "belt",
    "shoes",
    "sole",
    "socks",
    "bag",
    "flap",
    "dark",
)
ROUND, CAPPED, BOX = 0, 1, 2
Array = np.ndarray
Texture = tuple[Array, Array, float | Array]


def vec(x: float | Array, y: float | Array, z: float | Array) -> Array:
    """(N, 3) of three numbers or (N,) arrays."""
    return np.stack(np.broadcast_arrays(*(np.asarray(c, dtype=float) for c in (x, y, z))), axis=-1)


def unit(v: Array) -> Array:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def col(x: float | Array) -> Array:
    return np.asarray(x, dtype=float)[..., None]


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

    def moved(self, rotation: Array, shift: Array) -> "Solids":
        """Each solid turned by its rotation (N, 3, 3), then shifted by (N, 3)."""

        def turn(points: Array) -> Array:
            return (rotation @ points[..., None])[..., 0] + shift

        back = np.swapaxes(rotation, -1, -2)
        return Solids(
            self.kind,
            turn(self.origin),
            self.frame @ back,
            self.scale,
            self.shape,
            self.texture @ back,
            turn(self.anchor),
            self.quarter,
            self.material,
            self.part,
            self.actor,
        )

    def extent(self) -> tuple[Array, Array]:
        """Lower and upper corners (N, 3) of a box around each solid."""
        spread = np.swapaxes(self.frame, -1, -2) * self.scale[:, None, :]
        size = np.where((self.kind == BOX)[:, None], np.abs(spread).sum(-1), np.linalg.norm(spread, axis=-1))
        near = size * np.where(self.kind == BOX, 1.0, self.shape[:, 1])[:, None]
        far = size * np.where(self.kind == BOX, 1.0, self.shape[:, 2])[:, None]
        end = self.origin + self.frame[:, 1] * (self.scale[:, 1] * self.shape[:, 0])[:, None]
        return np.minimum(self.origin - near, end - far), np.maximum(self.origin + near, end + far)


def join(parts: list[Solids]) -> Solids:
    names = list(Solids.__dataclass_fields__)
    return Solids(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


@dataclass
class Builder:
    """Collects the primitives of N actors at once; `where` leaves those out who do not have a thing."""

    n: int
    rows: list[dict[str, Array]] = field(default_factory=list)
    where: list[Array] = field(default_factory=list)

    def add(
        self,
        kind: int,
        origin: Array,
        frame: Array,
        scale: Array,
        shape: Array,
        material: str,
        part: str,
        where: Array | None,
        texture: Texture | None,
    ) -> None:
        """One primitive an actor; `texture` = (axes (N, 3, 3), anchor (N, 3), quarter), the solid's own if None."""
        round_ = np.pi / 8 * (shape[:, 1] + shape[:, 2]) * (scale[:, 0] + scale[:, 2])
        axes, anchor, quarter = texture or (frame, origin, round_)
        self.rows.append(
            {
                "kind": np.full(self.n, kind),
                "origin": origin,
                "frame": frame,
                "scale": scale,
                "shape": shape,
                "texture": axes,
                "anchor": anchor,
                "quarter": np.broadcast_to(quarter, (self.n,)),
                "material": np.full(self.n, MATERIALS.index(material)),
                "part": np.full(self.n, PARTS[part]),
                "actor": np.arange(self.n),
            }
        )
        self.where.append(np.ones(self.n, dtype=bool) if where is None else np.asarray(where, dtype=bool))

    def limb(
        self,
        a: Array,
        b: Array,
        ra: float | Array,
        rb: float | Array,
        material: str,
        part: str,
        where: Array | None = None,
        side: Array | None = None,
        wide: float | Array = 1.0,
        texture: Texture | None = None,
        kind: int = ROUND,
    ) -> None:
        """Tapered capsule (or capped cone) from a to b; its section is `wide` times broader along `side`."""
        y = unit(b - a)
        x = np.broadcast_to(np.array([1.0, 0.0, 0.0]), a.shape) if side is None else side
        x = x - y * np.sum(x * y, axis=-1, keepdims=True)
        x = unit(np.where(np.linalg.norm(x, axis=-1, keepdims=True) < 1e-3, np.array([0.0, 0.0, 1.0]), x))
        frame = np.stack([x, y, np.cross(x, y)], axis=1)
        shape = vec(np.linalg.norm(b - a, axis=-1), ra, rb)
        scale = vec(np.broadcast_to(wide, (self.n,)), 1.0, 1.0)
        self.add(kind, a, frame, scale, shape, material, part, where, texture)

    def cone(
        self, a: Array, b: Array, ra: float | Array, rb: float | Array, material: str, part: str, **options: object
    ) -> None:
        """Flat-ended cone, for hems, skirts, trouser legs and tote bags."""
        self.limb(a, b, ra, rb, material, part, kind=CAPPED, **options)  # type: ignore[arg-type]

    def ball(
        self,
        centre: Array,
        radii: Array,
        frame: Array,
        material: str,
        part: str,
        where: Array | None = None,
        texture: Texture | None = None,
    ) -> None:
        """Ellipsoid with radii (N, 3) along the rows of frame."""
        shape = np.broadcast_to(np.array([0.0, 1.0, 1.0]), (self.n, 3))
        self.add(ROUND, centre, frame, radii, shape, material, part, where, texture)

    def box(
        self, centre: Array, half: Array, frame: Array, material: str, part: str, where: Array | None = None
    ) -> None:
        """Cuboid with half sizes (N, 3) along the rows of frame."""
        shape = np.broadcast_to(np.array([0.0, 1.0, 1.0]), (self.n, 3))
        self.add(BOX, centre, frame, half, shape, material, part, where, None)

    def solids(self) -> Solids:
        """Everything collected, primitive by primitive of actor 0, then of actor 1, ..."""
        stacked = {k: np.stack([r[k] for r in self.rows], axis=1) for k in self.rows[0]}
        keep = np.stack(self.where, axis=1)
        return Solids(**{k: np.ascontiguousarray(v[keep]) for k, v in stacked.items()})


Cues = Mapping[str, Array]


def cues(people: pd.DataFrame) -> dict[str, Array]:
    """Columns of a population as arrays; colours as (N, 3)."""
    out: dict[str, Array] = {}
    for name, column in people.items():
        values = column.to_numpy()
        if len(values) and isinstance(values[0], str) and all(v == "" or v.startswith("#") for v in values):
            out[str(name)] = unhexa([v or "#808080" for v in values])
            out[f"has_{name}"] = np.array([v != "" for v in values])
        else:
            out[str(name)] = values
    return out


@dataclass(frozen=True)
class Skeleton:
    """Joints (N, 3) of posed actors in units of standing height, and the frames their parts turn with."""

    torso: Array  # (N, 3, 3) rows: left, up along the spine, forward
    pelvis: Array
    hip: Array  # height of the hips above the floor
    chin: Array
    shoulder: Array  # height above the hips along the spine
    width: Array  # half the distance of the shoulder joints
    skull: Array
    skull_frame: Array
    head: Array  # height of the head, chin to crown
    legs: tuple[tuple[Array, Array, Array, Array], ...]  # hip, knee, ankle, toe; left then right
    arms: tuple[tuple[Array, Array, Array], ...]  # shoulder, elbow, wrist
    girth: Array

    def at(self, x: float | Array, y: float | Array, z: float | Array) -> Array:
        """Point at (left, up, forward) of the pelvis in the frame of the torso."""
        p = vec(*np.broadcast_arrays(x, y, z, self.hip)[:3])
        return self.pelvis + np.einsum("nij,ni->nj", self.torso, p)


def _swing(a: Array, length: float | Array, origin: Array, out: float | Array = 0.0) -> Array:
    """End of a bone that hangs from `origin`, swung forward by angle a and sideways by `out`."""
    return origin + col(length) * vec(np.sin(out) * np.ones_like(a), -np.cos(a) * np.cos(out), np.sin(a) * np.cos(out))


def skeleton(p: Cues, gait: Array, pace: Array) -> Skeleton:
    """Joints of people with cues p at gait phase `gait` (radians) walking with amplitude `pace` (0 stands)."""
    pace = pace * np.where(p["clothes"] == 1, 0.62, 1.0)  # skirts shorten the step
    woman, child = p["gender"] == 2, p["age"] == 1
    elder, old = p["age"] >= 3, p["age"] == 4
    head = np.where(child, 0.178, np.where(elder, 0.131, 0.136)) + 0.003 * p["head"]
    hip = np.where(child, 0.465, np.where(woman, 0.522, 0.512)) - 0.012 * elder + 0.010 * p["legginess"]
    width = np.where(child, 0.094, np.where(woman, 0.089, 0.107)) + 0.004 * p["shoulders"] + 0.003 * p["build"]
    girth = 1.0 + 0.10 * p["build"] - 0.05 * woman + 0.08 * child
    chin = 1.0 - head
    shoulder = chin - 0.048 - hip
    stoop = p["stoop"] + 0.03 * pace
    yaw = 0.16 * pace * np.sin(gait)
    zero = np.zeros_like(hip)
    up = vec(zero, np.cos(stoop), np.sin(stoop))
    left = vec(np.cos(yaw), zero, -np.sin(yaw))
    left = unit(left - up * np.sum(left * up, axis=-1, keepdims=True))
    torso = np.stack([left, up, np.cross(left, up)], axis=1)

    thigh, shin, ankle_height = 0.478 * (hip - 0.04), 0.522 * (hip - 0.04), 0.04
    bones = []
    for side in (1, -1):
        phase = gait + (0.0 if side == 1 else np.pi)
        flex = (0.46 * np.sin(phase) + 0.06) * pace
        bend = 0.06 + pace * (0.10 + 0.85 * np.clip(np.cos(phase), 0, None) ** 2) + 0.12 * old
        joint = vec(side * np.where(woman, 0.050, 0.047) * girth, zero, zero)
        knee = _swing(flex, thigh, joint, -side * np.where(woman, 0.035, 0.0))
        ankle = _swing(flex - bend, shin, knee, side * np.where(woman, 0.02, 0.0))
        pitch = np.clip(0.55 * (flex - bend) + 0.12 * pace, -0.9, 0.35)
        toe = ankle + vec(side * 0.022, -0.019 + 0.092 * np.sin(pitch), 0.092 * np.cos(pitch))
        bones.append((joint, knee, ankle, toe))
    lowest = np.min([np.minimum(b[2][:, 1] - ankle_height, b[3][:, 1] - 0.017) for b in bones], axis=0)
    pelvis = vec(zero, -lowest, zero)
    legs = tuple(tuple(j + pelvis for j in b) for b in bones)

    def spine(x: float | Array, y: Array, z: float | Array) -> Array:
        q = vec(*np.broadcast_arrays(x, y, z, hip)[:3])
        return pelvis + np.einsum("nij,ni->nj", torso, q)

    arms = []
    for side in (1, -1):
        swing = -0.50 * pace * np.sin(gait + (0.0 if side == 1 else np.pi)) * (1 - 0.3 * old)
        lift = 0.22 + 0.30 * pace * np.clip(swing, 0, None) + 0.25 * old
        joint = spine(side * width, shoulder, 0.0)
        swing, lift, out = _carrying_arm(p, side, swing, lift)
        elbow = _swing(swing, 0.168, joint, side * out)
        wrist = _swing(swing + lift, 0.148, elbow, side * (out - 0.10))
        arms.append((joint, elbow, wrist))
    neck = spine(zero, chin - hip, 0.012)
    nod = 0.35 * p["stoop"]
    face_up = vec(zero, np.cos(nod), np.sin(nod))
    skull_frame = np.stack([left, unit(face_up - left * np.sum(left * face_up, -1, keepdims=True)), left], axis=1)
    skull_frame[:, 2] = np.cross(skull_frame[:, 0], skull_frame[:, 1])
    skull = neck + skull_frame[:, 1] * col(0.52 * head) + skull_frame[:, 2] * 0.010
    return Skeleton(torso, pelvis, hip, chin, shoulder, width, skull, skull_frame, head, legs, tuple(arms), girth)


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
    _legs(b, s, p)
    _torso(b, s, p)
    _arms(b, s, p)
    _head(b, s, p)
    _things(b, s, p)
    return b.solids()


def _legs(b: Builder, s: Skeleton, p: Cues) -> None:
    dress, short = p["clothes"] == 1, p["down"] == 2
    woman = p["gender"] == 2
    trousers, shorts = ~dress & ~short, ~dress & short
    bare = dress | short
    fat = s.girth * np.where(woman, 1.04, 1.0)
    baggy = 1.0 + 0.28 * p["loose"] * ~woman + 0.06
    for hip, knee, ankle, toe in s.legs:
        b.limb(
            hip + (knee - hip) * col(np.where(dress, 0.55, 0.3)),
            knee,
            np.where(dress, 0.041, 0.045) * fat,
            0.033 * fat,
            "skin",
            "skin",
            where=bare,
        )
        calf = knee + 0.30 * (ankle - knee) - np.array([0, 0, 0.006])
        b.limb(knee, calf, 0.033 * fat, 0.0355 * fat, "skin", "skin", where=bare)
        b.limb(calf, ankle, 0.0355 * fat, 0.020, "skin", "skin", where=bare)
        b.limb(hip, knee, 0.057 * fat, 0.039 * fat * baggy, "lower", "lower", where=trousers)
        cuff = ankle + (knee - ankle) * col(0.02 + 0.16 * (p["length"] < 0.15))
        b.limb(
            knee, knee + 0.5 * (cuff - knee), 0.039 * fat * baggy, 0.033 * fat * baggy, "lower", "lower", where=trousers
        )
        b.cone(knee, cuff, 0.038 * fat * baggy, (0.027 + 0.012 * p["flare"]) * baggy, "lower", "lower", where=trousers)
        reach = np.where(woman, 0.42 + 0.45 * p["length"], 0.72 + 0.36 * p["length"])
        end = hip + (knee - hip) * col(np.minimum(reach, 1.0)) + (ankle - knee) * col(np.maximum(reach - 1, 0))
        b.limb(hip, hip + 0.45 * (end - hip), 0.056 * fat, 0.053 * fat, "lower", "lower", where=shorts)
        b.cone(hip, end, 0.056 * fat, (0.047 + 0.014 * p["loose"]) * fat, "lower", "lower", where=shorts)
        _foot(b, p, knee, ankle, toe, bare)
    _pelvis(b, s, p, dress, short)


def _foot(b: Builder, p: Cues, knee: Array, ankle: Array, toe: Array, bare: Array) -> None:
    style = p["shoe_style"]
    heel = ankle + np.array([0, -0.020, -0.014])
    sandal, boot, pump = style == "sandal", style == "boot", style == "pump"
    open_toe = sandal | pump
    width = np.where(pump, 0.019, np.where(boot, 0.026, 0.0245))
    b.limb(ankle, ankle + 0.12 * (knee - ankle), 0.022, 0.022, "skin", "skin")
    b.limb(ankle, ankle + 0.24 * (knee - ankle), 0.0255, 0.026, "socks", "lower", where=p["has_socks"] & bare)
    b.limb(heel, toe, np.where(pump, 0.021, 0.025), width, "shoes", "shoes", where=~sandal)
    b.limb(heel, toe, 0.020, 0.018, "skin", "skin", where=sandal)
    across = heel + 0.6 * (toe - heel) + np.array([0, 0.006, 0])
    b.ball(
        across,
        vec(0.025, 0.019, 0.020) * np.ones((b.n, 1)),
        np.tile(np.eye(3), (b.n, 1, 1)),
        "shoes",
        "shoes",
        where=open_toe,
    )
    under = np.array([0, -0.013, 0.0])
    b.limb(heel + under, toe + under, 0.0165, 0.016, "sole", "shoes", wide=1.62)
    b.cone(ankle + np.array([0, -0.01, 0]), ankle + 0.42 * (knee - ankle), 0.028, 0.034, "shoes", "shoes", where=boot)


def _pelvis(b: Builder, s: Skeleton, p: Cues, dress: Array, short: Array) -> None:
    woman = p["gender"] == 2
    spine = (s.torso, s.pelvis, 0.135)
    wide = np.where(woman, 1.62, 1.50)
    b.limb(
        s.at(0, 0.0, 0),
        s.at(0, 0.075, 0.004),
        0.060 * s.girth,
        0.056 * s.girth,
        "lower",
        "lower",
        side=s.torso[:, 0],
        wide=wide,
        texture=spine,
    )
    for side in (1, -1):
        b.ball(
            s.at(side * 0.036, -0.004, -0.020),
            vec(0.044, 0.050, 0.042) * col(s.girth),
            s.torso,
            "lower",
            "lower",
            where=p["tucked"],
            texture=spine,
        )
    long = dress & ~short
    drop = np.where(long, 0.36 + 0.09 * p["length"], 0.15 + 0.12 * p["length"]) * s.hip / 0.52
    knees = [leg[1][:, 2] for leg in s.legs]
    shins = [0.3 * leg[1][:, 2] + 0.7 * leg[2][:, 2] for leg in s.legs]
    at_hem = [np.where(long, shin, knee * np.minimum(drop / 0.24, 1)) for knee, shin in zip(knees, shins, strict=True)]
    hem = np.maximum(0.5 * np.abs(at_hem[0] - at_hem[1]) + 0.046, 0.074) + 0.024 * p["flare"]
    bottom = s.pelvis + vec(0, -drop, 0.5 * (at_hem[0] + at_hem[1]) + 0.006)
    b.cone(
        bottom,
        s.at(0, 0.07, 0.0),
        hem * s.girth,
        0.058 * s.girth,
        "lower",
        "lower",
        where=dress,
        side=s.torso[:, 0],
        wide=1.38,
        texture=spine,
    )


def _torso(b: Builder, s: Skeleton, p: Cues) -> None:
    woman, elder = p["gender"] == 2, p["age"] >= 3
    spine = (s.torso, s.pelvis, 0.135)
    left = s.torso[:, 0]
    top = s.shoulder
    waist = np.where(woman, 0.047, 0.052) * s.girth
    broad = s.width / 0.062 * 0.95
    jacket = p["up"] == 1  # whoever wears long sleeves in this warm place wears a jacket: hood, bulk, a low hem
    cloth = (1.0 + 0.10 * p["loose"] * ~woman) * np.where(jacket, 1.14, 1.0)
    b.limb(
        s.at(0, 0.085, 0.004),
        s.at(0, top - 0.066, 0.0),
        waist * cloth,
        0.062 * (0.6 + 0.4 * s.girth),
        "upper",
        "upper",
        side=left,
        wide=broad,
        texture=spine,
    )
    for side in (1, -1):
        b.limb(
            s.at(side * s.width * 0.93, top - 0.010, 0),
            s.at(side * 0.020, top + 0.028, -0.006),
            0.036,
            0.030,
            "upper",
            "upper",
            texture=spine,
        )
        b.ball(
            s.at(side * 0.040, top - 0.088, 0.044),
            vec(0.037, 0.038, 0.028) * np.ones((b.n, 1)),
            s.torso,
            "upper",
            "upper",
            where=woman & (p["age"] > 1),
            texture=spine,
        )
    belly = 0.012 + 0.020 * np.clip(p["build"], 0, None) * elder
    b.ball(
        s.at(0, 0.115, belly),
        vec(0.086, 0.088, 0.052) * col(s.girth),
        s.torso,
        "upper",
        "upper",
        where=(p["age"] == 1) | (elder & (p["build"] > 0.1)),
        texture=spine,
    )
    b.ball(
        s.at(0, top + 0.024, -0.046),
        vec(0.078, 0.046, 0.050) * np.ones((b.n, 1)),
        s.torso,
        "collar",
        "upper",
        where=jacket,
        texture=spine,
    )
    free = ~p["tucked"] | jacket
    drop = np.where(p["clothes"] == 1, 0.035, 0.005 - 0.060 * p["hem"])  # over a skirt the shirt ends high
    drop = np.where(jacket, -0.050 - 0.040 * p["hem"], drop)
    flat = np.where(woman, 1.56, 1.50)
    b.cone(
        s.at(0, drop, 0.0),
        s.at(0, 0.16, 0.003),
        (0.067 + 0.006 * p["loose"]) * np.where(jacket, 1.12, 1.0) * s.girth,
        waist * cloth * 1.02,
        "upper",
        "upper",
        where=free,
        side=left,
        wide=flat,
        texture=spine,
    )
    b.cone(
        s.at(0, 0.062, 0.002),
        s.at(0, 0.086, 0.002),
        0.0605 * s.girth,
        0.0600 * s.girth,
        "belt",
        "lower",
        where=~free,
        side=left,
        wide=np.where(woman, 1.60, 1.50),
        texture=spine,
    )
    neck, chin = s.at(0, top + 0.026, -0.006), s.skull - s.skull_frame[:, 1] * col(0.30 * s.head)
    b.limb(neck, chin, np.where(woman, 0.026, 0.031), np.where(woman, 0.025, 0.030), "skin", "skin")
    b.ball(
        s.at(0, top + 0.020, 0.020), vec(0.030, 0.026, 0.026) * np.ones((b.n, 1)), s.torso, "skin", "skin", where=woman
    )
    collared = (p["up_pattern"] == "shirt") | (p["up_pattern"] == "open")
    b.cone(
        s.at(0, top + 0.018, -0.004),
        s.at(0, top + 0.050, -0.006),
        0.042,
        0.034,
        "collar",
        "upper",
        where=collared,
        texture=spine,
    )


def _arms(b: Builder, s: Skeleton, p: Cues) -> None:
    woman, long = p["gender"] == 2, p["up"] == 1
    fat = (0.55 + 0.45 * s.girth) * np.where(woman, 0.86, 1.0)
    for shoulder, elbow, wrist in s.arms:
        bare = ~long
        b.limb(shoulder, elbow, 0.029 * fat, 0.024 * fat, "skin", "skin", where=bare)
        b.limb(elbow, wrist, 0.024 * fat, 0.017 * fat, "skin", "skin", where=bare)
        b.limb(shoulder, elbow, 0.043 * fat, 0.041 * fat, "sleeve", "upper", where=long)
        b.limb(elbow, wrist, 0.041 * fat, 0.036 * fat, "sleeve", "upper", where=long)
        reach = np.where(woman, 0.28, 0.42) + 0.30 * p["sleeve"]
        b.limb(shoulder, shoulder + 0.12 * (elbow - shoulder), 0.036 * fat, 0.036 * fat, "sleeve", "upper", where=bare)
        b.cone(
            shoulder,
            shoulder + (elbow - shoulder) * col(reach),
            0.035 * fat,
            (0.036 + 0.010 * p["loose"]) * fat,
            "sleeve",
            "upper",
            where=bare,
        )
        along = unit(wrist - elbow)
        palm = wrist + 0.032 * along
        b.limb(
            wrist + 0.008 * along, palm + 0.026 * along, 0.0185, 0.015, "skin", "skin", side=s.torso[:, 2], wide=1.35
        )


def _head(b: Builder, s: Skeleton, p: Cues) -> None:
    f, h = s.skull_frame, s.head
    woman = p["gender"] == 2

    def at(x: float, y: float | Array, z: float | Array) -> Array:
        offset = vec(*np.broadcast_arrays(x, y, z, h)[:3]) * col(h)
        return s.skull + np.einsum("nij,ni->nj", f, offset)

    def radii(x: float | Array, y: float | Array, z: float | Array) -> Array:
        return vec(*np.broadcast_arrays(x, y, z, h)[:3]) * col(h)

    own = (f / col(col(h)), s.skull, 0.6)
    b.ball(at(0, 0.06, 0), radii(0.355, 0.44, 0.41), f, "face", "skin", texture=own)
    b.limb(
        at(0, -0.10, 0.10), at(0, -0.34, 0.15), 0.30 * h, np.where(woman, 0.17, 0.20) * h, "face", "skin", texture=own
    )
    b.limb(at(0, 0.02, 0.36), at(0, -0.10, 0.44), 0.035 * h, 0.06 * h, "face", "skin", texture=own)
    for side in (1, -1):
        b.ball(at(side * 0.36, -0.02, 0.0), radii(0.05, 0.10, 0.07), f, "skin", "skin")
    _hair(b, s, p, at, radii)
    _hat(b, s, p, at, radii)


def _hair(b: Builder, s: Skeleton, p: Cues, at, radii) -> None:  # type: ignore[no-untyped-def]
    f, h, style = s.skull_frame, s.head, p["hair_style"]
    own = (f / col(col(h)), s.skull, 0.6)
    long = p["hair"] == 2
    full = style != "bald"
    puff = np.where(p["gender"] == 2, 0.02, 0.0) + np.where(long, 0.02, 0.0)
    b.ball(at(0, 0.155, -0.075), radii(0.395 + puff, 0.40, 0.42 + puff), f, "hair", "hair", where=full, texture=own)
    b.ball(at(0, 0.02, -0.15), radii(0.385 + puff, 0.36, 0.33), f, "hair", "hair", where=full, texture=own)
    b.ball(at(0, -0.02, -0.10), radii(0.372, 0.22, 0.34), f, "hair", "hair", where=~full, texture=own)
    b.ball(at(0.12, 0.40, 0.14), radii(0.28, 0.16, 0.22), f, "hair", "hair", where=style == "parted", texture=own)
    fringe = (style == "bob") | (style == "long")
    b.ball(at(0, 0.33, 0.17), radii(0.33, 0.20, 0.235), f, "hair", "hair", where=fringe, texture=own)
    sides = (style == "bob") | (style == "loose") | (style == "long")
    fall = np.where(style == "bob", -0.40, -0.62 - 0.5 * p["hair_length"])
    for side in (1, -1):
        b.limb(
            at(side * 0.33, 0.16, -0.03),
            at(side * 0.35, fall, -0.06),
            0.11 * h,
            0.10 * h,
            "hair",
            "hair",
            where=sides,
            texture=own,
        )
    back = (style == "loose") | (style == "long")
    reach = -0.95 - 0.75 * p["hair_length"]
    b.limb(
        at(0, 0.05, -0.20),
        at(0, reach, -0.44),
        0.25 * h,
        0.17 * h,
        "hair",
        "hair",
        where=back,
        wide=1.65,
        side=f[:, 0],
        texture=own,
    )
    b.limb(
        at(0, -0.05, -0.20),
        at(0, -0.36, -0.20),
        0.26 * h,
        0.22 * h,
        "hair",
        "hair",
        where=style == "bob",
        wide=1.55,
        side=f[:, 0],
        texture=own,
    )
    tail = style == "ponytail"
    b.limb(at(0, 0.22, -0.50), at(0, 0.02, -0.66), 0.10 * h, 0.15 * h, "hair", "hair", where=tail, texture=own)
    b.limb(
        at(0, 0.02, -0.66),
        at(0, -0.85 - 0.6 * p["hair_length"], -0.58),
        0.16 * h,
        0.07 * h,
        "hair",
        "hair",
        where=tail,
        texture=own,
    )
    b.ball(at(0, 0.42, -0.38), radii(0.19, 0.18, 0.19), f, "hair", "hair", where=style == "bun", texture=own)


def _hat(b: Builder, s: Skeleton, p: Cues, at, radii) -> None:  # type: ignore[no-untyped-def]
    f, style, on = s.skull_frame, p["hat_style"], p["hat"] == 2
    b.ball(at(0, 0.26, -0.02), radii(0.50, 0.46, 0.53), f, "hat", "hat", where=on)
    b.ball(at(0, 0.22, 0.56), radii(0.42, 0.075, 0.42), f, "brim", "hat", where=on & (style == "cap"))
    b.ball(at(0, 0.16, 0.0), radii(0.98, 0.11, 0.98), f, "brim", "hat", where=on & (style == "sunhat"))
    b.cone(
        at(0, 0.06, 0.0),
        at(0, 0.34, 0.0),
        0.76 * s.head,
        0.50 * s.head,
        "brim",
        "hat",
        where=on & (style == "bucket"),
        side=f[:, 0],
    )
    b.ball(at(0, 0.12, -0.02), radii(0.515, 0.16, 0.545), f, "brim", "hat", where=on & (style == "beanie"))
    b.ball(at(0, 0.76, -0.02), radii(0.16, 0.16, 0.16), f, "brim", "hat", where=on & (style == "beanie"))


def _things(b: Builder, s: Skeleton, p: Cues) -> None:
    top, size = s.shoulder, p["bag_size"]
    _backpack(b, s, top, size, p["backpack"] == 2)
    _shoulder_bag(b, s, top, size, p["side"], p["bag"] == 2)
    _handbag(b, s, size, p["side"], p["handbag"] == 2)
    right = p["side"] < 0
    hand = np.where(col(right), s.arms[0][2], s.arms[1][2])
    foot = vec(hand[:, 0] * 1.1, 0.012, hand[:, 2] + 0.05)
    b.limb(hand + np.array([0, -0.02, 0.0]), foot, 0.010, 0.009, "dark", "background", where=p["cane"])


def _backpack(b: Builder, s: Skeleton, top: Array, size: Array, on: Array) -> None:
    scale = 0.88 + 0.30 * size
    low, high = top - 0.245 * scale, top - 0.055
    left = s.torso[:, 0]
    b.limb(
        s.at(0, low + 0.02, -0.100),
        s.at(0, high, -0.092),
        0.052 * scale,
        0.050 * scale,
        "bag",
        "backpack",
        where=on,
        side=left,
        wide=1.62,
    )
    b.cone(
        s.at(0, low - 0.025, -0.098),
        s.at(0, high + 0.02, -0.092),
        0.054 * scale,
        0.050 * scale,
        "bag",
        "backpack",
        where=on,
        side=left,
        wide=1.58,
    )
    b.limb(
        s.at(0, low + 0.005, -0.140),
        s.at(0, low + 0.060 * scale, -0.140),
        0.034 * scale,
        0.032 * scale,
        "flap",
        "backpack",
        where=on,
        side=left,
        wide=1.75,
    )
    b.limb(
        s.at(0, high + 0.012, -0.100),
        s.at(0, high + 0.030, -0.092),
        0.055 * scale,
        0.046 * scale,
        "flap",
        "backpack",
        where=on,
        side=left,
        wide=1.45,
    )
    for side in (1, -1):
        x = side * 0.062
        b.limb(
            s.at(x, top + 0.030, -0.020),
            s.at(x * 1.02, top - 0.020, 0.052),
            0.0150,
            0.0145,
            "bag",
            "backpack",
            where=on,
            side=left,
            wide=1.3,
        )
        b.limb(
            s.at(x * 1.02, top - 0.020, 0.052),
            s.at(x * 1.15, top - 0.115, 0.058),
            0.0145,
            0.0140,
            "bag",
            "backpack",
            where=on,
            side=left,
            wide=1.3,
        )
        b.limb(
            s.at(x * 1.15, top - 0.115, 0.058),
            s.at(x * 1.55, top - 0.185, 0.0),
            0.0140,
            0.0125,
            "bag",
            "backpack",
            where=on,
        )


def _shoulder_bag(b: Builder, s: Skeleton, top: Array, size: Array, side: Array, on: Array) -> None:
    scale = 0.95 + 0.45 * size
    forward = s.torso[:, 2]
    x = side * (0.125 + 0.02 * s.girth)
    low = -0.060 - 0.03 * size
    b.cone(
        s.at(x, low - 0.055 * scale, 0.012),
        s.at(x, low + 0.052 * scale, 0.012),
        0.036 * scale,
        0.033 * scale,
        "bag",
        "bag",
        where=on,
        side=forward,
        wide=2.15,
    )
    b.cone(
        s.at(x, low + 0.004, 0.012),
        s.at(x, low + 0.056 * scale, 0.012),
        0.039 * scale,
        0.034 * scale,
        "flap",
        "bag",
        where=on,
        side=forward,
        wide=2.12,
    )
    over = -side * 0.050
    for z, chest in ((0.064, 0.070), (-0.062, -0.066)):
        shoulder = s.at(over, top + 0.034, 0.2 * z)
        breast = s.at(over * 0.55, top - 0.06, chest)
        b.limb(shoulder, breast, 0.0125, 0.0125, "bag", "bag", where=on)
        b.limb(breast, s.at(side * 0.055, 0.105, z * 1.08), 0.0125, 0.0125, "bag", "bag", where=on)
        b.limb(
            s.at(side * 0.055, 0.105, z * 1.08),
            s.at(x * 0.93, low + 0.04, 0.5 * z),
            0.0125,
            0.0125,
            "bag",
            "bag",
            where=on,
        )


def _handbag(b: Builder, s: Skeleton, size: Array, side: Array, on: Array) -> None:
    scale = 1.20 + 0.40 * size
    crook = size < 0.3
    forward = s.torso[:, 2]
    left = col(side > 0)
    _, elbow, wrist = (np.where(left, a, c) for a, c in zip(s.arms[0], s.arms[1], strict=True))
    grip = np.where(col(crook), elbow + 0.55 * (wrist - elbow), wrist + np.array([0, -0.040, 0.0]))
    out = vec(side * 0.012, 0.0, 0.0)
    upper = grip + out + vec(0.0, -0.045 * scale, 0.0)
    lower = upper + vec(0.0, -0.110 * scale, 0.0)
    b.cone(lower, upper, 0.033 * scale, 0.022 * scale, "bag", "handbag", where=on, side=forward, wide=2.5)
    b.cone(
        upper - np.array([0, 0.030, 0]),
        upper,
        0.0275 * scale,
        0.024 * scale,
        "flap",
        "handbag",
        where=on,
        side=forward,
        wide=2.5,
    )
    for z in (1, -1):
        b.limb(
            grip + vec(0, 0.004, 0),
            upper + forward * col(0.040 * scale * z),
            0.0085,
            0.0085,
            "bag",
            "handbag",
            where=on,
        )


def _pattern(names: Array) -> Array:
    return np.array([PATTERNS.index(str(n)) for n in names])


# A material is 14 numbers: three colours, pattern, scale, phase, gloss, strength of the folds.
WIDTH = 14


def materials(p: Cues) -> Array:
    """(N, len(MATERIALS), WIDTH) surface descriptions of N people."""
    n = len(p["gender"])

    def plain(rgb: Array, gloss: float = 0.0, folds: float = 0.05) -> Array:
        return surface(rgb, rgb, rgb, np.zeros(n), np.full(n, 0.5), np.zeros(n), gloss, folds)

    def surface(
        a: Array, c: Array, d: Array, kind: Array, scale: Array, phase: Array, gloss: float, folds: float
    ) -> Array:
        tail = np.stack([kind, scale, phase, np.full(n, gloss), np.full(n, folds)], axis=1)
        return np.concatenate([a, c, d, tail], axis=1)

    skin, hair, lips = p["skin"], p["hair_colour"], p["skin"] * np.array([0.80, 0.52, 0.50])
    upper, lower = [p[f"up_{i}"] for i in range(3)], [p[f"down_{i}"] for i in range(3)]
    up_kind, down_kind = _pattern(p["up_pattern"]), _pattern(p["down_pattern"])
    local = np.isin(up_kind, [PATTERNS.index(k) for k in ("print", "yoke", "open", "shirt")])
    sleeve_kind = np.where(local, 0, up_kind)
    toned = (p["sleeve_tone"] != p["up_0"]).any(axis=1)
    sleeve_kind = np.where(toned, 0, sleeve_kind)
    bag, second = p["bag_colour"], p["bag_second"]
    face = surface(
        skin,
        hair * 0.6,
        lips,
        np.full(n, PATTERNS.index("face")),
        p["glasses"] * 1.0,
        1.0 * (p["gender"] == 2),
        0.05,
        0.0,
    )
    collar = np.where(col(p["up_pattern"] == "open"), p["up_1"], p["up_0"] * 0.92)
    table = {
        "skin": plain(skin, 0.08, 0.02),
        "face": face,
        "hair": plain(hair, 0.22, 0.28),
        "hat": plain(p["hat_colour"], 0.02, 0.05),
        "brim": plain(p["hat_colour"] * 0.82, 0.02, 0.02),
        "upper": surface(upper[0], upper[1], upper[2], up_kind, p["up_scale"], p["up_phase"], 0.02, 0.16),
        "sleeve": surface(p["sleeve_tone"], upper[1], upper[2], sleeve_kind, p["up_scale"], p["up_phase"], 0.02, 0.16),
        "collar": plain(collar, 0.02, 0.05),
        "lower": surface(lower[0], lower[1], lower[2], down_kind, p["down_scale"], p["down_phase"], 0.02, 0.16),
        "belt": plain(np.broadcast_to([0.10, 0.07, 0.05], (n, 3)), 0.1, 0.0),
        "shoes": plain(p["shoe_colour"], 0.12, 0.05),
        "sole": plain(p["sole_colour"], 0.0, 0.0),
        "socks": plain(p["socks"], 0.0, 0.05),
        "bag": plain(bag, 0.10, 0.10),
        "flap": plain(second, 0.10, 0.08),
        "dark": plain(np.broadcast_to([0.16, 0.12, 0.10], (n, 3)), 0.1, 0.02),
    }
    return np.stack([table[m] for m in MATERIALS], axis=1)
