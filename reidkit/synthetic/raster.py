"""Closed-form visibility: every solid is a few patches of quadrics, and each patch is seen at most once a ray.

Camera space has u to the right, v up and w towards the viewer, in metres; rays run along -w. A patch is the sheet
w = L(u, v) + g sqrt(Q(u, v)) where Q >= 0 and lo <= S(u, v) + s w <= hi, with L and S linear and Q quadratic: the
front of a sphere, of a cone between two planes (g = 1), and flat ends and box faces (g = 0) alike.

Only sums, products, quotients and square roots are taken at the pixels, each by a kernel of its own: IEEE defines
their results to the last bit, so neither the batch size nor the device changes them. What is looked up is looked up by
`index_select`, which on a CPU takes a tenth of the time of square brackets; and where samples differ in what they take,
a `lerp` by 0 or 1 chooses exactly, without the branch that `where` has for each of them.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .body import BOX, CAPPED, ROUND, Array, Number, Solids

TILE = 8
NO_DEPTH = -1e6
# Rows of a patch table.
LU, LV, L1, QUU, QVV, Q11, QUV, QU1, QV1, G, SU, SV, S1, SW, LO, HI = range(16)
GRID = 2.0**-15  # metres: poses are rounded to it, so that the last bit of a sine cannot reach a pixel


def on_grid(x: Array) -> Array:
    return np.round(x / GRID) * GRID


@dataclass
class Patches:
    """table (16, P) float32, the solid of each patch (P,), and corners of its bounding rectangle (P, 2)."""

    table: Array
    solid: Array
    low: Array
    high: Array


def _outer(x: Array) -> Array:
    return x[..., :, None] * x[..., None, :]


def _row(
    line: Array,
    form: Array,
    valid: Array,
    *,
    curved: bool,
    gain: Number = 1.0,
    clip: Number = 0.0,
    slope: Number = 0.0,
    low: Number = -1e9,
    high: Number = 1e9,
) -> Array:
    """One patch a solid as (N, 16); `form` (N, 3, 3) is Q in (u, v, 1), negative everywhere if not valid."""
    row = np.zeros((len(form), 16))
    row[:, LU : L1 + 1], row[:, SU : S1 + 1], row[:, SW] = line, clip, slope
    row[:, QUU : Q11 + 1] = np.diagonal(form, axis1=1, axis2=2)
    row[:, QUV : QV1 + 1] = 2 * np.stack([form[:, 0, 1], form[:, 0, 2], form[:, 1, 2]], axis=1)
    row[:, QUU : QV1 + 1] *= np.broadcast_to(gain, len(form))[:, None]
    row[~valid] = 0
    row[~valid, Q11] = -1
    row[:, G], row[:, LO], row[:, HI] = curved, low, high
    return row


def _quadric(ray: Array, base: Array, sign: Array, const: Array) -> tuple[Array, ...]:
    """Front sheet of sum_i sign_i (base_i . (u, v, 1) + ray_i w)^2 = const: line, 1 / A^2, form, A > 0."""
    a = np.sum(sign * ray * ray, axis=1)
    b = np.sum((sign * ray)[:, :, None] * base, axis=1)
    c = np.sum(sign[:, :, None, None] * _outer(base), axis=1)
    c[:, 2, 2] -= const
    valid = a > 1e-6
    a = np.where(valid, a, 1.0)
    return -b / a[:, None], 1 / (a * a), _outer(b) - a[:, None, None] * c, valid


def patches(solids: Solids) -> Patches:
    """Patches of solids that are already in camera space; three a solid, unused ones left out."""
    n = len(solids)
    matrix = solids.frame / solids.scale[:, :, None]
    ray = matrix[:, :, 2]
    base = np.concatenate([matrix[:, :, :2], -np.sum(matrix * solids.origin[:, None, :], axis=2)[:, :, None]], axis=2)
    length, ra, rb = solids.shape.T
    is_round, is_box = solids.kind == ROUND, solids.kind == BOX
    slope = (ra - rb) / np.maximum(length, 1e-9)
    taper = np.clip(slope, -0.999, 0.999)
    cosine = np.sqrt(1 - taper * taper)
    m, k = np.where(is_round, taper / cosine, slope), np.where(is_round, ra / cosine, ra)
    start, stop = np.where(is_round, ra * taper, 0.0), np.where(is_round, length + rb * taper, length)
    # The side: x^2 + z^2 = (k - m y)^2 between two planes.
    cone_ray, cone_base = ray.copy(), base.copy()
    cone_ray[:, 1], cone_base[:, 1] = -m * ray[:, 1], -m[:, None] * base[:, 1]
    cone_base[:, 1, 2] += k
    line, gain, form, valid = _quadric(cone_ray, cone_base, np.array([[1.0, -1.0, 1.0]]), np.zeros(n))
    valid = valid & ~is_box & (length > 0)
    plane = {"clip": base[:, 1], "slope": ray[:, 1], "low": start, "high": stop}
    rows = [_row(line, form, valid, curved=True, gain=gain, **plane)]
    for end, radius in ((np.zeros(n), ra), (length, rb)):
        ball_base = base.copy()
        ball_base[:, 1, 2] -= end
        line, gain, form, valid = _quadric(ray, ball_base, np.ones((1, 3)), radius * radius)
        rows.append(_row(line, form, valid & is_round & ((end == 0) | (length > 0)), curved=True, gain=gain))
    # The end of a capped cone that faces the viewer takes the second place, faces of a box all three.
    seen = np.abs(ray) > 1e-6
    facing = np.where(seen, ray, 1e-6)
    end, radius = np.where(facing[:, 1] > 0, length, 0.0), np.where(facing[:, 1] > 0, rb, ra)
    line = (np.array([0, 0, 1.0]) * end[:, None] - base[:, 1]) / facing[:, 1, None]
    disc = -_outer(base[:, 0] + ray[:, 0, None] * line) - _outer(base[:, 2] + ray[:, 2, None] * line)
    disc[:, 2, 2] += radius * radius
    cap = _row(line, disc, seen[:, 1], curved=False)
    rows[1] = np.where((solids.kind == CAPPED)[:, None], cap, rows[1])
    for i, (j, l) in enumerate(((1, 2), (0, 2), (0, 1))):
        line = (np.array([0, 0, 1.0]) * np.sign(facing[:, i, None]) - base[:, i]) / facing[:, i, None]
        slab = -_outer(base[:, j] + ray[:, j, None] * line)
        slab[:, 2, 2] += 1
        face = _row(line, slab, seen[:, i], curved=False, clip=base[:, l], slope=ray[:, l], low=-1.0, high=1.0)
        rows[i] = np.where(is_box[:, None], face, rows[i])
    low, high = _rectangles(solids, start, stop, np.abs(k - m * start), np.abs(k - m * stop))
    table = np.stack(rows, axis=1)
    keep = ~((table[:, :, Q11] == -1) & (table[:, :, QUU] == 0) & (table[:, :, QVV] == 0))
    solid = np.broadcast_to(np.arange(n)[:, None], (n, 3))[keep]
    return Patches(np.ascontiguousarray(table[keep].T.astype(np.float32)), solid, low[keep], high[keep])


def _rectangles(solids: Solids, start: Array, stop: Array, r0: Array, r1: Array) -> tuple[Array, Array]:
    """Bounding rectangles (N, 3, 2) in u and v of the three patches of each solid."""
    spread = np.swapaxes(solids.frame, -1, -2)[:, :2] * solids.scale[:, None, :]
    ball = np.linalg.norm(spread, axis=-1)
    ring = np.linalg.norm(spread[:, :, ::2], axis=-1)
    axis = solids.frame[:, 1, :2] * solids.scale[:, 1:2]
    length, ra, rb = solids.shape.T
    at = solids.origin[:, :2]

    def both(y0: Array, size0: Array, y1: Array, size1: Array) -> tuple[Array, Array]:
        a, b = at + axis * y0[:, None], at + axis * y1[:, None]
        return np.minimum(a - size0, b - size1), np.maximum(a + size0, b + size1)

    zero = np.zeros_like(length)
    side = both(start, ring * r0[:, None], stop, ring * r1[:, None])
    near = both(zero, ball * ra[:, None], zero, ball * ra[:, None])
    far = both(length, ball * rb[:, None], length, ball * rb[:, None])
    whole = both(zero, ring * ra[:, None], length, ring * rb[:, None])
    box = (at - np.abs(spread).sum(-1), at + np.abs(spread).sum(-1))
    capped, boxed = ((solids.kind == kind)[:, None] for kind in (CAPPED, BOX))
    low, high = (
        np.stack([np.where(boxed, box[i], r) for r in (side[i], np.where(capped, whole[i], near[i]), far[i])], axis=1)
        for i in range(2)
    )
    return low, high


class Window:
    """What B images show of camera space: u = left + (i + 1/2) du, v = top - (j + 1/2) dv; size in samples."""

    def __init__(self, box: Array, height: int, width: int) -> None:
        """Of boxes (4, B): left, top, width and height in metres."""
        left, top, wide, tall = box
        self.height, self.width = height, width
        self.left, self.top, self.du, self.dv = np.stack([left, top, wide / width, tall / height]).astype(np.float32)


def visible(p: Patches, image: Array, window: Window, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nearest patch at every sample: depth w (B, H, W) float32, NO_DEPTH where none, and patch (B, H, W) int32 or -1.

    Patches are bounded to 8 x 8 tiles; the k-th candidates of all tiles are compared at once. Tiles come in the order
    of how many candidates they have, most first, so that those with a k-th one are always the first ones; they are the
    last axis, which is the long one.
    """
    n, th, tw = len(window.left), -(-window.height // TILE), -(-window.width // TILE)
    scale = np.stack([window.du, window.dv], axis=1)[image]
    corner = np.stack([window.left, window.top], axis=1)[image]
    x0 = np.floor((p.low[:, 0] - corner[:, 0]) / scale[:, 0] - 0.5) // TILE
    x1 = np.floor((p.high[:, 0] - corner[:, 0]) / scale[:, 0] + 0.5) // TILE
    y0 = np.floor((corner[:, 1] - p.high[:, 1]) / scale[:, 1] - 0.5) // TILE
    y1 = np.floor((corner[:, 1] - p.low[:, 1]) / scale[:, 1] + 0.5) // TILE
    x0, x1 = (np.clip(x, a, b).astype(np.int64) for x, a, b in ((x0, 0, tw), (x1, -1, tw - 1)))
    y0, y1 = (np.clip(y, a, b).astype(np.int64) for y, a, b in ((y0, 0, th), (y1, -1, th - 1)))
    wide, high = np.maximum(x1 - x0 + 1, 0), np.maximum(y1 - y0 + 1, 0)
    count = wide * high
    patch = np.repeat(np.arange(len(count)), count)
    step = np.arange(len(patch)) - np.repeat(np.cumsum(count) - count, count)
    tile = (image[patch] * th + y0[patch] + step // wide[patch]) * tw + x0[patch] + step % wide[patch]
    candidates = np.bincount(tile, minlength=n * th * tw)
    busy = np.argsort(-candidates, kind="stable")[: np.count_nonzero(candidates)]
    rank = np.arange(len(tile)) - np.repeat(np.cumsum(candidates) - candidates, candidates)
    bounds = np.r_[0, np.cumsum(np.bincount(rank))]
    place = np.full(len(candidates), len(busy), dtype=np.int32)  # empty tiles share one place after all others
    place[busy] = np.arange(len(busy))
    ids = np.empty(len(tile), dtype=np.int32)
    small = tile.astype(np.min_scalar_type(len(place)))  # numpy sorts numbers of 16 bits much faster
    ids[bounds[rank] + np.repeat(place, candidates)] = patch[np.argsort(small, kind="stable")]
    lane = (np.arange(TILE) + 0.5).astype(np.float32)[:, None]
    where, line, column = busy // (th * tw), busy // tw % th, busy % tw
    left, top, du, dv = (x[where] for x in (window.left, window.top, window.du, window.dv))
    u = torch.from_numpy(left + (column * TILE).astype(np.float32) * du + lane * du).to(device)
    v = torch.from_numpy(top - (line * TILE).astype(np.float32) * dv - lane * dv).to(device)[:, None]
    table, which = torch.from_numpy(p.table).to(device), torch.from_numpy(ids).to(device)
    number = which + 1.0
    depth = torch.full((TILE, TILE, len(busy) + 1), NO_DEPTH, device=device)
    winner = torch.zeros_like(depth)  # the number of the nearest patch; it rises from candidate to candidate
    for a, b in pairwise(bounds):
        nearest, last = depth[..., : b - a], winner[..., : b - a]
        w, room = _sheet(table.index_select(1, which[a:b]), u[:, : b - a], v[..., : b - a])
        seen = room.ge_(0).mul_((w - nearest).gt_(0))
        nearest.lerp_(w, seen)
        torch.maximum(last, seen.mul_(number[a:b]), out=last)
    lanes = torch.arange(TILE**2, dtype=torch.int32, device=device).view(TILE, 1, TILE) * (len(busy) + 1)
    at = (torch.from_numpy(place).to(device).view(n, th, 1, tw, 1) + lanes).reshape(-1)

    def image_of(x: Tensor) -> Tensor:
        whole = x.view(-1).index_select(0, at).view(n, th * TILE, tw * TILE)
        return whole[:, : window.height, : window.width]

    return image_of(depth), image_of(winner).to(torch.int32) - 1


def _sheet(t: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of patches t (16, E) at u (8, E), v (8, 1, E), and a number below 0 where they end; both (8, 8, E)."""
    q = (t[QUU] * u + t[QU1]) * u + ((t[QVV] * v + t[QV1]) * v + t[Q11])
    q += (t[QUV] * v) * u
    w = q.abs().sqrt_().mul_(t[G])
    w += (t[LU] * u) + (t[LV] * v + t[L1])
    s = w * t[SW]
    s += (t[SU] * u) + (t[SV] * v + t[S1])
    return w, torch.minimum(q, torch.minimum(s - t[LO], t[HI] - s))


def surface(t: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Depth (K,) and unit normal (3, K) of the sheets t (16, K) at u, v (K,)."""
    q = (t[QUU] * u + t[QU1]) * u + ((t[QVV] * v + t[QV1]) * v + t[Q11])
    q = q + (t[QUV] * v) * u
    root = q.clamp(min=0).sqrt()
    w = root * t[G] + ((t[LU] * u) + (t[LV] * v + t[L1]))
    double = root * 2
    qu = (t[QUU] * u) * 2 + t[QUV] * v + t[QU1]
    qv = (t[QVV] * v) * 2 + t[QUV] * u + t[QV1]
    nu = -torch.lerp(t[LU], t[LU] * double + qu, t[G])
    nv = -torch.lerp(t[LV], t[LV] * double + qv, t[G])
    nw = torch.lerp(torch.ones_like(double), double, t[G])
    norm = (nu * nu + nv * nv + nw * nw).sqrt().clamp(min=1e-12)
    return w, torch.stack([nu / norm, nv / norm, nw / norm])
