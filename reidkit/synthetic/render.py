"""Captures to images: pose the actors, trace them, shade them, put them into a place, photograph the result."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import cache, reduce
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .body import MATERIALS, PARTS, WIDTH, Array, Builder, Cues, Solids, cues, join, materials, person, vec
from .raster import SU, Patches, Window, on_grid, patches, surface, visible
from .scene import CAMERAS, DRAWN, TEXEL, Camera, camera, fold_noise, place
from .textures import paint

SAMPLES = 2  # a side, for every pixel
SHADOW = 48  # samples a side of the silhouette seen from the sun,
REACH = 2.6  # which is this many metres wide
BATCH = 16  # images drawn at once; their samples should fit in the cache of a CPU,
POSED = 8  # and this many batches are posed at once
BOX_HEIGHT = 1.04  # a true box leaves this much room around a person,
BOX_WIDTH = 0.40  # and is at least this share of its height wide; images are resized to their own shape


def _arrays(captures: pd.DataFrame) -> Cues:
    """Columns of captures as arrays (B, ...), and the settings of their cameras, whose names begin with `camera_`."""
    cameras = [camera(number) for number in captures["camera"]]
    settings = {f"camera_{f.name}": np.array([getattr(camera, f.name) for camera in cameras]) for f in fields(Camera)}
    return {str(name): column.to_numpy() for name, column in captures.items()} | settings


def _tensor(values: Array, device: torch.device, ones: int = 0) -> Tensor:
    """float32 on the device, with as many axes of length one at the end."""
    return torch.from_numpy(np.array(values, dtype=np.float32)).to(device).reshape(*np.shape(values), *[1] * ones)


def _turns(degrees: Array, axis: int) -> Array:
    """(N, 3, 3) turns about an axis, 0..2, that move the next one towards the one after it."""
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    turn = np.tile(np.eye(3), (len(degrees), 1, 1))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn[:, i, i], turn[:, i, j], turn[:, j, i], turn[:, j, j] = cosine, -sine, sine, cosine
    return turn


def _rounded(solids: Solids) -> Solids:
    """Poses on a grid, so that machines whose sines differ in the last bit draw the same pixels."""
    names = ("origin", "frame", "scale", "shape", "texture", "anchor", "quarter")
    return replace(solids, **{name: on_grid(getattr(solids, name)) for name in names})


def _actors(people: pd.DataFrame, c: Cues) -> tuple[Solids, Array, Array]:
    """World-space solids of everybody in the captures, material tables (A, M, WIDTH), and the capture of each actor.

    The first B actors are the people the captures are of; strangers beside them follow.
    """
    n, company = len(c["person"]), np.flatnonzero(c["other"] >= 0)

    def both(main: Array, other: str) -> Array:
        return np.r_[main, c[other][company]]

    p = cues(people.iloc[both(c["person"], "other")].reset_index(drop=True))
    solids = person(p, both(c["gait"], "other_gait"), both(c["pace"], "other_pace") * p["stride"])
    height = p["height"].astype(float)[solids.actor][:, None]
    solids = replace(solids, origin=solids.origin * height, anchor=solids.anchor * height, scale=solids.scale * height)
    solids.texture = solids.texture / height[:, None]
    z = both(np.zeros(n), "other_z")
    shift = vec(both(np.zeros(n), "other_x"), 0.0, z)
    solids = solids.moved(_turns(both(c["angle"], "other_angle"), 1)[solids.actor], shift[solids.actor])
    beside = solids.actor >= n
    before = beside & (z > 0)[solids.actor]
    solids.part = np.where(before, PARTS["occluder"], np.where(beside, PARTS["background"], solids.part))
    solids = solids[beside | ~c["empty"][np.minimum(solids.actor, n - 1)]]
    solids.material = solids.material + len(MATERIALS) * solids.actor
    return solids, materials(p), np.r_[np.arange(n), company]


# Colour and folds of the materials of things in the way.
_THINGS = {
    "dark": (0.20, 0.21, 0.22, 0.0),
    "flap": (0.62, 0.63, 0.64, 0.0),
    "bag": (0.72, 0.24, 0.16, 0.0),
    "hat": (0.20, 0.36, 0.16, 0.6),
}


def _things(c: Cues) -> tuple[Solids, Array]:
    """World-space posts, carts, bollards and plants before the people, and their materials (B, M, WIDTH)."""
    n = len(c["thing"])
    b, at = Builder(n, part="occluder"), vec(c["other_x"], 0.0, c["other_z"])
    post, cart, bollard, plant = (b.only(c["thing"] == thing) for thing in ("post", "cart", "bollard", "plant"))

    def up(y: float, x: float = 0.0, z: float = 0.0) -> Array:
        return at + np.array([x, y, z])

    post.of("flap").limb(up(0.0), up(2.6), 0.055, 0.045)
    post.of("bag").box(up(1.55), vec(0.15, 0.20, 0.06))
    bollard.of("dark").cone(up(0.0), up(0.85), 0.085, 0.085)
    bollard.of("bag").limb(up(0.85), up(0.86), 0.09, 0.09)
    bollard.of("flap").cone(up(0.66), up(0.74), 0.089, 0.089)
    cart.of("flap").box(up(0.52), vec(0.30, 0.20, 0.24))
    cart.of("bag").box(up(0.76), vec(0.25, 0.07, 0.20))
    cart.of("dark").limb(up(0.85, -0.32), up(0.85, -0.32, 0.2), 0.02, 0.02)
    for x in (-0.24, 0.24):
        cart.of("dark").ball(up(0.07, x), vec(0.035, 0.07, 0.07))
        cart.of("dark").limb(up(0.1, x), up(0.4, x), 0.018, 0.018)
    plant.of("bag").cone(up(0.0), up(0.42), 0.17, 0.23)
    for x, y, r in ((0.0, 0.75, 0.26), (-0.18, 0.62, 0.18), (0.17, 0.66, 0.20), (0.05, 0.98, 0.17)):
        plant.of("hat").ball(up(y, x), vec(r, 0.9 * r, r))
    table = np.zeros((n, len(MATERIALS), WIDTH))
    for name, (*rgb, folds) in _THINGS.items():
        table[:, MATERIALS.index.get_loc(name), :9] = np.tile(rgb, 3)
        table[:, MATERIALS.index.get_loc(name), 13] = folds
    return b.solids(), table


def _box(solids: Solids, c: Cues) -> Array:
    """What is cut out of camera space, (N, 4): left, top, width and height of the true box, moved and resized."""
    n, (low, high) = len(c["zoom"]), solids.extent()
    mine = solids.actor < n
    lowest, highest = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    np.minimum.at(lowest, solids.actor[mine], low[mine, :2])
    np.maximum.at(highest, solids.actor[mine], high[mine, :2])
    nobody = np.isinf(lowest)
    tall = 1.7 * np.cos(np.deg2rad(c["elevation"]))
    (left, bottom) = np.where(nobody, np.array([-0.3, 0.0]), lowest).T
    (right, top) = np.where(nobody, np.stack([np.full(n, 0.3), tall], axis=1), highest).T
    box_height = (top - bottom) * BOX_HEIGHT
    box_width = np.clip((right - left) * BOX_HEIGHT, BOX_WIDTH * box_height, 0.56 * box_height)
    cut_height, cut_width = box_height * c["zoom"], box_width * c["zoom"] * c["stretch"]
    left = (left + right) / 2 + box_width * c["dx"] - cut_width / 2
    top = (top + bottom) / 2 + box_height * c["dy"] + cut_height / 2
    return on_grid(np.stack([left, top, cut_width, cut_height], axis=1))


def box_error(captures: pd.DataFrame) -> Array:
    """1 - intersection over union of the cut box with the true one, (N,)."""
    high = captures["zoom"].to_numpy(dtype=float)
    wide = high * captures["stretch"].to_numpy(dtype=float)

    def overlap(size: Array, shift: Array) -> Array:
        return np.clip(np.minimum(size / 2 + shift, 0.5) - np.maximum(-size / 2 + shift, -0.5), 0, None)

    common = overlap(wide, captures["dx"].to_numpy(dtype=float)) * overlap(high, captures["dy"].to_numpy(dtype=float))
    return 1 - common / (wide * high + 1 - common)


def _sun(c: Cues) -> dict[str, Array]:
    """Axes of the sun's view in world space (N, 3, 3), the third towards the sun, and the box it sees (N, 4)."""
    azimuth = np.deg2rad(c["camera_sun"][:, 0] + c["sun"])
    altitude = np.deg2rad(c["camera_sun"][:, 1])
    flat = np.cos(altitude)
    sun = on_grid(vec(np.sin(azimuth) * flat, np.sin(altitude), np.cos(azimuth) * flat))
    side = np.stack([sun[:, 2], np.zeros(len(sun)), -sun[:, 0]], axis=1)
    side = side / np.linalg.norm(side, axis=1, keepdims=True)
    frame, reach = np.stack([side, np.cross(sun, side), sun], axis=1), np.full(len(sun), REACH)
    top = on_grid(frame[:, 1, 1] * 0.75 + REACH / 2)
    return {"sun_frame": frame, "sun_box": np.stack([-reach / 2, top, reach, reach], axis=1)}


