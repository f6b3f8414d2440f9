"""Captures to images: pose the actors, trace them, shade them, put them into a place, photograph the result."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .body import MATERIALS, PARTS, WIDTH, Builder, Solids, cues, join, materials, person, vec
from .raster import GRID, Patches, Window, patches, surface, visible
from .scene import CAMERAS, TEXEL, fold_noise, place
from .textures import paint

SAMPLES = 2  # a side, for every pixel
SHADOW = 48  # samples a side of the silhouette seen from the sun
BATCH = 32
Array = np.ndarray
BOX_HEIGHT = 1.04  # a true box leaves this much room around a person,
BOX_WIDTH = 0.40  # and is at least this share of its height wide; images are resized to their own shape


def _yaw(degrees: Array) -> Array:
    """(N, 3, 3) turns about the vertical; 0 faces the camera, 90 the right of the image."""
    a = np.deg2rad(degrees)
    c, s, o, i = np.cos(a), np.sin(a), np.zeros_like(a), np.ones_like(a)
    return np.stack([c, o, s, o, i, o, -s, o, c], axis=1).reshape(-1, 3, 3)


def _tilt(degrees: Array) -> Array:
    """(N, 3, 3) world to camera space for a camera that looks down by an angle."""
    a = np.deg2rad(degrees)
    c, s, o, i = np.cos(a), np.sin(a), np.zeros_like(a), np.ones_like(a)
    return np.stack([i, o, o, o, c, -s, o, s, c], axis=1).reshape(-1, 3, 3)


def _rounded(solids: Solids) -> Solids:
    """Poses on a grid, so that machines whose sines differ in the last bit draw the same pixels."""
    on_grid = {
        name: np.round(getattr(solids, name) / GRID) * GRID
        for name in ("origin", "frame", "scale", "shape", "texture", "anchor", "quarter")
    }
    return Solids(**{**vars(solids), **on_grid})


def _actors(people: pd.DataFrame, captures: pd.DataFrame) -> tuple[Solids, Array, Array]:
    """World-space solids of everybody in the captures, material tables (A, M, WIDTH), and the capture of each actor.

    The first len(captures) actors are the people the captures are of; strangers beside them follow.
    """
    n = len(captures)
    company = np.flatnonzero(captures["other"].to_numpy() >= 0)
    capture = np.r_[np.arange(n), company]
    rows = np.r_[captures["person"].to_numpy(), captures["other"].to_numpy()[company]]

    def both(main: str, other: str) -> Array:
        return np.r_[captures[main].to_numpy(), captures[other].to_numpy()[company]].astype(float)

    p = cues(people.iloc[rows].reset_index(drop=True))
    solids = person(p, both("gait", "other_gait"), both("pace", "other_pace") * p["stride"])
    height = p["height"].astype(float)[solids.actor]
    solids.origin, solids.anchor = solids.origin * height[:, None], solids.anchor * height[:, None]
    solids.scale, solids.texture = solids.scale * height[:, None], solids.texture / height[:, None, None]
    x = np.r_[np.zeros(n), captures["other_x"].to_numpy()[company]]
    z = np.r_[np.zeros(n), captures["other_z"].to_numpy()[company]]
    shift = vec(x, 0.0, z)[solids.actor]
    solids = solids.moved(_yaw(both("angle", "other_angle"))[solids.actor], shift)
    beside = solids.actor >= n
    before = beside & (z > 0)[solids.actor]
    solids.part = np.where(before, PARTS["occluder"], np.where(beside, PARTS["background"], solids.part))
    keep = beside | ~captures["empty"].to_numpy()[np.minimum(solids.actor, n - 1)]
    solids = _take(solids, keep)
    solids.material = solids.material + len(MATERIALS) * solids.actor
    return solids, materials(p), capture


def _take(solids: Solids, which: Array) -> Solids:
    return Solids(**{name: value[which] for name, value in vars(solids).items()})


# Colour of each material slot of things in the way.
THING_COLOURS = {
    "dark": (0.20, 0.21, 0.22),
    "flap": (0.62, 0.63, 0.64),
    "bag": (0.72, 0.24, 0.16),
    "hat": (0.20, 0.36, 0.16),
}


def _things(captures: pd.DataFrame) -> tuple[Solids, Array]:
    """World-space posts, carts, bollards and plants before the people, and their materials (N, M, WIDTH)."""
    n, b = len(captures), Builder(len(captures))
    kind = captures["thing"].to_numpy()
    at = vec(captures["other_x"].to_numpy(), 0.0, captures["other_z"].to_numpy())
    square = np.broadcast_to(np.eye(3), (n, 3, 3))
    post, cart, bollard, plant = (kind == k for k in ("post", "cart", "bollard", "plant"))

    def up(y: float, x: float = 0.0, z: float = 0.0) -> Array:
        return at + np.array([x, y, z])

    def half(x: float, y: float, z: float) -> Array:
        return np.broadcast_to(np.array([x, y, z]), (n, 3))

    b.limb(up(0.0), up(2.6), 0.055, 0.045, "flap", "occluder", where=post)
    b.box(up(1.55), half(0.15, 0.20, 0.06), square, "bag", "occluder", where=post)
    b.cone(up(0.0), up(0.85), 0.085, 0.085, "dark", "occluder", where=bollard)
    b.limb(up(0.85), up(0.86), 0.09, 0.09, "bag", "occluder", where=bollard)
    b.cone(up(0.66), up(0.74), 0.089, 0.089, "flap", "occluder", where=bollard)
    b.box(up(0.52), half(0.30, 0.20, 0.24), square, "flap", "occluder", where=cart)
    b.box(up(0.76), half(0.25, 0.07, 0.20), square, "bag", "occluder", where=cart)
    b.limb(up(0.85, -0.32), up(0.85, -0.32, 0.2), 0.02, 0.02, "dark", "occluder", where=cart)
    for x in (-0.24, 0.24):
        b.ball(up(0.07, x), half(0.035, 0.07, 0.07), square, "dark", "occluder", where=cart)
        b.limb(up(0.1, x), up(0.4, x), 0.018, 0.018, "dark", "occluder", where=cart)
    b.cone(up(0.0), up(0.42), 0.17, 0.23, "bag", "occluder", where=plant)
    for x, y, r in ((0.0, 0.75, 0.26), (-0.18, 0.62, 0.18), (0.17, 0.66, 0.20), (0.05, 0.98, 0.17)):
        b.ball(up(y, x), half(r, 0.9 * r, r), square, "hat", "occluder", where=plant)
    table = np.zeros((n, len(MATERIALS), WIDTH))
    for name, rgb in THING_COLOURS.items():
        table[:, MATERIALS.index(name), :9] = np.tile(rgb, 3)
    table[:, MATERIALS.index("hat"), 13] = 0.6
    return b.solids(), table


def _frames(solids: Solids, n: int, captures: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    """True boxes (left, right, bottom, top) of the main actors in camera space, four (N,) arrays."""
    low, high = solids.extent()
    mine = solids.actor < n
    left, bottom = np.full(n, np.inf), np.full(n, np.inf)
    right, top = np.full(n, -np.inf), np.full(n, -np.inf)
    actor = solids.actor[mine]
    np.minimum.at(left, actor, low[mine, 0])
    np.maximum.at(right, actor, high[mine, 0])
    np.minimum.at(bottom, actor, low[mine, 1])
    np.maximum.at(top, actor, high[mine, 1])
    nobody = ~np.isfinite(left)
    flat = np.cos(np.deg2rad(captures["elevation"].to_numpy(dtype=float)))
    return (
        np.where(nobody, -0.3, left),
        np.where(nobody, 0.3, right),
        np.where(nobody, 0.0, bottom),
        np.where(nobody, 1.7 * flat, top),
    )


def true_boxes(solids: Solids, captures: pd.DataFrame) -> tuple[Array, Array, Array, Array]:
    """Centre u, centre v, width, height of the boxes a perfect detector would cut."""
    left, right, bottom, top = _frames(solids, len(captures), captures)
    height = (top - bottom) * BOX_HEIGHT
    width = np.clip((right - left) * BOX_HEIGHT, BOX_WIDTH * height, 0.56 * height)
    return (left + right) / 2, (top + bottom) / 2, width, height


def box_error(captures: pd.DataFrame) -> Array:
    """1 - intersection over union of the cut box with the true one, (N,)."""
    zoom, stretch = captures["zoom"].to_numpy(dtype=float), captures["stretch"].to_numpy(dtype=float)
    wide, high = zoom * stretch, zoom

    def overlap(size: Array, shift: Array) -> Array:
        return np.clip(np.minimum(size / 2 + shift, 0.5) - np.maximum(-size / 2 + shift, -0.5), 0, None)

    common = overlap(wide, captures["dx"].to_numpy(dtype=float)) * overlap(high, captures["dy"].to_numpy(dtype=float))
    return 1 - common / (wide * high + 1 - common)


def _window(solids: Solids, captures: pd.DataFrame, height: int, width: int) -> Window:
    u, v, w, h = true_boxes(solids, captures)
    cut_h = h * captures["zoom"].to_numpy()
    cut_w = w * captures["zoom"].to_numpy() * captures["stretch"].to_numpy()
    left = u + w * captures["dx"].to_numpy() - cut_w / 2
    top = v + h * captures["dy"].to_numpy() + cut_h / 2
    grid = [np.round(x / GRID) * GRID for x in (left, top, cut_w, cut_h)]
    return Window(grid[0], grid[1], grid[2] / width, grid[3] / height, height, width)


def _sun(captures: pd.DataFrame) -> Array:
    """(N, 3) directions towards the light in world space."""
    cameras = [CAMERAS[c] for c in captures["camera"]]
    azimuth = np.deg2rad(np.array([c.sun[0] for c in cameras]) + captures["sun"].to_numpy())
    altitude = np.deg2rad(np.array([c.sun[1] for c in cameras]))
    flat = np.cos(altitude)
    return np.round(vec(np.sin(azimuth) * flat, np.sin(altitude), np.cos(azimuth) * flat) / GRID) * GRID


def _settings(captures: pd.DataFrame, name: str, device: torch.device) -> Tensor:
    """A number (B, 1, 1) or colour (B, 3, 1, 1) of each capture's camera."""
    values = torch.tensor([getattr(CAMERAS[c], name) for c in captures["camera"]], dtype=torch.float32, device=device)
    return values[..., None, None]


