"""The exercises of the lessons: questions, solutions that run, and hints for what usually goes wrong.

A notebook repeats the question, leaves a blank, and asks `check("04", 1, answer)`. An answer is a number or several,
or a function; a function is tried on a few cases and compared with the solution's answers there.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any

import numpy as np

from .errors import InputError


@dataclass(frozen=True)
class Exercise:
    """One question, its solution, and what to say to other answers."""

    question: str
    solution: Callable[..., Any]  # gives the answer; with `cases` it is the answer
    hints: tuple[str, ...]  # one more with every try, the plainest last
    mistakes: tuple[tuple[Any, str], ...]  # usual wrong answers, and what each forgets
    cases: tuple[tuple[Any, ...], ...]  # arguments to try a function with


EXERCISES: dict[str, list[Exercise]] = {}  # by the number of the lesson
TRIES: Counter[tuple[str, int]] = Counter()


def check(lesson: str, number: int, answer: Any) -> None:
    """Print whether an answer is right, or a hint; a second wrong answer gets a plainer one.

    Args:
        lesson: its two digits, "04".
        number: of the exercise, from 1.
        answer: numbers or a function; `...` and None are blanks.
    Raises:
        InputError: no such exercise.
    """
    print(judge(lesson, number, answer, TRIES[lesson, number]))
    TRIES[lesson, number] += 1


def solve(lesson: str, number: int) -> None:
    """Print a solution: the code that the tests run."""
    lines = inspect.getsource(find(lesson, number).solution).splitlines()
    print("\n".join(dropwhile(lambda line: not line.startswith("def "), lines)))


def find(lesson: str, number: int) -> Exercise:
    """An exercise by lesson and number; InputError where there is none."""
    if lesson not in EXERCISES or not 1 <= number <= len(EXERCISES[lesson]):
        known = ", ".join(f"{name} has {len(those)}" for name, those in EXERCISES.items())
        raise InputError(f"lesson {lesson!r} has no exercise {number}: {known}.")
    return EXERCISES[lesson][number - 1]


def judge(lesson: str, number: int, answer: Any, tries: int = 0) -> str:
    """What `check` prints; `tries` wrong answers came before this one."""
    exercise, name = find(lesson, number), f"Exercise {number}"
    try:
        given = values(answer, exercise.cases)
    except Exception as error:  # whatever a reader's own function does
        return f"{name}: it fails with {type(error).__name__}: {error}."
    if blank(given):
        return f"{name}: fill in the blank (...), then run this cell again."
    if same(given, solved(exercise)):
        return f"{name}: right."
    for mistake, sentence in exercise.mistakes:
        if same(given, values(mistake, exercise.cases)):
            return f"{name}: not yet. {sentence}"
    return f"{name}: not yet. {exercise.hints[min(tries, len(exercise.hints) - 1)]}"


def solved(exercise: Exercise) -> list[Any]:
    """The right answers."""
    return values(exercise.solution if exercise.cases else exercise.solution(), exercise.cases)


def values(answer: Any, cases: tuple[tuple[Any, ...], ...]) -> list[Any]:
    """An answer as a list to compare: what a function gives for every case, or the numbers themselves."""
    if not cases:
        return list(answer) if isinstance(answer, tuple | list) else [answer]
    return [answer(*case) for case in cases] if callable(answer) else [answer] * len(cases)


def blank(given: list[Any]) -> bool:
    """Whether something was left open."""
    return any(value is ... or value is None for value in given)


def same(given: list[Any], right: list[Any]) -> bool:
    """Whether all numbers agree to one part in a hundred, so that a rounded answer is right too."""
    if len(given) != len(right):
        return False
    for one, other in zip(given, right, strict=True):
        try:
            a, b = np.asarray(one, float), np.asarray(other, float)
        except (TypeError, ValueError):
            return False
        if a.shape != b.shape or not np.allclose(a, b, rtol=0.01, atol=1e-6):
            return False
    return True


def exercise(
    lesson: str,
    question: str,
    *hints: str,
    mistakes: tuple[tuple[Any, str], ...] = (),
    cases: tuple[tuple[Any, ...], ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the function below the solution of a lesson's next exercise."""

    def add(solution: Callable[..., Any]) -> Callable[..., Any]:
        EXERCISES.setdefault(lesson, []).append(Exercise(question, solution, hints, mistakes, cases))
        return solution

    return add


