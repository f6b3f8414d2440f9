"""Cameras, each with its own light, colour and place: six that have names, and a crowd's, drawn at random."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

TEXEL = 0.0125  # metres a texel
WALL = (288, 960)  # texels: 3.6 m high, 12 m round
MUTED = 0.48  # share of a place's colourfulness that is kept
LEVELLED = 0.6  # share of the difference from the usual brightness that is taken away
GROUND = (512, 512)  # 6.4 m x 6.4 m, repeated
DRAWN = 96  # cameras of a crowd, numbered after the six


Colour = list[float]


@dataclass(frozen=True)
class Camera:
    """One camera. Angles in degrees, lengths in metres, colours as RGB factors."""

    name: str
    elevation: float
    sun: list[float]  # azimuth (0 behind the camera, positive from the right) and altitude
    key: Colour
    ambient: Colour
    gain: Colour
    exposure: float
    contrast: float
    saturation: float
    haze: float
    shadow: float
    blur: float  # standard deviation as a share of the image height
    noise: float
    quality: int
    wall: float  # distance from the person
    yaw: float  # angle of the wall
    background_blur: int  # texels
    wall_colour: Colour  # of the place before anything is painted on it
    ground_colour: Colour


CAMERAS = tuple(
    Camera(**camera) for camera in tomllib.loads(Path(__file__).with_name("cameras.toml").read_text())["cameras"]
)


@cache
def camera(number: int) -> Camera:
    """Camera 0..5 of the benchmark, or one of a crowd's, 6 to 5 + DRAWN, each drawn from a seed of its own."""
    if number < len(CAMERAS):
        return CAMERAS[number]
    rng = np.random.default_rng([12, number])

    def colour(low: float, high: float, tint: float) -> Colour:
        return list(rng.uniform(low, high) * (1 + tint * rng.uniform(-1, 1, 3)))

    return Camera(
        name=f"drawn {number - len(CAMERAS) + 1}",
        elevation=rng.uniform(4, 28),
        sun=[rng.uniform(-180, 180), rng.uniform(30, 80)],
        key=colour(0.5, 0.95, 0.12),
        ambient=colour(0.36, 0.56, 0.08),
        gain=colour(0.94, 1.06, 0.05),
        exposure=rng.uniform(0.9, 1.1),
        contrast=rng.uniform(0.1, 0.35),
        saturation=rng.uniform(0.8, 1.1),
        haze=rng.uniform(0, 0.06),
        shadow=rng.uniform(0.1, 0.55),
        blur=rng.uniform(0.0025, 0.0075),
        noise=rng.uniform(0.004, 0.02),
        quality=int(rng.integers(65, 95)),
        wall=rng.uniform(1.1, 2.6),
        yaw=rng.uniform(-20, 20),
        background_blur=int(rng.integers(0, 3)),
        wall_colour=colour(0.3, 0.75, 0.3),
        ground_colour=colour(0.35, 0.8, 0.15),
    )