def _bilinear(texture: Tensor, page: Tensor, x: Tensor, y: Tensor, repeat: tuple[bool, bool]) -> list[Tensor]:
    """Channels of texture (P, H, W, C), picture page (B,), at texel coordinates x, y that broadcast to (B, h, w)."""
    height, width = texture.shape[1:3]
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0

    def index(value: Tensor, size: int, wraps: bool) -> Tensor:
        value = value.to(torch.int32)
        return value.remainder(size) if wraps else value.clamp(0, size - 1)

    start = (page.to(torch.int32) * (height * width))[:, None, None]
    xa, xb = (index(x0 + k, width, repeat[0]) for k in (0, 1))
    ya, yb = (start + index(y0 + k, height, repeat[1]) * width for k in (0, 1))
    corners = [y + x for y in (ya, yb) for x in (xa, xb)]

    def mixed(values: Tensor) -> Tensor:
        a, b, c, d = (values.index_select(0, at.reshape(-1)).view(at.shape) for at in corners)
        low, high = a * (1 - fx) + b * fx, c * (1 - fx) + d * fx
        return low * (1 - fy) + high * fy

    return [mixed(channel) for channel in texture.reshape(-1, texture.shape[-1]).unbind(-1)]


def _boxed(x: Tensor, passes: int) -> Tensor:
    """Three-tap box blurs of the last two axes."""
    for _ in range(passes):
        x = torch.nn.functional.pad(x, (1, 1, 1, 1))
        x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
        x = (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) * (1 / 9)
    return x


