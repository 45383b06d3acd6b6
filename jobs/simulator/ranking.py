"""The logging policy, the examination of positions and the clicks: arrays in, arrays out, with known truth.

Policy. With probability 0.8 a query's base ranking of ten is shown as it is; with 0.2 its ten items are shown in
an order drawn uniformly. So item i stands at position k with probability 0.8 [base has i at k] + 0.2 / 10.
A visitor looks at position k with probability k ** -0.7, and clicks what they look at by its relevance.
"""

import numpy as np
import numpy.typing as npt

SHOWN = 10
SHUFFLED = 0.2
EXAMINATION: npt.NDArray[np.float64] = np.arange(1, SHOWN + 1, dtype=np.float64) ** -0.7
ATTRACTION = (0.01, 0.05, 0.15, 0.30)  # by grade 0..3

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def show(rng: np.random.Generator, base: Ints) -> tuple[Ints, Floats]:
    """Shown items (n, 10) for base rankings (n, 10), and the true propensity of each where it stands.

    >>> import numpy as np
    >>> shown, propensity = show(np.random.default_rng(1), np.arange(10)[None, :])
    >>> sorted(shown[0].tolist()) == list(range(10)) and set(np.round(propensity[0], 2)) <= {0.82, 0.02}
    True
    """
    order = np.argsort(rng.random(base.shape), axis=1)
    order[rng.random(len(base)) >= SHUFFLED] = np.arange(base.shape[1])
    shown = np.take_along_axis(base, order, axis=1)
    propensity = (1 - SHUFFLED) * (order == np.arange(base.shape[1])) + SHUFFLED / base.shape[1]
    return shown, propensity


def click(rng: np.random.Generator, grades: Ints, attraction: tuple[float, ...] = ATTRACTION) -> npt.NDArray[np.bool_]:
    """Which of the shown items (n, 10), with these grades, are clicked."""
    clicked: npt.NDArray[np.bool_] = rng.random(grades.shape) < EXAMINATION * np.array(attraction)[grades]
    return clicked


def truth() -> dict[str, object]:
    """The parameters that an evaluation may know."""
    return {
        "examination": EXAMINATION.tolist(),
        "attraction": list(ATTRACTION),
        "propensity": {"in_place": 1 - SHUFFLED + SHUFFLED / SHOWN, "out_of_place": SHUFFLED / SHOWN},
    }


def stamp(micros: Ints) -> list[str]:
    """Times as text, UTC, to the second."""
    return [f"{text}Z" for text in np.datetime_as_string(micros.astype("datetime64[us]"), unit="s")]