def _noise(shape: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in -1..1 that repeats at the borders; `cells` bumps along the shorter side."""
    size = min(shape) // cells
    grid = rng.uniform(-1, 1, (max(shape[0] // size, 1), max(shape[1] // size, 1)))

    def blend(values: np.ndarray, length: int) -> np.ndarray:
        at = np.arange(length) * len(values) / length
        low, t = np.floor(at).astype(int), at % 1
        t = (t * t * (3 - 2 * t)).reshape(-1, *[1] * (values.ndim - 1))
        return values[low % len(values)] * (1 - t) + values[(low + 1) % len(values)] * t

    return blend(blend(grid, shape[0]).T, shape[1]).T


def fold_noise() -> np.ndarray:
    """(256, 256) smooth noise, repeating, from which cloth folds and hair strands are read."""
    rng = np.random.default_rng(7)
    return (0.65 * _noise((256, 256), 16, rng) + 0.35 * _noise((256, 256), 40, rng)).astype(np.float32)


# Ends of the tubes of a bicycle, in metres from where its rear wheel stands.
_TUBES = (
    ((0.0, 0.33), (0.32, 0.75)),
    ((0.32, 0.75), (0.85, 0.78)),
    ((0.42, 0.33), (0.85, 0.78)),
    ((1.0, 0.33), (0.82, 0.95)),
    ((0.42, 0.33), (0.28, 0.88)),
    ((0.0, 0.33), (0.42, 0.33)),
)


class Canvas:
    """A picture of a flat surface, painted in metres with row 0 at the bottom; repeats sideways."""

    def __init__(self, shape: tuple[int, int], colour: Colour, rng: np.random.Generator):
        self.pixels = np.ones((*shape, 3)) * np.array(colour)
        self.rng = rng

    def grain(self, amount: float, cells: int) -> None:
        """Blotches of brightness."""
        self.pixels *= 1 + amount * _noise(self.pixels.shape[:2], cells, self.rng)[..., None]

    def rect(self, x: float, y: float, w: float, h: float, colour: object, opacity: float = 1.0) -> None:
        """Filled rectangle with its lower left corner at (x, y)."""
        rows = slice(max(round(y / TEXEL), 0), max(round((y + h) / TEXEL), 0))
        columns = np.arange(round(x / TEXEL), round((x + w) / TEXEL)) % self.pixels.shape[1]
        block = self.pixels[rows, columns]
        self.pixels[rows, columns] = block * (1 - opacity) + opacity * np.asarray(colour, dtype=float)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: object, ring: float = 0.0) -> None:
        """Filled ellipse, or a ring of the given thickness."""
        height, width = self.pixels.shape[:2]
        rows = np.arange(max(int((y - ry) / TEXEL), 0), min(int((y + ry) / TEXEL) + 2, height))
        columns = np.arange(int((x - rx) / TEXEL), int((x + rx) / TEXEL) + 2)
        dy, dx = rows[:, None] * TEXEL - y, columns[None] * TEXEL - x
        inside = (dx / rx) ** 2 + (dy / ry) ** 2 <= 1
        if ring:
            inside &= (dx / (rx - ring)) ** 2 + (dy / (ry - ring)) ** 2 > 1
        r, c = np.nonzero(inside)
        self.pixels[rows[r], columns[c] % width] = np.asarray(colour, dtype=float)

    def tiles(self, w: float, h: float, joint: tuple[float, float, float], vary: float, offset: bool = False) -> None:
        """Rows of bricks or slabs w x h with visible joints and slightly different stones."""
        height, width = (n * TEXEL for n in self.pixels.shape[:2])
        for i in range(round(height / h)):
            y, shift = i * h, 0.5 * w * (i % 2) * offset
            for j in range(round(width / w)):
                tint = 1 + vary * self.rng.uniform(-1, 1)
                x0, x1 = round((j * w + shift) / TEXEL), round(((j + 1) * w + shift) / TEXEL)
                rows = slice(round(y / TEXEL), round((y + h) / TEXEL))
                self.pixels[rows, np.arange(x0, x1) % self.pixels.shape[1]] *= tint
            self.rect(0, y, width, 0.02, joint, 0.8)
            for j in range(round(width / w)):
                self.rect(j * w + shift, y, 0.02, h, joint, 0.8)

    def bush(self, x: float, y: float, r: float, greens: np.ndarray) -> None:
        """Overlapping leaves."""
        for _ in range(int(90 * r)):
            angle, reach = self.rng.uniform(0, 2 * np.pi), r * np.sqrt(self.rng.random())
            leaf = greens[self.rng.integers(len(greens))] * self.rng.uniform(0.6, 1.25)
            size = self.rng.uniform(0.05, 0.11)
            self.disc(x + reach * np.cos(angle), max(y + 0.9 * reach * np.sin(angle), 0), size, 0.8 * size, leaf)

    def bicycle(self, x: float, colour: object) -> None:
        """Two wheels and a frame, leaning on the wall."""
        for wheel in (x, x + 1.0):
            self.disc(wheel, 0.33, 0.33, 0.33, (0.08, 0.08, 0.09), ring=0.045)
            self.disc(wheel, 0.33, 0.05, 0.05, (0.3, 0.3, 0.3))
        for (x0, y0), (x1, y1) in _TUBES:
            for step in np.linspace(0, 1, 60):
                self.rect(x + x0 + step * (x1 - x0) - 0.02, y0 + step * (y1 - y0), 0.04, 0.04, colour)
        self.rect(x + 0.18, 0.88, 0.24, 0.05, (0.07, 0.06, 0.06))

    def figure(self, x: float, base: float, height: float, top: object, bottom: object) -> None:
        """A passer-by far away."""
        h = height
        self.disc(x - 0.05 * h, base + 0.24 * h, 0.055 * h, 0.25 * h, bottom)
        self.disc(x + 0.06 * h, base + 0.24 * h, 0.055 * h, 0.25 * h, bottom)
        self.disc(x, base + 0.65 * h, 0.135 * h, 0.19 * h, top)
        self.disc(x, base + 0.92 * h, 0.065 * h, 0.075 * h, (0.20, 0.15, 0.13))
        self.disc(x, base + 0.90 * h, 0.045 * h, 0.055 * h, (0.70, 0.54, 0.44))

    def blurred(self, texels: int) -> np.ndarray:
        """(H, W, 3) float32 after three box blurs, which come close to a Gaussian and are exact everywhere."""
        out = self.pixels
        for _ in range(3 if texels else 0):
            taps = range(-texels, texels + 1)
            out = sum(np.roll(out, k, 1) for k in taps) / len(taps)
            rows = np.arange(out.shape[0])
            out = sum(out[np.clip(rows + k, 0, len(rows) - 1)] for k in taps) / len(taps)
        return np.clip(out, 0, 1).astype(np.float32)


def _passers(wall: Canvas, n: int, base: float) -> None:
    for _ in range(n):
        top, bottom = wall.rng.uniform(0.1, 0.8, 3), wall.rng.uniform(0.1, 0.4) * np.ones(3)
        wall.figure(wall.rng.uniform(0, 12), base * wall.rng.uniform(0.8, 1.2), wall.rng.uniform(0.9, 1.4), top, bottom)


def _shelves(wall: Canvas, x: float, w: float, y0: float, rows: int, pitch: float) -> None:
    """Shelves of goods: boxes and bottles in runs of one colour."""
    rng = wall.rng
    wall.rect(x, 0, w, y0 + rows * pitch, (0.30, 0.30, 0.31))
    for row in range(rows):
        y, at = y0 + row * pitch, x + 0.03
        while at < x + w - 0.08:
            colour, size = rng.uniform(0.15, 0.9, 3), rng.uniform(0.07, 0.16)
            tall = pitch * rng.uniform(0.45, 0.8)
            for _ in range(int(rng.integers(1, 5))):
                if at + size < x + w:
                    wall.rect(at, y, size * 0.86, tall, colour * rng.uniform(0.9, 1.1))
                    wall.rect(at, y + 0.3 * tall, size * 0.86, 0.25 * tall, np.clip(colour * 1.5, 0, 1), 0.6)
                at += size
        wall.rect(x, y - 0.035, w, 0.035, (0.78, 0.78, 0.76))


def _shop_front(wall: Canvas, ground: Canvas) -> None:
    wall.grain(0.06, 4)
    for x in np.arange(0, 12, 3.0):
        wall.rect(x + 0.3, 0.0, 2.4, 2.6, (0.13, 0.15, 0.17))
        _shelves(wall, x + 1.55, 1.0, 0.25, 5, 0.4)
        wall.rect(x + 0.3, 0.0, 2.4, 2.6, (0.35, 0.42, 0.46), 0.35)
        for door in (0.3, 0.9, 1.5, 2.64):
            wall.rect(x + door, 0, 0.06, 2.6, (0.62, 0.63, 0.64))
        wall.rect(x + 1.32, 0.95, 0.05, 0.35, (0.9, 0.9, 0.9))
        wall.rect(x, 2.6, 3.0, 0.6, wall.rng.uniform(0.25, 0.8, 3))
    _passers(wall, 4, 0.25)
    wall.bush(5.9, 0.45, 0.42, np.array([[0.20, 0.36, 0.16], [0.30, 0.45, 0.20]]))
    wall.rect(5.65, 0, 0.5, 0.32, (0.55, 0.36, 0.26))
    ground.grain(0.10, 12)
    ground.tiles(0.8, 0.4, (0.36, 0.35, 0.34), 0.09, offset=True)


def _brick_street(wall: Canvas, ground: Canvas) -> None:
    wall.tiles(0.30, 0.12, (0.62, 0.58, 0.53), 0.22, offset=True)
    for x in (1.0, 5.2, 9.4):
        wall.rect(x - 0.08, 0.92, 1.36, 1.46, (0.84, 0.82, 0.78))
        wall.rect(x, 1.0, 1.2, 1.3, (0.20, 0.25, 0.30))
        wall.rect(x + 0.57, 1.0, 0.06, 1.3, (0.84, 0.82, 0.78))
    wall.rect(3.2, 0, 1.0, 2.2, (0.20, 0.32, 0.26))
    wall.rect(3.3, 1.2, 0.8, 0.8, (0.16, 0.26, 0.22))
    wall.rect(7.6, 0.8, 0.8, 1.1, (0.92, 0.86, 0.55))
    wall.rect(7.7, 1.35, 0.6, 0.4, (0.75, 0.25, 0.2))
    wall.bicycle(0.4, (0.7, 0.1, 0.1))
    wall.bicycle(2.0, (0.1, 0.2, 0.5))
    wall.bicycle(6.4, (0.1, 0.35, 0.25))
    wall.bicycle(8.6, (0.15, 0.15, 0.15))
    wall.bicycle(10.6, (0.75, 0.65, 0.15))
    ground.grain(0.12, 60)
    ground.grain(0.10, 6)
    ground.rect(0, 0, 6.4, 0.10, (0.66, 0.64, 0.60))


def _park_path(wall: Canvas, ground: Canvas) -> None:
    greens = np.array([[0.16, 0.30, 0.12], [0.24, 0.40, 0.16], [0.34, 0.48, 0.20], [0.12, 0.22, 0.10]])
    wall.rect(0, 1.9, 12, 1.7, (0.72, 0.78, 0.80))
    for x in np.arange(0, 12, 0.55):
        wall.bush(x, 0.75 + 0.5 * wall.rng.random(), 0.8, greens)
    for x in (1.5, 4.6, 7.9, 10.7):
        wall.rect(x, 0, 0.22, 3.6, (0.30, 0.22, 0.16))
        wall.rect(x + 0.05, 0, 0.05, 3.6, (0.40, 0.31, 0.23))
    for x in (2.8, 8.9):
        wall.rect(x, 0.40, 1.4, 0.08, (0.50, 0.33, 0.20))
        wall.rect(x, 0.62, 1.4, 0.10, (0.50, 0.33, 0.20))
        for leg in (0.1, 1.2):
            wall.rect(x + leg, 0, 0.07, 0.75, (0.15, 0.15, 0.15))
    _passers(wall, 3, 0.2)
    ground.grain(0.10, 30)
    ground.tiles(0.2, 0.1, (0.46, 0.36, 0.32), 0.14, offset=True)
    ground.rect(0, 3.9, 6.4, 2.5, (0.36, 0.46, 0.22))
    ground.grain(0.14, 50)


def _supermarket(wall: Canvas, ground: Canvas) -> None:
    for x in np.arange(0, 12, 2.0):
        _shelves(wall, x, 1.96, 0.16, 7, 0.34)
        wall.rect(x, 2.56, 2.0, 0.35, wall.rng.uniform(0.3, 0.95, 3))
        wall.rect(x + 1.94, 0, 0.06, 3.0, (0.80, 0.80, 0.78))
    ground.grain(0.03, 8)
    ground.tiles(0.64, 0.64, (0.62, 0.62, 0.58), 0.05)


def _underpass(wall: Canvas, ground: Canvas) -> None:
    wall.grain(0.10, 5)
    wall.tiles(1.2, 1.2, (0.40, 0.41, 0.43), 0.05)
    wall.rect(0, 0.95, 12, 0.22, (0.25, 0.40, 0.62))
    for x in (0.9, 4.5, 8.1):
        wall.rect(x, 1.35, 1.1, 1.5, (0.85, 0.85, 0.83))
        wall.rect(x + 0.08, 1.43, 0.94, 1.34, wall.rng.uniform(0.2, 0.8, 3))
        wall.disc(x + 0.55, 2.2, 0.3, 0.35, wall.rng.uniform(0.3, 0.95, 3))
    for x in (3.0, 6.8, 10.8):
        wall.rect(x, 0, 0.5, 3.6, (0.34, 0.35, 0.37))
        wall.rect(x, 0, 0.12, 3.6, (0.44, 0.45, 0.47))
    _passers(wall, 4, 0.15)
    ground.grain(0.08, 10)
    ground.tiles(0.4, 0.4, (0.26, 0.27, 0.30), 0.08)
    ground.rect(0, 3.0, 6.4, 0.35, (0.72, 0.66, 0.25), 0.8)


def _market_square(wall: Canvas, ground: Canvas) -> None:
    rng = wall.rng
    wall.rect(0, 1.6, 12, 2.0, (0.74, 0.70, 0.64))
    wall.grain(0.06, 6)
    for x in np.arange(0, 12, 2.4):
        awning = rng.uniform(0.3, 0.85, 3)
        wall.rect(x + 0.1, 0.0, 2.1, 2.0, (0.26, 0.24, 0.23))
        for i in range(7):
            wall.rect(x + 0.1 + 0.3 * i, 1.85, 0.3, 0.5, awning if i % 2 else (0.92, 0.90, 0.86))
        wall.rect(x + 0.1, 0.0, 2.1, 0.75, (0.48, 0.35, 0.22))
        for i in range(9):
            fruit = rng.uniform(0.25, 0.95, 3)
            for k in range(4):
                wall.disc(x + 0.22 + 0.22 * i + 0.06 * (k % 2), 0.80 + 0.09 * (k // 2), 0.065, 0.065, fruit)
        for post in (0.1, 2.14):
            wall.rect(x + post, 0, 0.06, 2.4, (0.75, 0.75, 0.74))
    _passers(wall, 6, 0.3)
    ground.grain(0.10, 40)
    ground.tiles(0.32, 0.16, (0.44, 0.42, 0.39), 0.16, offset=True)


def _anywhere(wall: Canvas, ground: Canvas) -> None:
    """A place of a crowd: surfaces and things of random kinds, sizes and colours, in a random order."""
    rng = wall.rng

    def some(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high) * (1 + rng.uniform(-0.5, 0.5, 3))

    def at() -> float:
        return float(rng.uniform(0, 12))

    def surface(canvas: Canvas) -> None:
        canvas.grain(rng.uniform(0.03, 0.14), int(rng.integers(4, 40)))
        if rng.random() < 0.6:
            w, h = rng.uniform(0.2, 1.4), rng.uniform(0.1, 1.0)
            canvas.tiles(w, h, tuple(some(0.25, 0.7)), rng.uniform(0.03, 0.2), offset=bool(rng.random() < 0.5))

    def bands() -> None:
        for _ in range(rng.integers(1, 4)):
            wall.rect(0, rng.uniform(0, 2.8), 12, rng.uniform(0.1, 1.4), some(0.15, 0.85), rng.uniform(0.4, 1))

    def openings() -> None:
        pitch, w, h, y = rng.uniform(1.0, 4.0), rng.uniform(0.5, 2.2), rng.uniform(0.8, 2.2), rng.uniform(0, 1.2)
        frame, inside = some(0.3, 0.9), some(0.08, 0.4)
        for x in np.arange(rng.uniform(0, 1), 12, pitch):
            wall.rect(x, y, min(w, pitch), h, frame)
            wall.rect(x + 0.07, y + 0.07, min(w, pitch) - 0.14, h - 0.14, inside)

    def posts() -> None:
        w, colour = rng.uniform(0.05, 0.5), some(0.15, 0.7)
        for _ in range(rng.integers(3, 9)):
            wall.rect(at(), 0, w, rng.uniform(0.8, 3.6), colour)

    def boards() -> None:
        for _ in range(rng.integers(3, 10)):
            x, y, w, h = at(), rng.uniform(0.2, 2.2), rng.uniform(0.3, 1.6), rng.uniform(0.3, 1.5)
            wall.rect(x, y, w, h, some(0.2, 0.9))
            wall.disc(x + w / 2, y + h / 2, w * rng.uniform(0.1, 0.45), h * rng.uniform(0.1, 0.45), some(0.2, 0.9))

    def plants() -> None:
        greens = np.array([some(0.15, 0.4) * (0.8, 1.3, 0.6) for _ in range(3)])
        for _ in range(rng.integers(3, 12)):
            wall.bush(at(), rng.uniform(0, 1.4), rng.uniform(0.25, 0.9), greens)

    def goods() -> None:
        for _ in range(rng.integers(1, 4)):
            _shelves(wall, rng.uniform(0, 9), rng.uniform(1, 3), 0.2, int(rng.integers(3, 7)), rng.uniform(0.28, 0.45))

    def cycles() -> None:
        for _ in range(rng.integers(1, 6)):
            wall.bicycle(rng.uniform(0, 10.5), some(0.1, 0.7))

    surface(wall)
    surface(ground)
    if rng.random() < 0.5:
        ground.rect(0, rng.uniform(0, 5), 6.4, rng.uniform(0.1, 2.5), some(0.3, 0.8), rng.uniform(0.4, 0.9))
    things = (bands, openings, posts, boards, plants, goods, cycles)
    for thing in rng.permutation(len(things))[: rng.integers(2, 6)]:
        things[thing]()
    _passers(wall, int(rng.integers(0, 7)), rng.uniform(0.15, 0.3))


_PAINTERS = (_shop_front, _brick_street, _park_path, _supermarket, _underpass, _market_square)


@cache
def place(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Wall (288, 960, 3) and ground (512, 512, 3) of a camera as float32 in 0..1, row 0 at the bottom."""
    rng, about = np.random.default_rng([11, number]), camera(number)
    wall = Canvas(WALL, about.wall_colour, rng)
    ground = Canvas(GROUND, about.ground_colour, rng)
    (_PAINTERS[number] if number < len(_PAINTERS) else _anywhere)(wall, ground)
    for canvas, usual in ((wall, 0.46), (ground, 0.54)):
        # Muted and of like brightness: people stand out, and colour alone does not tell which camera it was.
        gray = canvas.pixels.mean(axis=2, keepdims=True)
        canvas.pixels = gray + MUTED * (canvas.pixels - gray)
        canvas.pixels += LEVELLED * (usual - canvas.pixels.mean(axis=(0, 1)))
    return wall.blurred(about.background_blur), ground.blurred(1)
