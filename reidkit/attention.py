"""Where a network looks: its class activation maps, grad-cam's methods, and their scores against known body parts.

Everything here takes a trained network of any system and standardised images (B, 3, H, W), gives maps (B, H, W) of
the images' own size on the CPU, float32 from 0 to 1, and leaves the network as it was.

The score that is traced is the logit of a class less the mean of all classes of its question: a softmax knows
differences only, and in the binary view the answer "no" has no logit of its own. grad-cam's methods keep what speaks
for the class; the plain map ("cam") also shows, below its middle tones, what speaks against.

A map is a claim about a network. `survival` (does the answer outlive its part?) and `faded` (does it go with the
hottest pixels?) test it by asking the network again, `localisation` by the truth that synthetic people come with.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from copy import deepcopy
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytorch_grad_cam as grad_cam
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from .cam import class_map, contrasts, merge, normalise
from .data import ImageSet, part_masks, standardise
from .errors import InputError, choose
from .synthetic import PARTS
from .systems import System
from .systems.aanet import attended

__all__ = [
    "METHODS", "PART_OF", "attribute_maps", "class_map", "class_maps", "elsewhere", "energy", "faded", "finer",
    "identity_maps", "localisation", "merge", "merged_map", "normalise", "pair_maps", "part_masks", "pointing",
    "seen_by", "survival", "untaught", "without",
]  # fmt: skip

METHODS: dict[str, Any] = {
    "gradcam": grad_cam.GradCAM,
    "gradcam++": grad_cam.GradCAMPlusPlus,
    "xgradcam": grad_cam.XGradCAM,
    "hirescam": grad_cam.HiResCAM,
    "layercam": grad_cam.LayerCAM,
    "eigencam": grad_cam.EigenCAM,  # does not know the question: one map, of unknown sign, for every attribute
    "eigengradcam": grad_cam.EigenGradCAM,
    "scorecam": grad_cam.ScoreCAM,  # a forward pass for every channel of the map: hundreds an image
}
PART_OF = {  # what a localised attribute is seen by; gender and age are seen everywhere
    "hair": "hair", "hat": "hat", "up": "upper", "upcolor": "upper", "down": "lower", "downcolor": "lower",
    "clothes": "lower", "backpack": "backpack", "bag": "bag", "handbag": "handbag",
}  # fmt: skip
BARE = {"up": (0.3, 0.5), "down": (0.5, 0.85)}  # told by bare arms and legs too: from and to, shares of the height
VISIBLE = 0.0025  # share of the image that a part must cover, 20 pixels of 128 x 64


# --- the network, and back ---------------------------------------------------------------------------------------


@contextmanager
def untouched(network: nn.Module) -> Iterator[None]:
    """Inside, a network in evaluation mode with frozen weights; outside it is as it was, gradients included."""
    modes = [(module, module.training) for module in network.modules()]
    weights = [(p, p.requires_grad, p.grad) for p in network.parameters()]
    network.eval()
    for p, _, _ in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for p, flag, grad in weights:
            p.requires_grad_(flag)
            p.grad = grad


class _Asked(nn.Module):
    """A network as grad-cam calls one: images in, what is asked out."""

    def __init__(self, network: nn.Module, ask: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.ask = ask

    def forward(self, images: Tensor) -> Tensor:
        return self.ask(images)


def explain(
    network: System,
    images: Tensor,
    of: str,
    ask: Callable[[Tensor], Tensor],
    scores: Sequence[Callable[[Tensor], Tensor]],
    method: str = "gradcam",
    layer: str = "",
) -> Tensor:
    """Maps of one of grad-cam's methods for any score of any output.

    Args:
        network: of any system, with frozen or free weights.
        images: (B, 3, H, W), standardised.
        of: "attributes" or "identity", whose last layers' maps are read, a mean over several.
        ask: images to (B, K).
        scores: for each image, its (K,) to a number.
        method: one of METHODS.
        layer: of the backbone, whose map is read instead of the last one's.
    Returns:
        (B, H, W).
    Raises:
        InputError: a system without maps, an unknown method or layer.
    """
    stages = network.backbone.stages
    layers = [stages[choose(layer, stages, "layer")]] if layer else network.last_layers(of)
    if not layers:
        raise InputError(f"{network.name} has no maps to look at: choose a system that learns.")
    choose(method, METHODS, "method")
    pixels = images.detach().clone().requires_grad_()  # frozen weights: the gradient starts at the image
    with untouched(network), torch.enable_grad(), ExitStack() as stack:
        if len(layers) == 1:  # it starts at the one map that it is asked for: nobody reads those before it
            stack.enter_context(layers[0].register_forward_hook(lambda _, __, maps: maps.detach().requires_grad_()))
        cam = METHODS[method](model=_Asked(network, ask), target_layers=layers)
        stack.callback(cam.activations_and_grads.release)  # not grad-cam's `with`, which swallows an IndexError
        stack.enter_context(redirect_stderr(io.StringIO()))  # ScoreCAM draws a progress bar for every image
        maps = cam(pixels, list(scores))
    return torch.from_numpy(np.asarray(maps, dtype=np.float32))


def contrast(label: int) -> Callable[[Tensor], Tensor]:
    """The score of a class: its logit less the mean of all, (C,) to a number."""
    return lambda logits: logits[label] - logits.mean()


def _enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    """(B, h, w) to the images' own size, bilinear."""
    return F.interpolate(maps.float()[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0].cpu()


def finer(network: System, stages: int = 1) -> System:
    """A copy of a network whose last map has twice the rows and columns for each stage that is opened, "à trous".

    An opened stage does not halve the map any more; instead the windows of all convolutions behind it have holes, so
    that each place of the old map sees exactly what it saw, and the new ones lie between (Yu and Koltun 2016). No
    weight changes. Only means over the map, and so the answers, move a little.

    Args:
        network: of a system that reads its attributes from the map of its backbone.
        stages: how many of those that halve the map, from the last one back.
    Raises:
        InputError: a backbone with fewer such stages behind its stem.
    """
    opened = deepcopy(network).eval()
    steps = [list(step.modules()) for step in opened.backbone.stages.values()]
    halving = [i for i, step in enumerate(steps) if any(isinstance(m, nn.Conv2d) and m.stride[0] > 1 for m in step)][1:]
    if not 1 <= stages <= len(halving):
        raise InputError(f"{stages} stages of a {opened.backbone.name} cannot be opened: {len(halving)} halve the map.")
    holes = 1
    for parent in chain(*steps[halving[-stages] :]):
        for name, old in parent.named_children():
            if isinstance(old, nn.Conv2d):
                size, pad = old.kernel_size[0], holes * int(old.padding[0])
                new = nn.Conv2d(old.in_channels, old.out_channels, size, 1, pad, holes, old.groups, device="meta")
                new.weight, new.bias = old.weight, old.bias
                setattr(parent, name, new)
                holes *= old.stride[0] if size > 1 else 1  # a shortcut's window has one place, beside the main path
    return opened


def untaught(network: System, images: Tensor, seed: int = 0) -> System:
    """The random twin of a network: same layers, weights drawn anew, statistics of batch norm from images.

    Whatever its maps show comes from the layers and the pictures, and from nothing that was learnt (Adebayo et al.
    2018).

    Args:
        network: of any system.
        images: (N, 3, H, W) uint8, some hundred.
        seed: of the weights.
    """
    twin = deepcopy(network)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for layer in twin.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | _BatchNorm):
                layer.reset_parameters()
            if isinstance(layer, _BatchNorm):
                layer.momentum = None  # a mean over all batches
        twin.train()
        for pixels in images.split(64):
            twin(standardise(pixels.to(next(twin.parameters()).device)))
    return twin.eval()


