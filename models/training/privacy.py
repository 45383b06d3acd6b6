"""Private training: what is promised about one visitor, the noise that keeps it, and the accountant that adds it up.

The promise is (epsilon, delta)-differential privacy (Dwork 2006) by visitor: whether one visitor with everything they
ever did is among the data or not changes the probability of any outcome at most by the factor e^epsilon, but for a
chance of delta. Gradients are bounded and noised by DP-SGD (Abadi 2016, 1607.00133) through Opacus (2109.12298): each
step draws every visitor with the same probability (Poisson), cuts each visitor's gradient to the norm `clip`, and adds
noise to the sum. Whatever else is learnt of visitors is a sum of bounded rows with noise (the Gaussian mechanism).

Opacus' accountant is Rényi's (RDP): it composes steps with and without sampling. Its PRV accountant is some percent
tighter on steps alone, but knows no sample rate of 1. A noise whose seed is known hides nothing, so noise and draws
come from the operating system's randomness; a seed is for tests, voids the promise, and is said in what is sealed.
"""

import hashlib
import math
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.console import Problem, Usage
from models.training import loop

if TYPE_CHECKING:
    import torch

Numbers = NDArray[np.float64]
Spending = tuple[float, float, int]
"""Noise multiplier, sample rate, steps: as Opacus' accountants keep their history."""

MOST = 20.0
"""Above this epsilon the promise says nothing: e^20 is 500 million."""
ORDERS = (1.25, 1.5, 1.75, 2.25, 2.5, 3.5, *range(2, 65), *range(72, 129, 8), 160, 192, 256, 384, 512, 768, 1024)
"""Orders of Rényi's divergence: Opacus' own end at 63, too low for an epsilon below 0.2; tenths cost seconds each."""


@dataclass(frozen=True)
class Privacy:
    """A promise: `epsilon` and `delta` about one visitor, whose gradient is cut to the norm `clip` in every step.

    `seed` makes noise and draws the same again. Tests alone give one: it voids the promise.
    """

    epsilon: float
    delta: float
    clip: float = 1.0
    seed: int | None = None


def usual_delta(visitors: int) -> float:
    """A tenth to a hundredth of 1 / visitors, as a power of ten.

    >>> usual_delta(300), usual_delta(2000), usual_delta(1_000_000)
    (0.0001, 1e-05, 1e-07)
    """
    return float(10.0 ** -math.ceil(math.log10(10 * max(visitors, 1)) - 1e-9))


def check_epsilon(epsilon: float) -> float:
    """`epsilon` if it promises something; else `Usage`."""
    if not 0 < epsilon <= MOST:  # not a number neither
        raise Usage(f"--epsilon {epsilon:g} is no promise",
                    do=f"give a number above 0 and up to {MOST:g}; 3 is usual, 1 is strict")  # fmt: skip
    return epsilon


def promise(epsilon: float, delta: float | None, visitors: int, seed: int | None = None) -> Privacy:
    """The promise for so many visitors; `Usage` if `delta` allows to give one of them away."""
    usual = usual_delta(visitors)
    chosen = usual if delta is None else delta
    if not 0 < chosen < 1 / max(visitors, 1):
        raise Usage(f"--delta {chosen:g} is not between 0 and 1/{visitors:,}, one of the visitors learnt from",
                    do=f"leave it out, or give --delta {usual:g}")  # fmt: skip
    return Privacy(check_epsilon(epsilon), chosen, seed=seed)


class Chance:
    """Random numbers that nobody can foretell: AES-256 in counter mode under a key of the operating system.

    torch's own generator starts from 32 bits, which can be tried one after another. A `seed` gives the same numbers
    again, and so no protection.
    """

    def __init__(self, seed: int | None = None) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        key = secrets.token_bytes(32) if seed is None else hashlib.sha256(f"noise {seed}".encode()).digest()
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def uniform(self, count: int) -> Numbers:
        """`count` numbers between 0 and 1, neither of them included, on a grid of 2^-52."""
        drawn = np.frombuffer(self._stream.update(bytes(8 * count)), "<u8")
        numbers: Numbers = ((drawn >> 12).astype(np.float64) + 0.5) * 2.0**-52
        return numbers

    def normal(self, *shape: int) -> Numbers:
        """Standard normal numbers, each of four, so that the gaps between floating-point numbers do not tell what was
        added (Holohan and Braghin 2021, 2107.10138)."""
        from scipy.special import ndtri

        size = math.prod(shape)
        numbers: Numbers = ndtri(self.uniform(4 * size)).reshape(4, size).sum(0).reshape(shape) / 2
        return numbers


