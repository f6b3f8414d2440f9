"""Which images a training sees, and in what order: an epoch as a list of index arrays, decided before it starts.

Every random number comes from the generator that is given, so a training that was interrupted in an epoch takes up
the very batches of an undisturbed one. Samplers of a library draw as the epoch goes on, from the process's own
generator.
"""

from __future__ import annotations

import numpy as np

from .errors import InputError


def shuffled_batches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Every image once in random order; a last batch of a single image is left out (a batch norm needs two)."""
    batches = np.split(rng.permutation(n), range(size, n, size))
    return [batch for batch in batches if len(batch) > 1]


def pk_batches(label: np.ndarray, people: int, instances: int, rng: np.random.Generator) -> list[np.ndarray]:
    """P x K sampling (Hermans et al. 2017): each batch holds `people` people with `instances` images of each.

    Every image stands in about one batch an epoch. A person's images are shuffled and cut into groups of K; a short
    group is filled up by drawing again. A batch takes one group from each of P different people. The epoch ends when
    fewer than P people have a group left.

    Args:
        label: (N,) integers, -1 for images that are not drawn.
        people: P, people in a batch.
        instances: K, images of each person in a batch.
        rng: source of the random numbers.
    Returns:
        index arrays of length P * K (fewer people than P in all: as many as there are).
    Raises:
        InputError: fewer than two people, so that no image has a negative.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for person in np.unique(label[label >= 0]):
        rows = rng.permutation(np.flatnonzero(label == person))
        short = -len(rows) % instances
        rows = np.concatenate([rows, rng.choice(rows, short, replace=short > len(rows))])
        groups[int(person)] = list(rows.reshape(-1, instances))
    if len(groups) < 2:
        raise InputError(
            f"P x K sampling found {len(groups)} person in the training images: a triplet needs at least two people."
        )
    people = min(people, len(groups))
    batches = []
    while len(groups) >= people:
        drawn = rng.choice(sorted(groups), people, replace=False)
        batches.append(np.concatenate([groups[p].pop() for p in drawn]))
        groups = {p: left for p, left in groups.items() if left}
    return batches


def triplet_batches(
    label: np.ndarray, size: int, rng: np.random.Generator, group: np.ndarray | None = None
) -> list[np.ndarray]:
    """Draw the triplets of an epoch ahead: every image whose person has a second one is an anchor once.

    The positive is another image of the anchor's person. The negative is an image of somebody else, from the anchor's
    own group where there is one (look-alikes, paper 001), else from all.

    Args:
        label: (N,) integers, -1 for images that are not drawn.
        size: triplets in a batch.
        rng: source of the random numbers.
        group: (N,) integers, equal for look-alikes; None: all are in one group.
    Returns:
        index arrays of length 3 * size: anchors, then their positives, then their negatives; the last may be shorter.
    Raises:
        InputError: nobody has two images, or there is one person only.
    """
    images = np.flatnonzero(label >= 0)
    of_person = {person: images[label[images] == person] for person in np.unique(label[images])}
    anchors = rng.permutation([i for i in images if len(of_person[label[i]]) > 1])
    if len(of_person) < 2 or not len(anchors):
        people = len(of_person)
        raise InputError(
            f"triplets need two people, one of them with two images: found {people} people and {len(images)} images."
        )
    group = np.zeros_like(label) if group is None else group
    of_group = {number: images[group[images] == number] for number in np.unique(group[images])}
    triplets = np.empty((len(anchors), 3), dtype=np.int64)
    for row, anchor in enumerate(anchors):
        same, alike = of_person[label[anchor]], of_group[group[anchor]]
        positive = rng.choice(same[same != anchor])
        others = alike[label[alike] != label[anchor]]
        if not len(others):
            others = images[label[images] != label[anchor]]
        triplets[row] = anchor, positive, rng.choice(others)
    return [triplets[i : i + size].T.ravel() for i in range(0, len(triplets), size)]