def _silhouettes(world: Solids, image: Array, c: Cues, device: torch.device) -> Tensor:
    """What hides the ground from the sun, as the sun sees it: (N, SHADOW, SHADOW), soft at the edges."""
    heavy = np.maximum(world.shape[:, 1], world.shape[:, 2]) * world.scale[:, 0] > 0.032
    seen = patches(_rounded(world[heavy].moved(c["sun_frame"][image[heavy]])))
    _, winner = visible(seen, image[heavy][seen.solid], Window(c["sun_box"].T, SHADOW, SHADOW), device)
    return _boxed((winner >= 0).float(), 2)


def _shadow(silhouettes: Tensor, c: Cues, x: Tensor, z: Tensor) -> Tensor:
    """Shade 0..1 of ground points x (B, 1, W), z (B, H, 1): in it is what the silhouettes hide from the sun."""
    f, box = (_tensor(c[name], x.device, 2) for name in ("sun_frame", "sun_box"))
    u = f[:, 0, 0] * x + f[:, 0, 2] * z
    v = f[:, 1, 0] * x + f[:, 1, 2] * z
    column = (u + REACH / 2) * (1 / (REACH / SHADOW)) - 0.5
    line = (box[:, 1] - v) * (1 / (REACH / SHADOW)) - 0.5
    inside = (column > 0) & (column < SHADOW - 1) & (line > 0) & (line < SHADOW - 1)
    page = torch.arange(len(silhouettes), device=x.device)
    return _bilinear(silhouettes[..., None], page, column, line, (False, False))[0] * inside