def spent(history: Sequence[Spending], delta: float) -> float:
    """The epsilon of all that was spent, at `delta`, by Opacus' accountant; 0 for nothing."""
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the outermost order being the best: a looser bound, no less
        return float(accountant.get_epsilon(delta, alphas=list(ORDERS)))


def noise_for(
    epsilon: float, delta: float, *, sample_rate: float = 1.0, steps: int = 1, beside: Sequence[Spending] = ()
) -> float:
    """The least noise multiplier, to one percent, that keeps `steps` and all `beside` them within `epsilon`.

    Opacus' own search knows steps of one kind only.
    """

    def fits(noise: float) -> bool:
        return spent([*beside, (noise, sample_rate, steps)], delta) <= epsilon

    high = 1.0
    while not fits(high):
        high *= 2
        if high > 1e6:
            raise Usage(f"no noise keeps {steps:,} steps within epsilon {epsilon:g}", do="give a larger --epsilon")
    low = high / 2
    while low > 0.05 and fits(low):
        low, high = low / 2, low
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


@dataclass
class Budget:
    """What was promised, and what was really spent of it: every noisy sum and every step is written down here."""

    privacy: Privacy
    history: list[Spending] = field(default_factory=list)
    chance: Chance = field(init=False)

    def __post_init__(self) -> None:
        self.chance = Chance(self.privacy.seed)

    def spend(self, noise: float, sample_rate: float = 1.0) -> None:
        """One step, or one noisy sum, with this noise multiplier."""
        last = self.history[-1] if self.history else None
        if last is not None and last[:2] == (noise, sample_rate):
            self.history[-1] = (noise, sample_rate, last[2] + 1)
        else:
            self.history.append((noise, sample_rate, 1))

    @property
    def epsilon(self) -> float:
        """What all that was spent comes to."""
        return spent(self.history, self.privacy.delta)

    def noisy_sum(self, rows: Numbers, clip: float, noise: float) -> Numbers:
        """The sum of one row a visitor (visitors, numbers), each cut to the norm `clip`, with noise."""
        return self.noisy(clipped(rows, clip).sum(0), clip, noise)

    def noisy(self, total: Numbers, clip: float, noise: float) -> Numbers:
        """A sum to which no visitor added more than the norm `clip`, with noise; written down as spent."""
        self.spend(noise)
        with_noise: Numbers = total + clip * noise * self.chance.normal(*total.shape)
        return with_noise


def clipped(rows: Numbers, clip: float) -> Numbers:
    """Rows longer than `clip` shortened to it.

    >>> clipped(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0).round(6).tolist()
    [[0.6, 0.8], [0.3, 0.4]]
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    short: Numbers = rows * np.minimum(1, clip / np.maximum(norms, 1e-12))
    return short


# --- The private step of the one loop ---


@dataclass(frozen=True)
class PrivateSteps:
    """How the loop takes a step privately: `expected` visitors a step, drawn by `sample_rate`; noise in multiples of
    the norm to which each visitor's gradient is cut. Every step is written into the budget."""

    budget: Budget
    noise: float
    sample_rate: float
    expected: float

    def taker(
        self, model: "torch.nn.Module", loss: Callable[[Any, Any], "torch.Tensor"], optimiser: "torch.optim.Optimizer"
    ) -> "PrivateTaker":
        """The model with Opacus' hooks, ready for steps; `release` it afterwards."""
        return PrivateTaker(self, model, loss, optimiser)