# --- 00 ------------------------------------------------------------------------------------------------------


@exercise(
    "00",
    "Three matches stand at places 1, 3 and 6. What is the average precision, in percent?",
    "At each match, ask what share of the list so far was right.",
    "It is the mean of 1/1, 2/3 and 3/6, times 100.",
    mistakes=(
        (100 * (1 / 1 + 1 / 3 + 1 / 6) / 3, "At place 3 two matches have been seen, not one: the second share is 2/3."),
        ((1 / 1 + 2 / 3 + 3 / 6) / 3, "The right share, but the question asks for percent."),
    ),
)
def _average_precision() -> float:
    return 100 * (1 / 1 + 2 / 3 + 3 / 6) / 3


@exercise(
    "00",
    "Write rank-1 in percent. `match` has a row a query and a column a place, True where the image is right.",
    "Only the first place of every row counts.",
    "`match[:, 0]` is that column; its mean is a share.",
    mistakes=(
        (
            lambda match: 100 * match.any(1).mean(),
            "This finds a match anywhere in the row: look at the first place only.",
        ),
        (lambda match: match[:, 0].sum(), "This counts the queries; make a percentage of it."),
        (lambda match: match[:, 0].mean(), "The right share, but the question asks for percent."),
        (lambda match: 100 * match.mean(), "This averages over all places: look at the first place only."),
    ),
    cases=((np.array([[True, False], [False, True], [True, True]]),), (np.array([[False, False, True]]),)),
)
def rank1(match: np.ndarray) -> float:
    """Percent of queries whose first place is right."""
    return 100 * match[:, 0].mean()