@cache
def _painted(device: torch.device, crowd: bool) -> tuple[Tensor, Tensor]:
    """Walls and grounds of the six cameras, or of a crowd's as well, (cameras, H, W, 3) each."""
    places = (place(number) for number in range(len(CAMERAS) + DRAWN * crowd))
    walls, grounds = (torch.from_numpy(np.stack(pictures)).to(device) for pictures in zip(*places, strict=True))
    return walls, grounds


@cache
def _folds(device: torch.device) -> Tensor:
    """Folds of cloth, (H, W)."""
    return torch.from_numpy(fold_noise()).to(device)


def _background(c: Cues, window: Window, silhouettes: Tensor) -> Tensor:
    """Place behind the actors (3, B, H, W), lit, with the shadows that fall on the ground."""
    device = silhouettes.device

    def each(values: Array) -> Tensor:
        return _tensor(values, device, 2)

    i = torch.arange(window.width, device=device, dtype=torch.float32) + 0.5
    j = torch.arange(window.height, device=device, dtype=torch.float32) + 0.5
    u = each(window.left) + i * each(window.du)
    v = each(window.top) - j[:, None] * each(window.dv)
    angle, yaw = np.deg2rad(c["elevation"]), np.deg2rad(c["camera_yaw"])
    angles = (np.sin(angle), 1 / np.sin(angle), 1 / np.cos(angle), np.tan(yaw), 1 / np.cos(yaw))
    sin_e, inv_sin, inv_cos, tan_yaw, inv_yaw = (each(on_grid(x)) for x in angles)
    away = (each(c["wall"]) - u * tan_yaw).clamp(min=0.7)
    up = (v - away * sin_e) * inv_cos
    place_x, place_z = each(c["place_x"]), each(c["place_z"])
    walls, grounds = _painted(device, bool((c["camera"] >= len(CAMERAS)).any()))
    page = torch.from_numpy(c["camera"].copy()).to(device)
    depth = (v * inv_sin).clamp(-4, 4)
    wall = _bilinear(walls, page, (u * inv_yaw + place_x) * (1 / TEXEL), up * (1 / TEXEL), (True, False))
    ground = _bilinear(grounds, page, (u + place_x) * (1 / TEXEL), (depth + place_z) * (1 / TEXEL), (True, True))
    shade = _shadow(silhouettes, c, u, -depth) * each(c["camera_shadow"])
    near = torch.zeros_like(up)
    for foot in np.swapaxes(c["feet"], 0, 1):  # contact: the ground is dark close to the soles
        dx, dz = u - each(foot[:, 0]), depth + each(foot[:, 1])
        near = torch.maximum(near, (1 - (dx * dx * 90 + dz * dz * 30)).clamp(min=0))
    corner = (1 - (away - depth).clamp(min=0) * 2.5).clamp(min=0) * 0.22
    lit = (1 - shade) * (1 - 0.45 * near) * (1 - corner)
    skirting = 1 - (1 - up * 3).clamp(0, 1) * 0.18
    tone = (each(c["camera_key"]) * 0.72 + each(c["camera_ambient"]) * 0.9).transpose(0, 1)
    picture = [torch.where(up > 0, a * skirting, b * lit) for a, b in zip(wall, ground, strict=True)]
    return torch.stack(picture) * tone


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _shade(
    p: Patches, solids: Solids, image: Array, looks: Tensor, depth: Tensor, winner: Tensor, window: Window, c: Cues
) -> tuple[Tensor, Tensor]:
    """Colour (3, K) and flat sample index (K,) of all samples (of B x H x W) where a solid is seen."""
    device, tilt = depth.device, c["tilt"]
    flat = torch.nonzero(winner.reshape(-1) >= 0)[:, 0]
    patch = winner.reshape(-1).index_select(0, flat)
    where = torch.from_numpy(image.astype(np.int32)).to(device).index_select(0, patch)
    line = torch.div(flat, window.width, rounding_mode="floor").to(torch.int32)
    across = flat.to(torch.int32) - (line - where) * window.width  # the place in a table (B, width)
    left, top, du, dv = (_tensor(x, device, 1) for x in (window.left, window.top, window.du, window.dv))
    columns, rows = (torch.arange(size, device=device) for size in (window.width, window.height))
    u = (left + (columns + 0.5) * du).reshape(-1).index_select(0, across)
    v = (top - (rows + 0.5) * dv).reshape(-1).index_select(0, line)
    w, normal = surface(torch.from_numpy(p.table[:SU]).to(device).index_select(1, patch), u, v)
    shift = -np.sum(solids.texture * solids.anchor[:, None, :], axis=2)
    axes = _tensor(np.concatenate([solids.texture.reshape(-1, 9), shift, solids.quarter[:, None]], axis=1).T, device)
    axes = axes.index_select(1, patch)
    point = [axes[3 * i] * u + axes[3 * i + 1] * v + axes[3 * i + 2] * w + axes[9 + i] for i in range(3)]
    material = torch.from_numpy(solids.material).to(device).index_select(0, patch)
    base = paint(looks, material, [*point, axes[12]], _folds(device))
    # The light: a key with cast shadows, the sky from above, and less of it in creases.
    sun, sky = (_tensor(x.T, device) for x in (np.einsum("nij,nj->ni", tilt, c["sun_frame"][:, 2]), tilt[:, :, 1]))
    towards, above = sun.index_select(1, where), sky.index_select(1, where)
    facing = _dot(normal, towards).clamp(min=0)
    open_sky = _dot(normal, above) * 0.28 + 0.72
    first = torch.arange(len(left), dtype=torch.int32, device=device)[:, None] * window.height

    def depth_at(du_m: Tensor, dv_m: Tensor) -> Tensor:
        """Depth beside every sample, by an offset (B, 1) that is the same in all of an image."""
        x = (columns + (du_m / du).round()).clamp(0, window.width - 1).to(torch.int32)
        y = (rows - (dv_m / dv).round()).clamp(0, window.height - 1).to(torch.int32)
        start = ((first + y) * window.width).reshape(-1).index_select(0, line)
        return depth.reshape(-1).index_select(0, start + x.reshape(-1).index_select(0, across))

    lit = torch.ones_like(u)
    for reach in (0.05, 0.11, 0.20):
        over = depth_at(sun[0, :, None] * reach, sun[1, :, None] * reach) - (w + towards[2] * reach)
        lit = lit - lit * ((over > 0.012) & (over < 0.35)) * 0.5
    hidden = torch.zeros_like(u)
    for a, b in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        over = depth_at(torch.full_like(du, 0.040 * a), torch.full_like(dv, 0.040 * b)) - w
        hidden += ((over - 0.008) * 9).clamp(0, 1) * (over < 0.3)
    creases = 1 - hidden * 0.095
    rim = normal[2] * 0.22 + 0.78
    key, ambient = (_tensor(c[name].T, device).index_select(1, where) for name in ("camera_key", "camera_ambient"))
    half = torch.stack([towards[0], towards[1], towards[2] + 1])
    shine = _dot(normal, half).clamp(min=0)
    shine = shine * shine / _dot(half, half)
    shine = shine * shine
    gloss = shine * shine * looks[12].index_select(0, material) * lit
    light = (ambient * (open_sky * creases * rim)).add_(key * (facing * lit * creases))
    return light.mul_(base).mul_(1.06).add_((key * gloss).mul_(0.6)), flat


