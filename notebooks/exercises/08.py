"""The exercises of lesson 08: questions, solutions that run, hints, and what usual mistakes forget."""

from __future__ import annotations

from reidkit.course.exercises import exercise


@exercise(
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