def cut(network: System, layer: str) -> tuple[nn.Module, System]:
    """The layers up to one, and a copy of the network that takes their map (B, V, h, w) as images.

    Many questions about an image then cost one pass through the layers before.

    Args:
        network: of a system that reads its attributes from the map of its backbone.
        layer: of the backbone.
    """
    rest = deepcopy(network)
    names = list(rest.backbone.stages)
    first = names[: names.index(choose(layer, names, "layer")) + 1]
    for name in first:
        rest.backbone.stages[name] = nn.Identity()
    return nn.Sequential(*(network.backbone.stages[name] for name in first)), rest


# --- attributes --------------------------------------------------------------------------------------------------


def chosen_classes(network: System, images: Tensor) -> Tensor:
    """The class a network chooses for each image and task, (B, T) int64."""
    with untouched(network), torch.no_grad():
        return torch.stack([logits.argmax(1) for logits in network.answer(images)], 1)


def class_maps(network: System, images: Tensor, classes: Tensor | None = None) -> Tensor:
    """Class activation maps of every attribute, all in one product.

    Args:
        network: of a system with `classifiers`.
        images: (B, 3, H, W), standardised.
        classes: (B, T) int64 whose maps are wanted; None: those the network chooses.
    Returns:
        (B, T, h, w) in units of the logit, on the network's device, as large as its last map; 0 where the network
        says that it does not read (`System.reads`).
    Raises:
        InputError: a network whose attributes are not linear in a pooled map.
    """
    with untouched(network), torch.no_grad():
        features, weights = network.evidence(images)
        if classes is None:
            classes = chosen_classes(network, images)
    rows = [contrasts(w)[chosen] for w, chosen in zip(weights, classes.unbind(1), strict=True)]
    maps = class_map(features, torch.stack(rows, 1).detach())
    inside = read_by(network, maps)
    return maps if inside is None else maps.masked_fill(~inside, 0)