def _blur(x: Tensor, sigma: Array) -> Tensor:
    """Gaussian blur of (B, 3, H, W) with one sigma (B,) in pixels, its sums always in the same order."""
    radius = max(int(np.ceil(2.5 * sigma.max())), 1)
    at, spread = np.arange(-radius, radius + 1), np.maximum(sigma, 1e-3)[:, None]
    taps = np.where(np.abs(at) <= np.ceil(2.5 * spread), np.exp(-0.5 * (at / spread) ** 2), 0.0)
    taps = np.round(taps / taps.sum(axis=1, keepdims=True) * 2**14) / 2**14
    taps[:, radius] += 1 - taps.sum(axis=1)
    weights = torch.from_numpy(taps.astype(np.float32)).to(x.device)[:, :, None, None, None]
    for axis in (2, 3):
        pad = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded, size = torch.nn.functional.pad(x, pad, mode="replicate"), x.shape[axis]
        x = padded.narrow(axis, 0, size) * weights[:, 0]
        for k in range(1, 2 * radius + 1):
            x = x + padded.narrow(axis, k, size) * weights[:, k]
    return x


def _photograph(scene: Tensor, c: Cues) -> Tensor:
    """What the camera makes of light (B, 3, H, W): uint8, before JPEG."""
    device, (n, _, height, width) = scene.device, scene.shape
    gains = c["camera_gain"] * np.stack([1 + c["warmth"], np.ones(n), 1 - c["warmth"]], axis=1)
    gains *= (c["camera_exposure"] * c["exposure"])[:, None]
    names = ("contrast", "saturation", "haze", "noise")
    contrast, colourful, haze, noise = (_tensor(c[f"camera_{name}"], device, 3) for name in names)
    x = _blur(scene, c["camera_blur"] * height) * _tensor(on_grid(gains), device, 2)
    gray = x[:, 0:1] * 0.30 + x[:, 1:2] * 0.59 + x[:, 2:3] * 0.11
    x = gray + (x - gray) * colourful
    x = x.clamp(0, 1.6)
    x = x * (1.32 / (1 + 0.34 * x * x * x))  # highlights roll off instead of clipping
    x = x.clamp(0, 1)
    x = x + contrast * (x * (1 - x) * (2 * x - 1))
    x = haze + x * (1 - haze)
    dirt = np.stack([_grain(seed, height, width) for seed in c["noise"]])
    x = x + torch.from_numpy(dirt).to(device) * noise
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _grain(seed: int, height: int, width: int) -> Array:
    """Sensor noise (3, H, W) of unit variance: coarse brightness noise and finer colour noise."""
    rng = np.random.default_rng(int(seed))
    bytes_ = rng.integers(0, 256, (2, 4, height, width), dtype=np.uint8).astype(np.float32)
    white = (bytes_[0] + bytes_[1] - 255) * np.float32(1 / 104.5)
    return np.float32(0.8) * white[:1] + np.float32(0.6) * white[1:]