@exercise(
    "00",
    "Write the Euclidean distances of one query `x` (D,) to every row of a gallery `y` (G, D).",
    "Subtract, square, add up over the D numbers of each row, take the root.",
    "`y - x` subtracts the query from every row; `.sum(1)` adds up each row.",
    mistakes=(
        (lambda x, y: ((y - x) ** 2).sum(1), "These are the squares: take the root."),
        (
            lambda x, y: np.sqrt(((y - x) ** 2).sum(0)),
            "This adds up over the gallery: use axis 1, the numbers of one row.",
        ),
        (
            lambda x, y: np.abs(y - x).sum(1),
            "This adds up absolute differences (city blocks): square them, and take the root of the sum.",
        ),
        (
            lambda x, y: np.sqrt(((y - x) ** 2).sum()),
            "This gives one number for the whole gallery: add up with axis 1.",
        ),
    ),
    cases=(
        (np.zeros(2), np.array([[3.0, 4.0], [1.0, 0.0]])),
        (np.ones(3), np.array([[1.0, 3.0, 1.0], [2.0, 2.0, 2.0], [1, 1, 1]])),
    ),
)
def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Euclidean distances (G,)."""
    return np.sqrt(((y - x) ** 2).sum(1))


# --- 01 ------------------------------------------------------------------------------------------------------


@exercise(
    "01",
    "Three of ten people have a bag, and the weight of a class is one over its share. What is the weight of 'yes'?",
    "The share of 'yes' is 3 of 10.",
    "One over 0.3.",
    mistakes=(
        (1 / 0.7, "That is the weight of 'no', which seven have."),
        (0.3, "That is the share: the weight is one over it."),
        (1 / 3, "One over the count: take one over the share, 3 of 10."),
    ),
)
def _weight() -> float:
    return 1 / 0.3


@exercise(
    "01",
    "Write the share of people who have more images than the median person. `counts` holds everybody's number.",
    "Compare every count with `np.median(counts)`.",
    "The mean of a comparison is a share: `(counts > ...).mean()`.",
    mistakes=(
        (
            lambda counts: (counts > np.mean(counts)).mean(),
            "That is the mean: one person with many images moves it. Take the median.",
        ),
        (lambda counts: (counts >= np.median(counts)).mean(), "More than the median, not as many: use >."),
        (
            lambda counts: (counts > np.median(counts)).sum(),
            "That is how many people: the question asks for the share.",
        ),
    ),
    cases=((np.array([1, 2, 3, 4, 90]),), (np.array([1, 2, 3, 4]),), (np.array([5, 5]),)),
)
def above_median(counts: np.ndarray) -> float:
    """Share of the counts above their median."""
    return (counts > np.median(counts)).mean()


@exercise(
    "01",
    "Of twenty people four have a bag. A detector says yes to two of the four and to nobody else. Its macro F1, in %?",
    "Count true positives, false positives and false negatives for each of the two classes by itself.",
    "Yes: TP 2, FP 0, FN 2. No: TP 16, FP 2, FN 0. Take the mean of the two F1.",
    mistakes=(
        (100 * 4 / 6, "That is the F1 of 'yes': the macro F1 is its mean with that of 'no'."),
        (100 * 32 / 34, "That is the F1 of 'no': the macro F1 is its mean with that of 'yes'."),
        (90.0, "That is the accuracy, 18 of 20, which hardly notices the bags."),
        ((4 / 6 + 32 / 34) / 2, "The right share, but the question asks for percent."),
    ),
)
def _macro_f1() -> float:
    yes = 2 * 2 / (2 * 2 + 0 + 2)
    no = 2 * 16 / (2 * 16 + 2 + 0)
    return 100 * (yes + no) / 2


# --- 02 ------------------------------------------------------------------------------------------------------


@exercise(
    "02",
    "A class has 24 of 1,440 images. Its weight as inverse share? And over that of a class with half of them?",
    "The share is 24 / 1440; the class with half of the images has a weight too.",
    "One over the share is 60; the other class has the weight 2.",
    mistakes=(
        ((60, 60), "The class with half of the images has the weight 2, so divide by that."),
        ((24 / 1440, 30), "The first number is the share: the weight is one over it."),
        ((60, 120), "The common class is the quieter one: divide by its weight."),
    ),
)
def _weights() -> tuple[float, float]:
    weight = 1440 / 24
    return weight, weight / 2


@exercise(
    "02",
    "From which probability on does the focal loss with gamma 2 keep less than a quarter of the cross-entropy?",
    "What is kept is (1 - p) squared.",
    "Solve (1 - p)^2 = 1/4.",
    mistakes=(
        (0.75, "That solves 1 - p = 1/4, which is gamma 1."),
        (0.25, "That is what is kept: ask for which p it is kept."),
    ),
)
def _probability() -> float:
    return 1 - (1 / 4) ** (1 / 2)


@exercise(
    "02",
    "Write the focal loss of the probability `p` of the true class.",
    "It is the cross-entropy, - log p, times a factor that is small for easy images.",
    "The factor is (1 - p) ** gamma.",
    mistakes=(
        (lambda p, gamma: -(p**gamma) * np.log(p), "The factor has to be small where p is near 1: (1 - p), not p."),
        (lambda p, gamma: (1 - p) ** gamma * np.log(p), "A loss is not negative: the sign is missing."),
        (lambda p, gamma: -((1 - p) ** gamma) * np.log(1 - p), "The logarithm is that of p, the true class."),
        (lambda p, gamma: -gamma * (1 - p) * np.log(p), "gamma is a power of (1 - p), not a factor."),
    ),
    cases=((0.9, 2.0), (0.1, 2.0), (0.5, 0.0), (0.7, 5.0)),
)
def focal(p: float, gamma: float) -> float:
    """- (1 - p)^gamma log p."""
    return -((1 - p) ** gamma) * np.log(p)


# --- 03 ------------------------------------------------------------------------------------------------------


@exercise(
    "03",
    "Anchor (0, 0), positive (1, 1), negative (1.5, 0), margin 1: what is the loss, with squared distances?",
    "Squared, the positive is 2 away and the negative 2.25.",
    "max(0, 1 + 2 - 2.25).",
    mistakes=(
        (1 + 2**0.5 - 1.5, "Those are the distances themselves: square them."),
        (0, "The negative is farther away, but not by the whole margin."),
        (1.25, "The positive's distance is added, the negative's subtracted."),
    ),
)
def _triplet() -> float:
    return max(0, 1 + (1**2 + 1**2) - 1.5**2)


@exercise(
    "03",
    "Matches at places 1, 2 and 60; the list ends at place 50. AP (a share) of the whole ranking, strict, returned?",
    "Precision at a match: matches so far over places so far. The three numbers differ in what the third match counts.",
    "Whole: it counts 3/60. Strict: it counts 0. Returned only: it is forgotten, and two matches remain.",
    mistakes=(
        (((1 + 1 + 3 / 60) / 3, 1, 2 / 3), "The last two are exchanged: strict counts the match that is missing."),
        (((1 + 1 + 1 / 60) / 3, 2 / 3, 1), "At place 60 three matches have been seen: 3/60."),
        ((100 * 2.05 / 3, 100 * 2 / 3, 100), "The right percentages, but the question asks for shares."),
    ),
)
def _three_forms() -> tuple[float, float, float]:
    return (1 + 1 + 3 / 60) / 3, (1 + 1 + 0) / 3, (1 + 1) / 2


@exercise(
    "03",
    "Write the filter: which rows of `gallery` (G, T) differ from `query` (T,) in at most `h` attributes?",
    "Compare, count the differences of each row, compare the count with h.",
    "`(gallery != query).sum(1)` counts them.",
    mistakes=(
        (
            lambda query, gallery, h: (gallery != query).sum(1) < h,
            "At most h: somebody with exactly h differences stays.",
        ),
        (
            lambda query, gallery, h: (gallery != query).sum(1) > h,
            "Those are the ones thrown out: the question asks who stays.",
        ),
        (lambda query, gallery, h: (gallery == query).sum(1) <= h, "This counts what agrees: count what differs, !=."),
    ),
    cases=(
        (np.array([0, 1, 2]), np.array([[0, 1, 2], [0, 1, 0], [1, 0, 0]]), 1),
        (np.array([0, 1]), np.array([[1, 1], [0, 1], [1, 0]]), 0),
    ),
)
def stays(query: np.ndarray, gallery: np.ndarray, h: int) -> np.ndarray:
    """Who differs in at most h attributes (G,)."""
    return (gallery != query).sum(1) <= h


# --- 04 ------------------------------------------------------------------------------------------------------


@exercise(
    "04",
    "Codes 0 and 4 belong to person 0, codes 6 and 10 to person 1. Compact and scatter loss of code 4?",
    "The centres are 2 and 8, both radii 3. Is code 4 inside its ball?",
    "It is 2 from its centre, less than 3; and 4 from the other: half of 4 squared.",
    mistakes=(
        ((0, 16), "The scatter loss has a factor of one half."),
        ((2, 8), "Code 4 is inside its ball of radius 3: the compact loss does not see it."),
        ((-2.5, 8), "The compact loss is never negative: inside the ball it is 0."),
        ((8, 0), "The two are exchanged: the compact loss comes first."),
    ),
)
def _centres() -> tuple[float, float]:
    compact = max(0, (4 - 2) ** 2 - 3**2) / 2
    scatter = (4 - 8) ** 2 / 2
    return compact, scatter


@exercise(
    "04",
    "Codes 0 and 3 belong to one person, 4 and 9 to another. The batch-hard triplet loss of code 3, margin 0.3?",
    "The farthest image of the same person, the nearest stranger.",
    "Farthest own: 0, at 3. Nearest stranger: 4, at 1. So 0.3 + 3 - 1.",
    mistakes=(
        (0, "The nearest stranger is 4, not 9."),
        (2.0, "The margin is missing."),
        (0.3 + 9 - 1, "Here distances are not squared."),
    ),
)
def _batch_hard() -> float:
    return max(0, 0.3 + abs(3 - 0) - abs(3 - 4))


@exercise(
    "04",
    "Write the radius of one person's ball: `own` (D,) is the centre, `others` (P, D) the centres of everybody else.",
    "How far is it to the nearest of the others?",
    "Half of the smallest Euclidean distance.",
    mistakes=(
        (lambda own, others: np.sqrt(((others - own) ** 2).sum(1)).min(), "Half of that: or two balls could overlap."),
        (
            lambda own, others: np.sqrt(((others - own) ** 2).sum(1)).mean() / 2,
            "The nearest of the others decides, not their mean.",
        ),
        (lambda own, others: ((others - own) ** 2).sum(1).min() / 2, "Half of the distance, not of its square."),
        (lambda own, others: np.sqrt(((others - own) ** 2).sum(1)) / 2, "One radius: take the smallest."),
    ),
    cases=((np.zeros(2), np.array([[6.0, 8.0], [0.0, 4.0]])), (np.array([1.0]), np.array([[8.0], [-5.0], [4.0]]))),
)
def radius(own: np.ndarray, others: np.ndarray) -> float:
    """Half the distance to the nearest other centre."""
    return np.sqrt(((others - own) ** 2).sum(1)).min() / 2


# --- 05 ------------------------------------------------------------------------------------------------------


@exercise(
    "05",
    "Two known columns, a yes answered with 0.8 and a no answered with 0.2. What is the loss?",
    "What probability does each column give to the truth?",
    "Both give it 0.8: add two times - log 0.8.",
    mistakes=(
        (-np.log(0.8), "Two columns: add their losses."),
        (-np.log(0.8) - np.log(0.2), "A no answered with 0.2 is right with 0.8: the logarithm of 1 - 0.2."),
        (2 * np.log(0.8), "A loss is not negative: the sign is missing."),
    ),
)
def _two_columns() -> float:
    return -np.log(0.8) - np.log(1 - 0.2)


@exercise(
    "05",
    "A layer has 3 million weights, those before it 1, those behind it 6. How many with the fork right behind it?",
    "What stands before the fork is there once, what comes after it twice.",
    "1 + 3 once, 6 twice.",
    mistakes=(
        (10, "That is one network without a fork: the layers behind it are copied."),
        (1 + 2 * 3 + 2 * 6, "The fork is behind the layer: its 3 millions are shared."),
        (20, "Only what comes behind the fork is copied."),
        (16e6, "In millions, please."),
    ),
)
def _fork() -> float:
    return 1 + 3 + 2 * 6


@exercise(
    "05",
    "Write the loss of one image: `p` (A,) are probabilities of yes, `y` (A,) is 1, 0, or -1 where nobody knows.",
    "The truth has the probability p where y is 1 and 1 - p where y is 0; a hole costs nothing.",
    "`known = y >= 0`, then add up - log np.where(y == 1, p, 1 - p) over the known.",
    mistakes=(
        (
            lambda p, y: -np.log(np.where(y == 1, p, 1 - p)).sum(),
            "A hole is no 'no': leave out the columns where y is -1.",
        ),
        (
            lambda p, y: -np.log(np.where(y == 1, p, 1 - p))[y >= 0].mean(),
            "The sum over the known columns, not their mean.",
        ),
        (lambda p, y: -np.log(p)[y == 1].sum(), "The columns with a no cost something too: - log(1 - p)."),
    ),
    cases=((np.array([0.5, 0.25, 0.9]), np.array([1, 0, -1])), (np.array([0.8, 0.2]), np.array([1, 0]))),
)
def loss_of_image(p: np.ndarray, y: np.ndarray) -> float:
    """Sum of the sigmoid cross-entropies of the known columns."""
    known = y >= 0
    right = np.where(y == 1, p, 1 - p)
    return -np.log(right[known]).sum()


# --- 06 ------------------------------------------------------------------------------------------------------


@exercise(
    "06",
    "A channel of a map is 2, 5, 1, 4 from the top. What is the highest of the whole, the upper and the lower half?",
    "Three numbers: of all four rows, of the first two, of the last two.",
    "max(2, 5, 1, 4), max(2, 5), max(1, 4).",
    mistakes=(
        ((3, 3.5, 2.5), "Those are means: max pooling keeps the highest."),
        ((5, 4, 5), "The halves are exchanged: rows count from the top."),
        ((4, 4, 4), "The last row is not the highest everywhere."),
    ),
)
def _halves() -> tuple[float, float, float]:
    return max(2, 5, 1, 4), max(2, 5), max(1, 4)


@exercise(
    "06",
    "Three losses are 8, 2 and 0.5. With the best uncertainties, what is the weight 1 / sigma^2 of each?",
    "The best sigma^2 is 2 L.",
    "1 / (2 * 8), and so on.",
    mistakes=(
        ((16, 4, 1), "That is sigma^2; the weight is one over it."),
        ((1 / 8, 1 / 2, 2), "sigma^2 is 2 L, not L."),
        ((0.5, 0.5, 0.5), "Those are the contributions L / sigma^2; the weights differ."),
    ),
)
def _best_weights() -> tuple[float, float, float]:
    return 1 / (2 * 8), 1 / (2 * 2), 1 / (2 * 0.5)


@exercise(
    "06",
    "Write the cosine of two gradients `a` and `b`, arrays of one length.",
    "It is their product divided by both lengths.",
    "`a @ b` over `np.linalg.norm(a) * np.linalg.norm(b)`.",
    mistakes=(
        (lambda a, b: a @ b, "That grows with the gradients: divide by their lengths."),
        (lambda a, b: a @ b / (a @ a * (b @ b)), "a @ a is the length squared: take the root."),
        (lambda a, b: abs(a @ b) / np.linalg.norm(a) / np.linalg.norm(b), "The sign matters: below 0 they disagree."),
    ),
    cases=(
        (np.array([3.0, 4.0]), np.array([4.0, 3.0])),
        (np.array([1.0, 0.0, 2.0]), np.array([-2.0, 1.0, -1.0])),
    ),
)
def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Product of two directions."""
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