def _bilinear(texture: Tensor, page: Tensor, x: Tensor, y: Tensor, repeat: tuple[bool, bool]) -> list[Tensor]:
    """Channels of texture (P, H, W, C), picture page (B,), at texel coordinates x, y (B, h, w)."""
    height, width = texture.shape[1:3]
    x0, y0 = x.floor(), y.floor()
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]

    def index(value: Tensor, size: int, wraps: bool) -> Tensor:
        value = value.to(torch.int64)
        return value.remainder(size) if wraps else value.clamp(0, size - 1)

    flat = texture.reshape(-1, texture.shape[-1])
    start = (page * (height * width))[:, None, None]
    xa, xb = (index(x0 + k, width, repeat[0]) for k in (0, 1))
    ya, yb = (start + index(y0 + k, height, repeat[1]) * width for k in (0, 1))
    low = flat[ya + xa] * (1 - fx) + flat[ya + xb] * fx
    high = flat[yb + xa] * (1 - fx) + flat[yb + xb] * fx
    return list((low * (1 - fy) + high * fy).unbind(-1))


def _boxed(x: Tensor, passes: int) -> Tensor:
    """Three-tap box blurs of the last two axes."""
    for _ in range(passes):
        x = torch.nn.functional.pad(x, (1, 1, 1, 1))
        x = x[..., :-2, :] + x[..., 1:-1, :] + x[..., 2:, :]
        x = (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) * (1 / 9)
    return x