def _samples(x: Tensor) -> list[Tensor]:
    """The SAMPLES x SAMPLES samples of each pixel of (..., H, W)."""
    return [x[..., a::SAMPLES, b::SAMPLES] for a in range(SAMPLES) for b in range(SAMPLES)]


def _mean(x: Tensor) -> Tensor:
    return reduce(torch.add, _samples(x)) * (1 / SAMPLES**2)


def _majority(parts: Tensor) -> Tensor:
    """Most frequent of the labels of each pixel's samples, the smaller one if they tie."""
    a, b, c, d = _samples(parts)
    (a, b), (c, d) = ((torch.minimum(x, y), torch.maximum(x, y)) for x, y in ((a, b), (c, d)))
    least, b, c = torch.minimum(a, c), torch.maximum(a, c), torch.minimum(b, d)  # b and c: the middle two, unordered
    return torch.where(torch.minimum(b, c) == least, least, torch.maximum(b, c))


def _render(
    people: pd.DataFrame, captures: pd.DataFrame, height: int, width: int, device: torch.device, batch: int
) -> tuple[Tensor, Tensor]:
    """Images and part maps of captures: all are posed at once, and drawn `batch` at a time."""
    c, n = _arrays(captures), len(captures)
    actors, looks, capture = _actors(people, c)
    things, thing_looks = _things(c)
    things.material = things.material + len(MATERIALS) * (len(looks) + things.actor)
    things.actor = things.actor + len(capture)
    world = join([actors, things])
    image = np.r_[capture, np.arange(n)][world.actor]
    tilt = _turns(c["elevation"], 0)  # a camera that looks down
    posed = _rounded(world.moved(tilt[image]))
    c = {**c, **_sun(c), "tilt": tilt, "feet": _feet(world, n), "box": _box(posed, c)}
    p, silhouettes = patches(posed), _silhouettes(world, image, c, device)
    look = _tensor(np.concatenate([looks, thing_looks]).reshape(-1, WIDTH).T, device)
    drawn, image = [], image[p.solid]
    for start in range(0, n, batch):
        rows, mine = slice(start, start + batch), image // batch == start // batch
        own = Patches(p.table[:, mine], p.solid[mine], p.low[mine], p.high[mine])
        views = {name: values[rows] for name, values in c.items()}
        drawn.append(_draw(own, posed[own.solid], image[mine] - start, look, silhouettes[rows], views, height, width))
    images, parts = zip(*drawn, strict=True)
    return torch.cat(images), torch.cat(parts)


