"""How fast synthetic pedestrians are drawn: images a second by size and device.

python benchmarks/rendering.py [--images 512] [--threads 2]
"""

import argparse
import platform
import time
from collections.abc import Callable

import torch

from reidkit import synthetic


def rate(work: Callable[[], object], images: int, repeats: int = 3) -> float:
    """Images a second of the best of some runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return images / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="images a run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    people, captures = synthetic.plan(synthetic.SIZES["quick"], 0)
    captures = captures.sample(options.images, random_state=0)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
    print("| device | size | batch | images/s |")
    print("|---|---|---:|---:|")
    plans = [("cpu", 128, 64, 32), ("cpu", 256, 128, 16)]
    if torch.cuda.is_available():
        plans += [("cuda", 128, 64, 32), ("cuda", 128, 64, 256), ("cuda", 256, 128, 128)]
    for device, height, width, batch in plans:

        def work(device: str = device, height: int = height, width: int = width, batch: int = batch) -> object:
            return synthetic.render(people, captures, height, width, device, batch)

        work()
        print(f"| {device} | {height} x {width} | {batch} | {rate(work, len(captures)):.0f} |")


if __name__ == "__main__":
    main()