class PrivateTaker:
    """Takes private steps. A batch is a list of parts, since many visitors do not fit in memory at once; `loss` gives
    one number for each visitor of a part, and in every layer a visitor is a row of the first dimension."""

    def __init__(
        self,
        how: PrivateSteps,
        model: "torch.nn.Module",
        loss: Callable[[Any, Any], "torch.Tensor"],
        optimiser: "torch.optim.Optimizer",
    ) -> None:
        from opacus import GradSampleModule

        self.how, self.loss = how, loss
        try:
            self.model = GradSampleModule(model, loss_reduction="sum", strict=True)
        except NotImplementedError as fault:
            raise Problem("a layer of this model keeps figures of whole batches, which no noise covers",
                          do="exchange its batch norms for layer norms") from fault  # fmt: skip
        self.optimiser = _noised(optimiser, how)

    def __call__(self, parts: Sequence[Any]) -> None:
        """One step on the visitors drawn, who may be none: then it is noise alone."""
        if not parts:
            self._nobody()
        for n, part in enumerate(parts):
            self.optimiser.zero_grad()  # of each visitor; what the parts before summed up stays
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Full backward hook is firing"
                )  # the features need no gradient
                self.loss(self.model, part).sum().backward()
            self.optimiser.signal_skip_step(n < len(parts) - 1)
            self.optimiser.step()
        self.how.budget.spend(self.how.noise, self.how.sample_rate)

    def _nobody(self) -> None:
        self.optimiser.zero_grad()
        for weight in self.optimiser.params:
            weight.grad_sample = weight.new_zeros((0, *weight.shape))
        self.optimiser.step()

    def release(self) -> None:
        """Take Opacus' hooks off again; `Problem` if a weight is no number any more."""
        import torch

        for weight in self.optimiser.params:
            weight.grad_sample = weight.summed_grad = weight.grad = None
        plain = self.model.to_standard_module()
        if not all(bool(torch.isfinite(weight).all()) for weight in plain.parameters()):
            raise Problem("a weight is no number after private training", do="lower the learning rate")


def _noised(optimiser: "torch.optim.Optimizer", how: PrivateSteps) -> Any:
    """Opacus' optimiser, which cuts, sums and averages; its noise from our `Chance`, added in 64 bits."""
    import torch
    from opacus.optimizers import DPOptimizer

    class Noised(DPOptimizer):  # type: ignore[misc]
        def add_noise(self) -> None:
            for weight in self.params:
                noise = torch.from_numpy(how.budget.chance.normal(*weight.shape)).to(weight.device)
                total = weight.summed_grad.double() + self.noise_multiplier * self.max_grad_norm * noise
                weight.grad = total.to(weight.dtype).view_as(weight)

    return Noised(optimiser, noise_multiplier=how.noise, max_grad_norm=how.budget.privacy.clip,
                  expected_batch_size=how.expected, loss_reduction="mean")  # fmt: skip


def drawn(count: int, sample_rate: float, chance: Chance) -> list[int]:
    """Who takes part in a step: each of `count` visitors with the same probability, whoever else does (Poisson)."""
    return [int(n) for n in np.flatnonzero(chance.uniform(count) < sample_rate)]


def fit_privately(
    model: "torch.nn.Module",
    sizes: Sequence[int],
    part: Callable[[list[int]], Any],
    losses: Callable[[Any, Any], "torch.Tensor"],
    settings: loop.Settings,
    budget: Budget,
    *,
    noise: float,
    expected: float,
    at_once: int = 32,
) -> loop.History:
    """Train `model` in place by the one loop, privately: with the weights of the last step, since choosing an epoch
    would tell of visitors, too.

    One example is one visitor: `sizes` says how large each is (so that parts of like size are padded little),
    `part(visitors)` makes a part of a batch of them, and `losses(model, part)` gives one number for each. What a
    visitor adds may depend on nothing that was learnt of other visitors without noise. On average `expected` visitors
    take part in a step; an epoch that is not counted in steps shows each visitor once on average.
    """
    rate = min(1.0, expected / len(sizes))
    an_epoch = settings.steps_per_epoch or max(1, round(1 / rate))

    def batches(epoch: int) -> Iterator[list[Any]]:
        for _ in range(an_epoch):
            some = sorted(drawn(len(sizes), rate, budget.chance), key=lambda n: (sizes[n], n))
            yield [part(some[at : at + at_once]) for at in range(0, len(some), at_once)]

    how = PrivateSteps(budget, noise, rate, rate * len(sizes))
    return loop.fit(model, batches, losses, replace(settings, steps_per_epoch=an_epoch), private=how)


def sealed(budget: Budget, visitors: int, noises: Mapping[str, float], more: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a private model in its bundle. Raises `Problem` rather than say less than was spent."""
    reached = budget.epsilon
    if reached > budget.privacy.epsilon:
        raise Problem(f"epsilon {reached:.4g} was spent of {budget.privacy.epsilon:g}", do="report this: it is a fault")
    seeded = budget.privacy.seed is not None
    return {
        "unit": "visitor", "epsilon": math.ceil(reached * 1e4) / 1e4, "delta": budget.privacy.delta,
        "asked": budget.privacy.epsilon, "visitors": visitors, "clip": budget.privacy.clip, "accountant": "rdp",
        "noise": {name: round(value, 4) for name, value in noises.items()},
        "spent": [list(entry) for entry in budget.history],
        "randomness": "a known seed: nothing is promised" if seeded else "operating system", **more,
    }  # fmt: skip