# --- 07 ------------------------------------------------------------------------------------------------------


@exercise(
    "07",
    "Two channels are 4 and 1 at a place, the classifier's row is (0.5, -2). What is the activation map there?",
    "Weigh each channel with its number of the row, and add up.",
    "0.5 * 4 - 2 * 1.",
    mistakes=(
        (4, "The second number is negative: this channel speaks against the class."),
        (2, "Both channels count, also the one that speaks against."),
        (2.5, "Multiply each channel with its own number."),
    ),
)
def _place() -> float:
    return 0.5 * 4 - 2 * 1


@exercise(
    "07",
    "An activation map is 3, 1, 0 and -2 at its four places, and the bias is 1. What is the logit?",
    "The logit is the mean of the map, plus the bias.",
    "(3 + 1 + 0 - 2) / 4 + 1.",
    mistakes=(
        (3, "That is the sum plus the bias: the network takes the mean."),
        (0.5, "The bias is missing."),
        (4 / 4 + 1, "The place that speaks against the class counts as well."),
    ),
)
def _logit() -> float:
    return (3 + 1 + 0 - 2) / 4 + 1


@exercise(
    "07",
    "Write the energy of a map `heat` (H, W) inside a mask `inside` (H, W), arrays of numbers and of True and False.",
    "How much of the whole sum lies where the mask is True?",
    "`heat[inside].sum()` over `heat.sum()`.",
    mistakes=(
        (lambda heat, inside: heat[inside].sum(), "A share: divide by the sum of the whole map."),
        (lambda _, inside: inside.mean(), "That is the part's area, what a map without an opinion scores."),
        (lambda heat, inside: heat[inside].mean() / heat.mean(), "Sums, not means: a small part holds little heat."),
    ),
    cases=(
        (np.array([[1.0, 0.0], [2.0, 1.0]]), np.array([[False, False], [True, False]])),
        (np.array([[0.2, 0.3, 0.5]]), np.array([[True, False, True]])),
    ),
)
def energy(heat: np.ndarray, inside: np.ndarray) -> float:
    """Share of a map's sum that lies on a part."""
    return heat[inside].sum() / heat.sum()