class _Sunlight:
    """Who shades what: the silhouette of the actors seen from the sun, (B, SHADOW, SHADOW), softened."""

    REACH = 2.6  # metres a side

    def __init__(self, world: Solids, capture: Array, sun: Array, device: torch.device):
        side = np.stack([sun[:, 2], np.zeros(len(sun)), -sun[:, 0]], axis=1)
        side = side / np.linalg.norm(side, axis=1, keepdims=True)
        self.frame = np.stack([side, np.cross(sun, side), sun], axis=1)
        heavy = np.maximum(world.shape[:, 1], world.shape[:, 2]) * world.scale[:, 0] > 0.032
        seen = _take(world, heavy)
        image = capture[seen.actor]
        seen = _rounded(seen.moved(self.frame[image], np.zeros((len(seen), 3))))
        middle = self.frame[:, 1, 1] * 0.75
        self.left, self.top = (np.full(len(sun), -self.REACH / 2), np.round((middle + self.REACH / 2) / GRID) * GRID)
        self.step = self.REACH / SHADOW
        step = np.full(len(sun), self.step)
        seen_patches = patches(seen)
        window = Window(self.left, self.top, step, step, SHADOW, SHADOW)
        _, winner = visible(seen_patches, image[seen_patches.solid], window, device)
        self.mask = _boxed((winner >= 0).float(), 2)
        self.device = device

    def on_ground(self, x: Tensor, z: Tensor) -> Tensor:
        """Shade 0..1 of ground points x, z (B, H, W)."""
        f = torch.from_numpy(self.frame.astype(np.float32)).to(self.device)[:, :, :, None, None]
        u = f[:, 0, 0] * x + f[:, 0, 2] * z
        v = f[:, 1, 0] * x + f[:, 1, 2] * z
        top = torch.from_numpy(self.top.astype(np.float32)).to(self.device)[:, None, None]
        column, line = (u + self.REACH / 2) * (1 / self.step) - 0.5, (top - v) * (1 / self.step) - 0.5
        inside = (column > 0) & (column < SHADOW - 1) & (line > 0) & (line < SHADOW - 1)
        pages = torch.arange(len(self.mask), device=self.device)
        return _bilinear(self.mask[..., None], pages, column, line, (False, False))[0] * inside


