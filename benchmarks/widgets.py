"""What a step of the retrieval browser costs at a large gallery, and whether many of them leave anything behind.

    python benchmarks/widgets.py [--gallery 20000] [--steps 500]
    python benchmarks/widgets.py --browser [--steps 40]

Descriptors and images are random: neither the time of a step nor its memory depends on who is seen. A step is another
query, the top 20 shown, the overlay off. With --browser it is a key on the slider in JupyterLab in chromium, and the
time runs until the pictures have changed and are decoded; the driving is that of tests/lab.py.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from ipywidgets.widgets.widget import _instances
from PIL import Image

from reidkit.features import Features
from reidkit.widgets import Browser


def people(folder: Path, n: int, split: str, dimension: int, seed: int) -> Features:
    """Random descriptors of images of noise, 751 people before six cameras; 500 files serve all rows."""
    rng = np.random.default_rng(seed)
    for i in range(500):
        path = folder / f"{i}.jpg"
        if not path.exists():
            Image.fromarray(rng.integers(0, 256, (128, 64, 3), dtype=np.uint8)).save(path)
    columns = {"path": [str(folder / f"{i % 500}.jpg") for i in range(n)], "pid": rng.integers(1, 752, n)}
    table = pd.DataFrame({**columns, "camid": rng.integers(1, 7, n), "split": split, "frame": -1, "orientation": -1})
    table.attrs = {"dataset": "noise", "root": str(folder), "rule": "market1501", "fold": 0}
    return Features(torch.from_numpy(rng.normal(size=(n, dimension)).astype(np.float32)), table)


def memory() -> float:
    """This process in MiB."""
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


STEP = """() => {
  const app = document.querySelector('.reidkit-app'), pictures = () => [...app.querySelectorAll('img')];
  const list = () => app.querySelector('.reidkit-query img').closest('.reidkit-cells').innerHTML, before = list();
  let pressed;
  document.addEventListener('keydown', () => { pressed = performance.now(); }, {once: true, capture: true});
  window.step = new Promise(done => {
    const look = () => list() === before ? requestAnimationFrame(look)
      : Promise.all(pictures().map(i => i.decode())).then(() => done(performance.now() - pressed));
    look();
  });
}"""  # the list is the last that a step changes


def in_browser(queries: int, gallery: int, dimension: int, steps: int) -> np.ndarray:
    """Milliseconds from a key to the changed picture in JupyterLab, a step each."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    import lab

    with tempfile.TemporaryDirectory() as folder:
        code = f"""import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from widgets import people
from reidkit.widgets import Browser
place = Path({folder!r})
query, gallery = people(place, {queries}, "query", {dimension}, 0), people(place, {gallery}, "gallery", {dimension}, 1)
"""
        file = lab.notebook(Path(folder) / "step.ipynb", code, "Browser(query, gallery)")
        with lab.jupyterlab(Path(folder)) as address, lab.browser() as chromium:
            page, _ = lab.opened(chromium, 1280)
            lab.run_all(page, address, file)
            handle = page.locator(".widget-slider:has(label:text-is('query')) .noUi-handle")
            ms = []
            for _ in range(steps):
                page.wait_for_timeout(300)
                page.evaluate(STEP)
                handle.press("ArrowRight")
                ms.append(page.evaluate("() => window.step"))
            lab.stop(page)
    return np.array(ms)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gallery", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=3_368)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--steps", type=int, help="500, or 40 in a browser")
    parser.add_argument("--browser", action="store_true")
    given = parser.parse_args()
    steps = given.steps or (40 if given.browser else 500)
    if given.browser:
        ms = in_browser(given.queries, given.gallery, given.dimension, steps)
        print(f"{given.queries:,} queries, {given.gallery:,} gallery images, {len(ms)} keys in chromium: median")
        print(f"{np.median(ms):.0f} ms to the changed pictures, 90 % within {np.quantile(ms, 0.9):.0f} ms")
        return
    with tempfile.TemporaryDirectory() as folder:
        query = people(Path(folder), given.queries, "query", given.dimension, 0)
        gallery = people(Path(folder), given.gallery, "gallery", given.dimension, 1)
        started = time.perf_counter()
        browser = Browser(query, gallery)
        opened = time.perf_counter() - started
        controls = {
            "another query": lambda k: setattr(browser.query, "value", 2 + k % (given.queries - 1)),
            "another threshold": lambda k: setattr(
                browser.threshold, "value", browser.threshold.min + browser.threshold.step * (1 + k % 100)
            ),
            "another top k": lambda k: setattr(browser.top, "value", 10 + k % 11),
        }
        for k in range(100):  # thumbnails and arenas fill up
            controls["another query"](k * 7)
        models, before = len(_instances), memory()
        rows = []
        for name, step in controls.items():
            seconds = []
            for k in range(steps):
                started = time.perf_counter()
                step(k)
                seconds.append(time.perf_counter() - started)
            ms = 1000 * np.array(seconds)
            rows.append((name, steps, np.median(ms), np.quantile(ms, 0.95), len(_instances) - models))
            rows[-1] += (memory() - before,)
    columns = ["step", "steps", "ms (median)", "ms (95 %)", "new widget models", "MiB more"]
    threads = torch.get_num_threads()
    print(f"{given.queries:,} queries, {given.gallery:,} gallery images, D = {given.dimension}, {threads} threads")
    print(f"opened in {opened:.1f} s; {models} widget models, {before:.0f} MiB")
    print(pd.DataFrame(rows, columns=columns).round(1).to_string(index=False))


if __name__ == "__main__":
    main()
