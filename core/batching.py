"""How many tiles go through the model at once: given, remembered, or found by a trial."""

from __future__ import annotations

from dataclasses import dataclass, field

# Folded layers gain until 16 on a CPU (docs/benchmarks.md).
MOST = {"cpu": 16, "mps": 32, "cuda": 128}
# Where a trial begins: a GPU is idle with less.
FIRST = {"cpu": 2, "mps": 4, "cuda": 8}
# A tile alone goes through other kernels than a batch (oneDNN's 3 x 3 convolutions): its
# probabilities are 1e-5 apart, those of all larger batches less than 1e-6.
LEAST = 2
# A smaller batch this close to the fastest one is preferred: it needs less memory.
PLATEAU = 0.95
# On a slow device a trial ends with the best of what it has seen.
TRIAL_SECONDS = 20.0
# A cancel is looked for before every layer, and must end a run in 2 s: twice as many tiles at once
# are not tried where these take longer, as on a CPU those of a large model do.
PIECE_SECONDS = 4.0
FORGET = 0


@dataclass
class BatchSize:
    """The batch size of a run.

    ``limit`` is the most that is computed at once, two at least; only want of memory makes it
    less. A trial takes pieces of doubling sizes from the run's own tiles, so that nothing is
    computed for it alone, and keeps the smallest size that is about as fast as the fastest.
    """

    limit: int
    is_remembered: bool = False
    _trial: list[int] = field(default_factory=list)
    _speeds: dict[int, float] = field(default_factory=dict, init=False)
    _seconds: float = field(default=0.0, init=False)
    _is_warm: bool = field(default=False, init=False)
    _is_found: bool = field(default=False, init=False)
    _has_shrunk: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.limit = max(LEAST, self.limit)

    @classmethod
    def on_trial(cls, kind: str, most: int) -> BatchSize:
        """Return a batch size to be found for a kind of device, ``most`` at most."""
        limit = min(MOST.get(kind, MOST["cpu"]), max(LEAST, most))
        first = min(FIRST.get(kind, LEAST), limit)
        sizes = [first << doubled for doubled in range(limit.bit_length())]
        return cls(limit, _trial=[size for size in sizes if size <= limit])

    @property
    def next(self) -> int:
        """How many tiles to compute next."""
        return self._trial[0] if self._trial else self.limit

    @property
    def is_on_trial(self) -> bool:
        """Whether the next piece is one of a trial, whose time counts."""
        return bool(self._trial)

    @property
    def to_remember(self) -> int | None:
        """What the next run should begin with; FORGET where it should try anew."""
        if self.is_remembered and self._has_shrunk:
            return FORGET  # perhaps only because of another program
        return self.limit if self._is_found else None

    def took(self, tiles: int, seconds: float) -> None:
        """Take note of a piece that was computed; only a trial listens."""
        if not self._trial or tiles != self._trial[0]:
            return  # the last tiles of a batch that was read
        self._seconds += seconds
        is_long = self._is_warm and seconds > PIECE_SECONDS
        if self._is_warm:
            self._speeds[self._trial.pop(0)] = tiles / max(seconds, 1e-9)
        self._is_warm = True  # the first piece of a run pays for what is set up once
        if not self._trial or self._seconds > TRIAL_SECONDS or is_long:
            self._end_trial()

    def shrink(self, failed: int) -> None:
        """Halve, after ``failed`` tiles at once found no memory."""
        self.limit = max(1, failed // 2)
        self._has_shrunk = True
        if self._trial:
            self._end_trial()

    def _end_trial(self) -> None:
        fitting = {size: speed for size, speed in self._speeds.items() if size <= self.limit}
        least = PLATEAU * max(fitting.values(), default=0.0)
        untried = min(self.limit, self._trial[0]) if self._trial else self.limit
        self.limit = min((n for n, speed in fitting.items() if speed >= least), default=untried)
        self._trial.clear()
        self._is_found = True