def read_by(network: System, maps: Tensor) -> Tensor | None:
    """Where the network reads for each task, (T, h, 1) bool beside `class_maps` (B, T, h, w); None: everywhere."""
    rows = network.reads(maps.shape[2])
    return None if rows is None else rows[..., None].to(maps.device)


def attribute_maps(
    network: System, images: Tensor, task: str, method: str = "gradcam", classes: Tensor | None = None, layer: str = ""
) -> Tensor:
    """Where a network sees an attribute.

    Args:
        network: of a system that answers attributes.
        images: (B, 3, H, W), standardised.
        task: by name.
        method: "cam" or one of METHODS.
        classes: (B,) int64, whose evidence is wanted; None: the class the network chooses for each image.
        layer: of the backbone, that one of METHODS reads; "": the last. An earlier one is finer, and what a place of
            it sees is smaller.
    Returns:
        (B, H, W), each from 0 to 1.
    Raises:
        InputError: a task the network does not answer, an unknown method or layer, "cam" where there is none.
    """
    tasks = network.tasks
    if task not in tasks:
        known = f"it answers {', '.join(tasks)}." if tasks else "it answers none."
        raise InputError(f"this network was not asked about {task!r}: {known}")
    choose(method, ["cam", *METHODS], "method")
    t = tasks.index(task)
    if classes is None:
        classes = chosen_classes(network, images)[:, t]
    if method == "cam":
        every = torch.zeros(len(images), len(tasks), dtype=torch.int64, device=images.device)
        every[:, t] = classes
        maps = class_maps(network, images, every)
        return _enlarged(normalise(maps, read_by(network, maps))[:, t], images.shape[2:])
    scores = [contrast(label) for label in classes.tolist()]
    return explain(network, images, "attributes", lambda x: network.answer(x)[t], scores, method, layer)


def merged_map(network: System, images: Tensor) -> Tensor:
    """The attribute attention map of paper 002: the network's own, or the same made of its class activation maps.

    Returns:
        (B, H, W), from 0 to 1, 0 where no attribute looks.
    """
    with untouched(network), torch.no_grad():
        own = network.attention_map(images)
    if own is None:
        maps, tasks = class_maps(network, images), attended(network.tasks)
        inside = read_by(network, maps)
        own = merge(maps[:, tasks], None if inside is None else inside[tasks])
    return _enlarged(own, images.shape[2:])


# --- people ------------------------------------------------------------------------------------------------------


def identity_maps(network: System, images: Tensor, method: str = "gradcam", label: Tensor | None = None) -> Tensor:
    """Where a network sees who it is.

    Args:
        network: of a system that classifies people.
        images: (B, 3, H, W), standardised.
        method: one of METHODS.
        label: (B,) int64, whose evidence is wanted; None: the training person each image looks most like.
    Returns:
        (B, H, W), each from 0 to 1.
    Raises:
        InputError: a network that does not classify people.
    """
    with untouched(network), torch.no_grad():
        logits = network.identify(images)
    if not logits.shape[1]:
        raise InputError(
            "this network does not classify people, or was trained without identity: use pair_maps, which asks what "
            "makes two images alike."
        )
    labels = logits.argmax(1) if label is None else label
    return explain(network, images, "identity", network.identify, [contrast(k) for k in labels.tolist()], method)