@cache
def _places(device: torch.device) -> tuple[Tensor, Tensor]:
    """Walls and grounds of all cameras, (6, H, W, 3) each."""
    painted = [place(c) for c in range(len(CAMERAS))]
    walls, grounds = (torch.from_numpy(np.stack([p[k] for p in painted])).to(device) for k in (0, 1))
    return walls, grounds


@cache
def _folds(device: torch.device) -> Tensor:
    return torch.from_numpy(fold_noise()).to(device)


def _background(captures: pd.DataFrame, window: Window, light: _Sunlight, feet: Array, device: torch.device) -> Tensor:
    """Place behind the actors (3, B, H, W), lit, with the shadows that fall on the ground."""
    rows = torch.from_numpy

    def each(values: Array) -> Tensor:
        return rows(np.asarray(values, dtype=np.float32)).to(device)[:, None, None]

    i = torch.arange(window.width, device=device, dtype=torch.float32) + 0.5
    j = torch.arange(window.height, device=device, dtype=torch.float32) + 0.5
    u = each(window.left) + i * each(window.du)
    v = each(window.top) - j[:, None] * each(window.dv)
    angle = np.deg2rad(captures["elevation"].to_numpy(dtype=float))
    sine, cosine = np.sin(angle), np.cos(angle)
    yaw = np.deg2rad(np.array([CAMERAS[c].yaw for c in captures["camera"]]))
    rounded = [each(np.round(x / GRID) * GRID) for x in (sine, 1 / sine, 1 / cosine, np.tan(yaw), 1 / np.cos(yaw))]
    sin_e, inv_sin, inv_cos, tan_yaw, inv_yaw = rounded
    away = each(captures["wall"].to_numpy()) - u * tan_yaw
    away = away.clamp(min=0.7)
    up = (v - away * sin_e) * inv_cos
    on_wall = up > 0
    place_x, place_z = each(captures["place_x"].to_numpy()), each(captures["place_z"].to_numpy())
    which = captures["camera"].to_numpy()
    walls, grounds = _places(device)
    page = torch.from_numpy(which.copy()).to(device)
    depth = (v * inv_sin).clamp(-4, 4).expand(-1, -1, window.width)
    wall = _bilinear(walls, page, (u * inv_yaw + place_x) * (1 / TEXEL), up * (1 / TEXEL), (True, False))
    ground = _bilinear(grounds, page, (u + place_x) * (1 / TEXEL), (depth + place_z) * (1 / TEXEL), (True, True))
    shade = light.on_ground(u.expand_as(depth), -depth) * _settings(captures, "shadow", device)
    near = torch.zeros_like(depth)
    for foot in feet:  # contact: the ground is dark close to the soles
        dx, dz = u - each(foot[:, 0]), depth + each(foot[:, 1])
        near = torch.maximum(near, (1 - (dx * dx * 90 + dz * dz * 30)).clamp(min=0))
    corner = (1 - (away - depth).clamp(min=0) * 2.5).clamp(min=0) * 0.22
    lit = (1 - shade) * (1 - 0.45 * near) * (1 - corner)
    skirting = 1 - (1 - up * 3).clamp(0, 1) * 0.18
    key, ambient = _settings(captures, "key", device), _settings(captures, "ambient", device)
    tone = (key * 0.72 + ambient * 0.9).transpose(0, 1)
    picture = [torch.where(on_wall, a * skirting, b * lit) for a, b in zip(wall, ground, strict=True)]
    return torch.stack(picture) * tone