def _draw(
    p: Patches, solids: Solids, image: Array, looks: Tensor, silhouettes: Tensor, c: Cues, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Images uint8 (B, 3, H, W) and part maps (B, H, W) of patches; the solid and the image (0..B - 1) of each."""
    fine, coarse = (Window(c["box"].T, k * height, k * width) for k in (SAMPLES, 1))
    depth, winner = visible(p, image, fine, looks.device)
    colour, flat = _shade(p, solids, image, looks, depth, winner, fine, c)
    samples = looks.new_zeros(3, depth.numel()).index_copy_(1, flat, colour)
    scene = _background(c, coarse, silhouettes)
    scene = scene * _mean((winner < 0).float()) + _mean(samples.view(3, *depth.shape))
    part = torch.from_numpy(np.r_[0, solids.part].astype(np.uint8)).to(looks.device)
    part = part.index_select(0, winner.reshape(-1) + 1).view(winner.shape)
    return _photograph(scene.transpose(0, 1), c), _majority(part)


def _feet(world: Solids, n: int) -> Array:
    """Middles of the two soles of each capture's person on the ground, (N, 2, 2); far away where nobody is."""
    out = np.full((n, 2, 2), 99.0)
    sole = world.material % len(MATERIALS) == MATERIALS.index.get_loc("sole")
    soles = world[sole & (world.actor < n)]
    middle = soles.origin + 0.5 * soles.frame[:, 1] * (soles.scale[:, 1] * soles.shape[:, 0])[:, None]
    for k in range(2):
        out[soles.actor[k::2], k] = on_grid(middle[k::2, [0, 2]])
    return out


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, else CUDA where there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def stream(
    people: pd.DataFrame, captures: pd.DataFrame, height: int, width: int, device: torch.device, batch: int = BATCH
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, images and part maps of up to POSED batches at once, in order.

    On a CPU each core renders captures of its own with one thread. The tensors of a batch are too small for torch to
    divide well, and threads that wait for each other are slowed down by every other program on the machine.
    """
    workers = threads = torch.get_num_threads()
    group = POSED * batch
    if device.type == "cpu":
        group = min(group, len(captures) // (2 * workers) + 1)
    pieces = (slice(start, start + group) for start in range(0, len(captures), group))

    def job(rows: slice) -> tuple[slice, Tensor, Tensor]:
        return rows, *_render(people, captures.iloc[rows].reset_index(drop=True), height, width, device, batch)

    if device.type != "cpu":
        yield from map(job, pieces)
        return
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        ahead = deque(pool.submit(job, piece) for piece in islice(pieces, workers + 1))
        while ahead:
            done = ahead.popleft().result()
            ahead.extend(pool.submit(job, piece) for piece in islice(pieces, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the workers' setting is also the default of threads to come


def render(
    people: pd.DataFrame,
    captures: pd.DataFrame,
    height: int = 128,
    width: int = 64,
    device: str | torch.device | None = None,
    batch: int = BATCH,
) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, H, W) and part maps uint8 (N, H, W) of captures, as `plan` returns them.

    The pixels depend on the captures alone, not on `batch`, nor on which captures are rendered together.
    """
    where = choose_device(device)
    images = torch.zeros(len(captures), 3, height, width, dtype=torch.uint8, device=where)
    parts = torch.zeros(len(captures), height, width, dtype=torch.uint8, device=where)
    for rows, pixels, maps in stream(people, captures, height, width, where, batch):
        images[rows], parts[rows] = pixels, maps
    return images, parts