def pair_maps(
    network: System, first: Tensor, second: Tensor, method: str = "gradcam", layer: str = ""
) -> tuple[Tensor, Tensor]:
    """What makes two images alike: the cosine of their descriptors, traced back into each of them.

    Args:
        network: of any system.
        first: (B, 3, H, W), standardised.
        second: (B, 3, H, W), the other images of the pairs.
        method: one of METHODS.
        layer: of the backbone, whose map is read; "": the last.
    Returns:
        two of (B, H, W), each map from 0 to 1.
    """
    with untouched(network), torch.no_grad():
        codes = [network.describe(images) for images in (first, second)]

    def alike(images: Tensor, others: Tensor) -> Tensor:
        scores = [partial(F.cosine_similarity, other, dim=0) for other in others]
        return explain(network, images, "identity", network.describe, scores, method, layer)

    return alike(first, codes[1]), alike(second, codes[0])


# --- scores ------------------------------------------------------------------------------------------------------


def seen_by(parts: Tensor, task: str) -> Tensor:
    """The pixels that an attribute is seen by, (N, H, W) bool.

    Args:
        parts: (N, H, W), `part_masks`.
        task: a key of PART_OF. How long sleeves and trousers are is also seen by the bare skin below them.
    """
    inside = parts == PARTS[PART_OF[task]]
    if task in BARE:
        first, last = (round(share * parts.shape[1]) for share in BARE[task])
        inside[:, first:last] |= parts[:, first:last] == PARTS["skin"]
    return inside


def pointing(maps: Tensor, inside: Tensor) -> Tensor:
    """The pointing game (Zhang et al. 2018): whether the highest place of a map lies on the part.

    Of several equally high places one is drawn, so that a map that says nothing hits with the part's share of it.

    Args:
        maps: (N, H, W).
        inside: (N, H, W) bool.
    Returns:
        (N,) probability, 0 to 1.
    """
    top = maps == maps.amax((1, 2), keepdim=True)
    return (top & inside).sum((1, 2)) / top.sum((1, 2))


def energy(maps: Tensor, inside: Tensor) -> Tensor:
    """Share of a map's sum that lies on the part (Wang et al. 2020); of a map of zeros the part's share of it.

    Args:
        maps: (N, H, W), 0 or more.
        inside: (N, H, W) bool.
    Returns:
        (N,), 0 to 1.
    """
    total = maps.sum((1, 2))
    own = (maps * inside).sum((1, 2)) / torch.where(total > 0, total, 1)
    return torch.where(total > 0, own, inside.float().mean((1, 2)))