def _shade(
    table: Tensor,
    p: Patches,
    solids: Solids,
    look: Tensor,
    depth: Tensor,
    winner: Tensor,
    window: Window,
    sun: Array,
    tilt: Array,
    captures: pd.DataFrame,
    folds: Tensor,
) -> tuple[Tensor, Tensor]:
    """Colour (3, K) and flat sample index (K,) of all samples (of B x H x W) where a solid is seen."""
    device = depth.device
    flat = torch.nonzero(winner.reshape(-1) >= 0)[:, 0]
    if not len(flat):
        return torch.zeros(3, 0, device=device), flat
    patch = winner.reshape(-1)[flat].to(torch.int64)
    height, width = window.height, window.width
    image = torch.div(flat, height * width, rounding_mode="floor")
    row = torch.div(flat, width, rounding_mode="floor") - image * height
    column = flat - torch.div(flat, width, rounding_mode="floor") * width

    def upload(x: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)

    left, top, du, dv = (upload(x)[image] for x in (window.left, window.top, window.du, window.dv))
    u, v = left + (column + 0.5) * du, top - (row + 0.5) * dv
    w, normal = surface(table[:, patch], u, v)
    solid = torch.from_numpy(p.solid).to(device)[patch]
    rows = upload(
        np.concatenate(
            [
                solids.texture.reshape(-1, 9).T,
                -np.sum(solids.texture * solids.anchor[:, None, :], axis=2).T,
                solids.quarter[None],
            ]
        )
    )[:, solid]
    where = [rows[3 * i] * u + rows[3 * i + 1] * v + rows[3 * i + 2] * w + rows[9 + i] for i in range(3)]
    where.append(rows[12])
    material = look[:, torch.from_numpy(solids.material).to(device)[solid]]
    base = paint(material, where, folds)
    # The light: a key with cast shadows, the sky from above, and less of it in creases.
    towards = upload(np.einsum("nij,nj->ni", tilt, sun)).T[:, image]
    above = upload(tilt[:, :, 1]).T[:, image]
    facing = (normal[0] * towards[0] + normal[1] * towards[1] + normal[2] * towards[2]).clamp(min=0)
    open_sky = (normal[0] * above[0] + normal[1] * above[1] + normal[2] * above[2]) * 0.28 + 0.72
    flat_depth = depth.reshape(-1)

    def depth_at(du_m: Tensor, dv_m: Tensor) -> Tensor:
        c = (column + (du_m / du).round()).clamp(0, width - 1)
        r = (row - (dv_m / dv).round()).clamp(0, height - 1)
        return flat_depth[((image * height + r.to(torch.int64)) * width) + c.to(torch.int64)]

    lit = torch.ones_like(u)
    for reach in (0.05, 0.11, 0.20):
        over = depth_at(towards[0] * reach, towards[1] * reach) - (w + towards[2] * reach)
        lit = torch.where((over > 0.012) & (over < 0.35), lit * 0.5, lit)
    hidden = torch.zeros_like(u)
    for a, b in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
        over = depth_at(torch.full_like(u, 0.040 * a), torch.full_like(u, 0.040 * b)) - w
        hidden += torch.where(over < 0.3, (over - 0.008) * 9, torch.zeros_like(u)).clamp(0, 1)
    creases = 1 - hidden * 0.095
    rim = normal[2] * 0.22 + 0.78
    key, ambient = (_settings(captures, name, device)[:, :, 0, 0].T[:, image] for name in ("key", "ambient"))
    half_u, half_v, half_w = towards[0], towards[1], towards[2] + 1
    shine = (normal[0] * half_u + normal[1] * half_v + normal[2] * half_w).clamp(min=0)
    shine = shine * shine / (half_u * half_u + half_v * half_v + half_w * half_w)
    shine = shine * shine
    gloss = shine * shine * material[12] * lit
    colour = base * (ambient * (open_sky * creases * rim) + key * (facing * lit * creases)) * 1.06 + key * gloss * 0.6
    return colour, flat


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


