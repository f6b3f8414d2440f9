"""How fast synthetic pedestrians are drawn: images a second by size and device, or of this tree against another one.

python benchmarks/rendering.py [--images 512] [--threads 2]
python benchmarks/rendering.py --against DIR [--images 512] [--repeats 5]

`--against` takes another checkout (`git worktree add DIR COMMIT`). Both trees draw the same captures on the CPU in
turns, on one thread and on two, each in a process of its own, and their pixels are compared. Images per second of CPU
time stand beside those by the clock: on a machine that does other things as well, only they can be compared.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

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


def serve(images: int) -> None:
    """Draws once for every number of threads that is read: seconds by the clock and of the CPU, hash of the pixels."""
    people, captures = synthetic.plan(synthetic.SIZES["quick"], 0)
    captures = captures.sample(images, random_state=0)
    synthetic.render(people, captures.iloc[:32], device="cpu")  # paints the places
    for line in sys.stdin:
        torch.set_num_threads(int(line))
        start, busy = time.perf_counter(), time.process_time()
        drawn = synthetic.render(people, captures, device="cpu")
        seconds = time.perf_counter() - start, time.process_time() - busy
        pixels = hashlib.sha256(b"".join(x.numpy().tobytes() for x in drawn)).hexdigest()
        print(json.dumps([*seconds, pixels]), flush=True)


def compare(other: Path, images: int, repeats: int) -> None:
    """This tree and another one, in turns."""
    servers = []
    for tree in (other, Path(__file__).parents[1]):
        command = [sys.executable, __file__, "--serve", "--images", str(images)]
        environment = {**os.environ, "PYTHONPATH": str(tree.resolve())}
        pipe = subprocess.PIPE
        servers.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True))
    print(
        f"{platform.machine()}, torch {torch.__version__}, {images} images of 128 x 64, {repeats} runs each, in turns\n"
    )
    print("| threads | images/s by the clock | ratio | images per CPU second | ratio | same pixels |")
    print("|---:|---:|---:|---:|---:|---|")
    for threads in (1, 2):
        runs: list[list[tuple[float, float, str]]] = [[], []]
        for _ in range(repeats):
            for server, mine in zip(servers, runs, strict=True):
                server.stdin.write(f"{threads}\n")
                server.stdin.flush()
                mine.append(json.loads(server.stdout.readline()))
        cells = []
        for kind in (0, 1):
            before, after = (images / min(run[kind] for run in mine) for mine in runs)
            ratio = median(old[kind] / new[kind] for old, new in zip(*runs, strict=True))
            cells += [f"{before:.0f} -> {after:.0f}", f"{ratio:.2f}"]
        same = len({run[2] for mine in runs for run in mine}) == 1
        print("|", " | ".join([str(threads), *cells, "yes" if same else "NO"]), "|", flush=True)
    for server in servers:
        server.stdin.close()
        server.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="images a run")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--against", type=Path, help="another checkout to compare this one with")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each tree")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.images)
    if options.against:
        return compare(options.against, options.images, options.repeats)
    torch.set_num_threads(options.threads)
    people, captures = synthetic.plan(synthetic.SIZES["quick"], 0)
    captures = captures.sample(options.images, random_state=0)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    if torch.cuda.is_available():
        print(torch.cuda.get_device_name())
    print("| device | size | batch | images/s |")
    print("|---|---|---:|---:|")
    plans = [("cpu", 128, 64, 16), ("cpu", 256, 128, 8)]
    if torch.cuda.is_available():
        plans += [("cuda", 128, 64, 32), ("cuda", 128, 64, 256), ("cuda", 256, 128, 128)]
    for device, height, width, batch in plans:

        def work(device: str = device, height: int = height, width: int = width, batch: int = batch) -> object:
            return synthetic.render(people, captures, height, width, device, batch)

        work()
        print(f"| {device} | {height} x {width} | {batch} | {rate(work, len(captures)):.0f} |")


if __name__ == "__main__":
    main()