def centre_box(n: int, height: int, width: int) -> Tensor:
    """The guess that needs no network: 1 in the middle half of height and width, (n, height, width)."""
    box = torch.zeros(n, height, width)
    box[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = 1
    return box


# --- tests -------------------------------------------------------------------------------------------------------


def share(hits: Tensor, name: str) -> dict[str, float]:
    """The mean of N independent hits in percent, with the ends of Wilson's 95 % interval, low and high; NaN of none.

    Args:
        hits: (N,), from 0 to 1. Of hits between 0 and 1 the interval is too wide rather than too narrow.
        name: of the score; behind the ends of its interval stand _low and _high.
    """
    n, z = max(len(hits), 1), 1.96
    mean = float(hits.mean())
    middle, reach = mean + z * z / (2 * n), z * (mean * (1 - mean) / n + z * z / (4 * n * n)) ** 0.5
    low, high = ((middle + side * reach) / (1 + z * z / n) for side in (-1, 1))
    return {name: 100 * mean, f"{name}_low": 100 * low, f"{name}_high": 100 * high}


def where_seen(
    network: System, images: ImageSet, parts: Tensor, tasks: Sequence[str] | None, classes: Tensor | None
) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """The images on which a part of an attribute is visible: task, their index, their part, their classes.

    Args:
        network: of a system that answers attributes.
        images: N synthetic people.
        parts: (N, H, W), their `part_masks` at the images' size.
        tasks: by name; None: all that the network answers and that have a part.
        classes: (N, T) int64, the answers in question, -1 to leave an image out; None: those that the network gives.
    Raises:
        InputError: part maps of another size; no attribute with a part.
    """
    if parts.shape != (len(images), *images.pixels.shape[-2:]):
        size = tuple(images.pixels.shape[-2:])
        raise InputError(f"the part maps are {tuple(parts.shape)}, the {len(images)} images {size}: give part_masks.")
    asked = [task for task in (tasks or network.tasks) if task in PART_OF]
    if not asked:
        raise InputError(f"none of these attributes has a part: {', '.join(PART_OF)} have one.")
    if classes is None:
        classes = answers(network, images.pixels)
    for task in asked:
        inside, said = seen_by(parts, task), classes[:, network.tasks.index(task)]
        seen = ((inside.float().mean((1, 2)) >= VISIBLE) & (said >= 0)).nonzero()[:, 0]
        yield task, seen, inside[seen], said[seen]


def answers(network: System, pixels: Tensor, batch: int = 64) -> Tensor:
    """The classes a network chooses for images (N, 3, H, W) uint8, (N, T) int64 on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([chosen_classes(network, standardise(some.to(device))).cpu() for some in pixels.split(batch)])


def without(images: Tensor, where: Tensor) -> Tensor:
    """Images with a region painted over by what surrounds it, blurred, so that neither colour nor outline remains.

    Args:
        images: (N, 3, H, W) uint8.
        where: (N, H, W) bool, what to paint over.
    Returns:
        (N, 3, H, W) uint8.
    """
    kept = (~where)[:, None].float()
    window = images.shape[3] // 2 | 1

    def blurred(x: Tensor) -> Tensor:
        for size in [(window, 1), (1, window)] * 2:
            x = F.avg_pool2d(x, size, 1, (size[0] // 2, size[1] // 2))
        return x

    around = (images * kept).mean((2, 3), keepdim=True) / kept.mean((2, 3), keepdim=True).clamp(min=1e-3)
    paint = (blurred(images * kept) + 1e-4 * around) / (blurred(kept) + 1e-4)  # deep inside only the mean is left
    return torch.where(where[:, None], paint.round().to(torch.uint8), images)


def elsewhere(where: Tensor, onto: Tensor) -> Tensor:
    """The same shapes at another place of their images: beside where they were, and on as much as may be of `onto`.

    What leaves an image on one side comes in on the other, so that every shape keeps its area.

    Args:
        where: (N, H, W) bool.
        onto: (N, H, W) bool, what they are to cover.
    Returns:
        (N, H, W) bool.
    """
    shapes = where.float()
    worth = torch.fft.rfft2(onto.float() - 10 * shapes)
    gain = torch.fft.irfft2(worth * torch.fft.rfft2(shapes).conj(), s=where.shape[1:])  # of each step down and right
    steps = zip(where, gain.flatten(1).argmax(1).tolist(), strict=True)
    return torch.stack([shape.roll(divmod(step, where.shape[2]), (0, 1)) for shape, step in steps])


def survival(
    network: System,
    images: ImageSet,
    parts: Tensor,
    *,
    tasks: Sequence[str] | None = None,
    classes: Tensor | None = None,
    margin: int = 2,
) -> pd.DataFrame:
    """Whether an answer outlives the part that it should come from, beside an equal area painted over elsewhere.

    The arguments are those of `where_seen`, and:

    Args:
        network: see there.
        images: see there; one image a person, for the intervals.
        parts: see there.
        tasks: see there.
        classes: see there.
        margin: pixels around the part that go with it.
    Returns:
        two rows a task that is seen on some image: task, removed ("part" or "elsewhere": the same shape, on the rest
        of the person as far as it finds room), images, and in percent survived, survived_low, survived_high.
    """
    person = (parts != PARTS["background"]) & (parts != PARTS["occluder"])
    rows = []
    for task, seen, inside, said in where_seen(network, images, parts, tasks, classes):
        if not len(seen):
            continue
        where = F.max_pool2d(inside[:, None].float(), 2 * margin + 1, 1, margin)[:, 0] > 0
        for removed, region in {"part": where, "elsewhere": elsewhere(where, person[seen] & ~where)}.items():
            now = answers(network, without(images.pixels[seen], region))[:, network.tasks.index(task)]
            row = {"task": task, "removed": removed, "images": len(seen)}
            rows.append(row | share((now == said).float(), "survived"))
    return pd.DataFrame(rows)


def faded(
    network: System, images: Tensor, task: str, classes: Tensor, maps: Tensor, *, insert: bool = False, steps: int = 16
) -> Tensor:
    """How sure a network is of a class while the hottest places of a map are taken out (Petsiuk et al. 2018).

    Args:
        network: of a system that answers attributes.
        images: (B, 3, H, W), standardised.
        task: by name.
        classes: (B,) int64.
        maps: (B, H, W).
        insert: begin with a blurred image instead and put the hottest places in.
        steps: after how many everything is out, or in.
    Returns:
        (B, steps + 1), from 0 to 1. A map that knows where the evidence is falls early, or rises early.
    """
    t, (height, width) = network.tasks.index(task), images.shape[2:]
    blank = F.avg_pool2d(images, width // 4 | 1, 1, width // 8, count_include_pad=False) if insert else 0 * images
    rank = maps.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(1)
    taken = torch.arange(steps + 1).view(-1, 1, 1) * height * width / steps
    hot = (rank < taken).view(-1, 1, height, width).to(images.device)  # ((steps + 1) B, 1, H, W)
    times = (steps + 1, 1, 1, 1)
    shown = torch.where(hot == insert, images.repeat(times), blank.repeat(times))
    with untouched(network), torch.no_grad():
        sure = torch.cat([network.answer(some)[t].softmax(1).cpu() for some in shown.split(64)])
    return sure.gather(1, classes.repeat(steps + 1)[:, None]).view(steps + 1, -1).T


def localisation(
    network: System,
    images: ImageSet,
    parts: Tensor,
    *,
    methods: Sequence[str] = ("gradcam",),
    tasks: Sequence[str] | None = None,
    classes: Tensor | None = None,
    layer: str = "",
    batch: int = 32,
) -> pd.DataFrame:
    """How well each method finds the part that an attribute is seen by, beside two guesses without a network.

    The first arguments are those of `where_seen`.

    Args:
        network: see there.
        images: see there; one image a person, for the intervals.
        parts: see there.
        methods: "cam" or of METHODS.
        tasks: see there.
        classes: see there; the maps are those of these classes.
        layer: of the backbone, that all methods but "cam" read; "": the last.
        batch: images at once.
    Returns:
        a row a task and method: task, part, method, images, left_out (the part is not visible there, or the class is
        -1), and in percent pointing, pointing_low, pointing_high, energy, area (mean share of the image that the part
        covers; what a uniform map scores).
    """
    device, size = next(network.parameters()).device, images.pixels.shape[-2:]
    guesses = {"centre box": centre_box(1, *size), "uniform": torch.ones(1, *size)}
    classes = answers(network, images.pixels) if classes is None else classes
    wanted = list(where_seen(network, images, parts, tasks, classes))
    early, rest = cut(network, layer) if layer else (nn.Identity(), network)
    with untouched(network), torch.no_grad():
        given = torch.cat([early(standardise(some.to(device))) for some in images.pixels.split(batch)])
    cams = torch.empty(0)  # of all attributes at once, (N, T, h, w)
    if "cam" in methods:
        pairs = zip(given.split(batch), classes.clamp(min=0).to(device).split(batch), strict=True)
        cams = torch.cat([class_maps(rest, some, chosen) for some, chosen in pairs])
        cams = normalise(cams, read_by(rest, cams))

    def maps_of(task: str, method: str, index: Tensor, said: Tensor) -> Tensor:
        if method in guesses:
            return guesses[method].expand(len(index), -1, -1)
        if method == "cam":
            return _enlarged(cams[index.to(device), network.tasks.index(task)], size)
        maps = [torch.empty(0, *size)]  # of no image none
        for some, label in zip(index.split(batch), said.split(batch), strict=True) if len(index) else ():
            pixels = given[some.to(device)]
            maps.append(_enlarged(attribute_maps(rest, pixels, task, method, label.to(device), layer), size))
        return torch.cat(maps)

    rows = []
    for task, seen, inside, said in wanted:
        area = 100 * inside.float().mean((1, 2)).mean().item()
        counts = {"images": len(seen), "left_out": len(images) - len(seen)}
        for method in (*methods, *guesses):
            maps = maps_of(task, method, seen, said)
            row: dict[str, Any] = {"task": task, "part": PART_OF[task], "method": method, "area": area} | counts
            rows.append(row | share(pointing(maps, inside), "pointing") | share(energy(maps, inside), "energy"))
    return pd.DataFrame(rows)