def _photograph(scene: Tensor, captures: pd.DataFrame) -> Tensor:
    """What the camera makes of light (B, 3, H, W): uint8, before JPEG."""
    device, (n, _, height, width) = scene.device, scene.shape

    def each(values: Array) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.float32)).to(device)[:, None, None, None]

    warmth = captures["warmth"].to_numpy()
    gains = np.array([CAMERAS[c].gain for c in captures["camera"]]) * np.stack(
        [1 + warmth, np.ones(n), 1 - warmth], axis=1
    )
    gains *= (np.array([CAMERAS[c].exposure for c in captures["camera"]]) * captures["exposure"].to_numpy())[:, None]
    gain = torch.from_numpy(np.round(gains / GRID) * GRID).to(device=device, dtype=torch.float32)[:, :, None, None]
    contrast, colourful, haze, noise = (
        each(np.array([getattr(CAMERAS[c], k) for c in captures["camera"]]))
        for k in ("contrast", "saturation", "haze", "noise")
    )
    x = _blur(scene, np.array([CAMERAS[c].blur for c in captures["camera"]]) * height) * gain
    gray = x[:, 0:1] * 0.30 + x[:, 1:2] * 0.59 + x[:, 2:3] * 0.11
    x = gray + (x - gray) * colourful
    x = x.clamp(0, 1.6)
    x = x * (1.32 / (1 + 0.34 * x * x * x))  # highlights roll off instead of clipping
    x = x.clamp(0, 1)
    x = x + contrast * (x * (1 - x) * (2 * x - 1))
    x = haze + x * (1 - haze)
    dirt = np.stack([_grain(seed, height, width) for seed in captures["noise"]])
    x = x + torch.from_numpy(dirt).to(device) * noise
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def _grain(seed: int, height: int, width: int) -> Array:
    """Sensor noise (3, H, W) of unit variance: coarse brightness noise and finer colour noise."""
    rng = np.random.default_rng(int(seed))
    bytes_ = rng.integers(0, 256, (2, 4, height, width), dtype=np.uint8).astype(np.float32)
    white = (bytes_[0] + bytes_[1] - 255) * np.float32(1 / 104.5)
    return np.float32(0.8) * white[:1] + np.float32(0.6) * white[1:]


def _majority(parts: Tensor) -> Tensor:
    """Most frequent of the SAMPLES x SAMPLES labels of each pixel (4, ...), the smaller one if they tie."""
    a, b, c, _ = torch.sort(parts, dim=0)[0]
    return torch.where(a == b, a, c)