# --- 08 ------------------------------------------------------------------------------------------------------


@exercise(
    "08",
    "Matches at distances 0.2, 0.3 and 0.6, strangers at 0.5, 0.8 and 0.9. What are FAR and FRR at t = 0.3?",
    "A pair at exactly t is accepted. Which strangers are that near, which matches are farther?",
    "No stranger of three, one match of three.",
    mistakes=(
        ((1 / 3, 0), "The two are exchanged: FAR is about strangers."),
        ((0, 2 / 3), "The match at 0.3 is at the threshold, so it is accepted."),
        ((0, 1 / 6), "FRR is a share of the matches, of which there are three."),
    ),
)
def _rates() -> tuple[float, float]:
    return 0 / 3, 1 / 3


@exercise(
    "08",
    "A pair has the probability 0.9 at the prior 1/2. What is it where 1 pair in 100 is genuine?",
    "Turn 0.9 into odds, multiply with the odds of the new prior, turn it back.",
    "9 to 1, times 1 to 99, is 9 to 99.",
    mistakes=(
        (0.9 * 0.01, "Odds are multiplied, not probabilities: 9 to 1 times 1 to 99."),
        (9 / 99, "Those are the odds, 9 to 99: the probability is 9 of 108."),
        (0.9, "The prior counts: with few genuine pairs a near one is more often a stranger."),
    ),
)
def _prior() -> float:
    odds = 9 / 1 * 1 / 99
    return odds / (1 + odds)


