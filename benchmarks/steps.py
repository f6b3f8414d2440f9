r"""Time and memory of a training step of each system's recipe, from random weights, on random pixels.

    python benchmarks/steps.py
    python benchmarks/steps.py --profile quick --batches 10 [--small 0]
    python benchmarks/steps.py --systems aanet,part_multitask --batches 2
    python benchmarks/steps.py --profile quick --systems baseline --set backbone=mobilenet_v2

Two epochs of a few batches by the training loop itself; the second is timed. Each system has a process of its own, so
that its peak is its own: on a GPU that of the allocator, else the most the process held less what it held before.
With `--small 0` no convolution is computed as a matrix product. Prints Markdown.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import typer

from reidkit import backbones
from reidkit.attributes import MARKET
from reidkit.cli import setting
from reidkit.data import ImageSet
from reidkit.recipes import recipe
from reidkit.systems import SYSTEMS
from reidkit.train import fit

INSTANCES = 4


def noise(n: int, height: int, width: int) -> ImageSet:
    """Random pixels of n images, four a person, with random attributes."""
    draw = np.random.default_rng(0)
    label = np.arange(n) // INSTANCES
    table = pd.DataFrame({"pid": label + 1, "camid": np.arange(n) % 6 + 1, "path": "", "split": "train"})
    tasks = MARKET.tasks
    answers = np.stack([draw.integers(0, len(task.classes), n) for task in tasks], 1)
    pixels = torch.from_numpy(draw.integers(0, 256, (n, 3, height, width), np.uint8))
    people = tuple(range(1, n // INSTANCES + 1))
    return ImageSet(table, pixels, torch.from_numpy(label), torch.from_numpy(answers), people, tasks)


def measure(system: str, profile: str, batches: int, changes: dict[str, str]) -> str:
    """A row of the table; `changes` are settings of the recipe."""
    plan = recipe(system, profile, **{"pretrained": "none", "epochs": 2, "validation": 0, "patience": 0, **changes})
    images = noise(plan.batch * batches, plan.height, plan.width)
    on_gpu = torch.cuda.is_available()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    network, history = fit(plan, images, progress=False)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else after
    weights = sum(p.numel() for p in network.parameters()) / 1e6
    speed = history.rows[-1]["images_per_second"]
    size = f"{plan.height} x {plan.width}"
    return (
        f"| {system} | {plan.backbone} | {size} | {plan.batch} | {weights:.1f} M | {plan.batch / speed:.2f} s "
        f"| {speed:.1f} | {peak:,.0f} MiB |"
    )


def main(
    systems: Annotated[str, typer.Option()] = ",".join(name for name in SYSTEMS if name != "histogram"),
    profile: Annotated[str, typer.Option()] = "paper",
    batches: Annotated[int, typer.Option(help="In an epoch.")] = 2,
    small: Annotated[int, typer.Option(help="Places up to which a convolution is a product.")] = backbones.SMALL,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    one: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    if one:
        backbones.SMALL = small
        print(measure(systems, profile, batches, dict(setting(text) for text in settings or [])))
        return
    options = ["--profile", profile, "--batches", str(batches), "--small", str(small), "--one"]
    options += [word for text in settings or [] for word in ("--set", text)]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{where}\n")
    print("| system | backbone | input | batch | weights | step | images a second | peak |\n" + "|---" * 8 + "|")
    for system in systems.split(","):
        own = [sys.executable, __file__, "--systems", system, *options]
        done = subprocess.run(own, capture_output=True, text=True)
        print(done.stdout.strip() or f"| {system} | {done.stderr.strip().splitlines()[-1]} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