def _render(
    people: pd.DataFrame, captures: pd.DataFrame, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    n = len(captures)
    world, looks, capture = _actors(people, captures)
    things, thing_looks = _things(captures)
    things.material = things.material + len(MATERIALS) * (len(looks) + things.actor)
    things.actor = things.actor + len(capture)
    everything, capture = join([world, things]), np.r_[capture, np.arange(n)]
    image = capture[everything.actor]
    tilt, sun = _tilt(captures["elevation"].to_numpy(dtype=float)), _sun(captures)
    posed = _rounded(everything.moved(tilt[image], np.zeros((len(everything), 3))))
    fine = _window(posed, captures, SAMPLES * height, SAMPLES * width)
    p = patches(posed)
    depth, winner = visible(p, image[p.solid], fine, device)
    table = torch.from_numpy(p.table).to(device)
    look = torch.from_numpy(np.concatenate([looks, thing_looks]).reshape(-1, WIDTH).T.astype(np.float32)).to(device)
    folds = _folds(device)
    colour, flat = _shade(table, p, posed, look, depth, winner, fine, sun, tilt, captures, folds)
    light = _Sunlight(everything, capture, sun, device)
    coarse = Window(fine.left, fine.top, fine.du * SAMPLES, fine.dv * SAMPLES, height, width)
    scene = _background(captures, coarse, light, _feet(everything, n), device)
    samples = torch.zeros(3, depth.numel(), device=device)
    samples[:, flat] = colour
    samples = samples.view(3, *depth.shape)
    empty = (winner < 0).float()
    offsets = [(a, b) for a in range(SAMPLES) for b in range(SAMPLES)]

    def mean(x: Tensor) -> Tensor:
        total = x[..., 0::SAMPLES, 0::SAMPLES]
        for a, b in offsets[1:]:
            total = total + x[..., a::SAMPLES, b::SAMPLES]
        return total * (1 / len(offsets))

    scene = scene * mean(empty) + mean(samples)
    part = torch.from_numpy(np.r_[posed.part[p.solid], 0].astype(np.uint8)).to(device)[winner.to(torch.int64)]
    parts = _majority(torch.stack([part[:, a::SAMPLES, b::SAMPLES] for a, b in offsets]))
    return _photograph(scene.transpose(0, 1), captures), parts


def _feet(world: Solids, n: int) -> Array:
    """Middles of the two soles of each capture's person on the ground, (2, N, 2); far away where nobody is."""
    out = np.full((2, n, 2), 99.0)
    soles = np.flatnonzero((world.material % len(MATERIALS) == MATERIALS.index("sole")) & (world.actor < n))
    middle = world.origin + 0.5 * world.frame[:, 1] * (world.scale[:, 1] * world.shape[:, 0])[:, None]
    for k in range(2):
        mine = soles[k::2]
        out[k, world.actor[mine]] = np.round(middle[mine][:, [0, 2]] / GRID) * GRID
    return out


def batches(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def stream(
    people: pd.DataFrame, captures: pd.DataFrame, height: int, width: int, device: torch.device, batch: int = BATCH
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, images and part maps of one batch after the other, in order.

    On a CPU each core renders batches of its own with one thread. The tensors of a batch are too small for torch to
    divide well, and threads that wait for each other are slowed down by every other program on the machine.
    """

    def job(rows: slice) -> tuple[slice, Tensor, Tensor]:
        return rows, *_render(people, captures.iloc[rows].reset_index(drop=True), height, width, device)

    if device.type != "cpu":
        yield from map(job, batches(len(captures), batch))
        return
    workers = threads = torch.get_num_threads()
    pieces = batches(len(captures), max(min(batch, -(-len(captures) // workers)), 1))
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


def chosen(device: str | torch.device | None) -> torch.device:
    """The device asked for, else CUDA where there is one, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


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
    where = chosen(device)
    images = torch.zeros(len(captures), 3, height, width, dtype=torch.uint8, device=where)
    parts = torch.zeros(len(captures), height, width, dtype=torch.uint8, device=where)
    for rows, pixels, maps in stream(people, captures, height, width, where, batch):
        images[rows], parts[rows] = pixels, maps
    return images, parts