@exercise(
    "08",
    "A stranger is accepted in 1 pair of 1,000. In what share of searches among 1,000 is one or more accepted?",
    "How likely is it that all 1,000 are rejected, if the pairs are independent?",
    "1 - 0.999 ** 1000.",
    mistakes=(
        (1, "One is accepted on average, but in some searches two or none."),
        (0.999**1000, "That is the share of searches in which nobody is accepted."),
        (0.001, "That is one pair: a search has a thousand of them."),
    ),
)
def _alarm() -> float:
    return 1 - 0.999**1000


# --- 09 ------------------------------------------------------------------------------------------------------


@exercise(
    "09",
    "Matches at places 2 and 4: average precision in both forms (precision, trapezoid), in percent?",
    "Precision: shares at the matches. Trapezoid: the mean of that share and the one just before each match.",
    "At the matches 1/2 and 2/4; just before them 0/1 and 1/3.",
    mistakes=(
        ((50, 50), "The trapezoid looks at the share just before each match too: 0/1 and 1/3."),
        ((0.5, 1 / 3), "The right shares, but the question asks for percent."),
        ((100 / 3, 50), "The two are exchanged: the trapezoid is the lower one."),
    ),
)
def _both_forms() -> tuple[float, float]:
    precision = 100 * (1 / 2 + 2 / 4) / 2
    trapezoid = 100 * ((0 / 1 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2
    return precision, trapezoid


@exercise(
    "09",
    "At which lambda does re-ranking change no order at all?",
    "Lambda is the share of the old distance in the new one.",
    "Only the old distance may count.",
    mistakes=(
        (0, "There only the neighbours count: the other end."),
        (0.3, "That is the usual value, and it changes a lot."),
    ),
)
def _lambda() -> float:
    return 1.0


@exercise(
    "09",
    "Which pairs are among each other's `k` nearest? `distance` (N, N) has infinity for an image and itself.",
    "Who is near to whom: compare each row with its k-th smallest distance. Then both ways.",
    "`near = distance <= np.sort(distance, 1)[:, k - 1 : k]`, and `near.T` is the other way.",
    mistakes=(
        (
            lambda distance, k: distance <= np.sort(distance, 1)[:, k - 1 : k],
            "This is one way only: the other must think so too.",
        ),
        (
            lambda distance, k: (lambda near: near | near.T)(distance <= np.sort(distance, 1)[:, k - 1 : k]),
            "Both ways: and (&), not or.",
        ),
        (
            lambda distance, k: (lambda near: near & near.T)(distance < np.sort(distance, 1)[:, k - 1 : k]),
            "The k-th nearest is among the k: use <=.",
        ),
    ),
    cases=tuple(
        (np.abs(np.subtract.outer(x, x)) + np.diag(np.full(len(x), np.inf)), k)
        for x, k in ((np.array([0.0, 1.0, 3.0, 3.5]), 1), (np.array([0.0, 2.0, 3.0, 7.0]), 2))
    ),
)
def mutual(distance: np.ndarray, k: int) -> np.ndarray:
    """Who is among whose k nearest, and the other way round (N, N)."""
    near = distance <= np.sort(distance, 1)[:, k - 1 : k]
    return near & near.T


# --- 10 ------------------------------------------------------------------------------------------------------


@exercise(
    "10",
    "Differences over four splits are 1, 3, 2 and 2. What is their mean, and what their sample standard deviation?",
    "The squared ways to the mean, added, divided by one less than their number; then the root.",
    "The mean is 2; the squares are 1, 1, 0 and 0, divided by 3.",
    mistakes=(
        ((2, (2 / 4) ** 0.5), "The sample standard deviation divides by n - 1."),
        ((2, 2 / 3), "That is the variance: take the root."),
        ((2, (2 / 3) ** 0.5 / 2), "That is the standard error: no division by the root of n yet."),
    ),
)
def _spread() -> tuple[float, float]:
    d = np.array([1, 3, 2, 2])
    return d.mean(), d.std(ddof=1)


@exercise(
    "10",
    "40 comparisons, none of which is true. How many 95 % intervals leave out 0, on average?",
    "Each of them does so in one case of twenty.",
    "5 % of 40.",
    mistakes=(
        (38, "Those are the ones that contain 0."),
        (0, "Chance alone moves some of them off 0."),
        (1, "Half of them lie above, half below: both leave out 0."),
    ),
)
def _lucky() -> float:
    return 0.05 * 40


@exercise(
    "10",
    "Write a verdict: 1 if the interval from `low` to `high` is above 0, -1 if it is below, else 0.",
    "All of it is above 0 when its lower end is.",
    "Look at `low > 0` and at `high < 0`.",
    mistakes=(
        (lambda _, high: 1 if high > 0 else -1, "An interval with 0 inside decides nothing."),
        (lambda low, high: 1 if low + high > 0 else -1, "Not the middle: the whole interval must lie on one side."),
        (lambda low, _: 1 if low > 0 else 0, "Below 0 is a verdict as well: reversed."),
    ),
    cases=((0.5, 2.0), (-1.0, 3.0), (-3.0, -0.2), (-2.0, 1.0)),
)
def verdict(low: float, high: float) -> int:
    """Above, below, or undecided."""
    return int(low > 0) - int(high < 0)
