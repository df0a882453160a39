"""What a trial prints: a short summary, and the last line, which other programs read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.facts import Fault, Kind
from tests.chaos.monkey import Strike
from tests.chaos.recovery import percentile

SHOWN = 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a trial.

    Attributes:
        recoveries: s from a worker's death to the next claim of a film it held.
        notes: lines for the reader, by what they are about.
    """

    faults: Sequence[Fault]
    strikes: Sequence[Strike]
    recoveries: Sequence[float]
    notes: Mapping[str, str]

    @property
    def status(self) -> int:
        """The exit status: 1 where anything was at fault."""
        return int(bool(self.faults))


def lines(verdict: Verdict) -> list[str]:
    """All that is printed; the form of the last line never changes."""
    width = max(map(len, [*verdict.notes, "recovery"]))
    told = [f"{name:<{width}}  {note}" for name, note in verdict.notes.items()]
    return [*told, f"{'recovery':<{width}}  {_recovery(verdict)}", *_faults(verdict.faults), last_line(verdict)]


def last_line(verdict: Verdict) -> str:
    """The numbers of the promise. Faults of the kind 'other' are told above, and in the exit status."""
    counted = Counter(fault.kind for fault in verdict.faults)
    subjects = {kind: len({f.subject for f in verdict.faults if f.kind is kind}) for kind in counted}
    return (
        f"lost {subjects.get(Kind.LOST, 0)} doubled {subjects.get(Kind.DOUBLED, 0)} "
        f"stale_accepted {subjects.get(Kind.STALE, 0)} chain_breaks {subjects.get(Kind.CHAIN, 0)} "
        f"recovery_p99_s {percentile(verdict.recoveries, 0.99):.1f} "
        f"kills {sum(strike.is_kill for strike in verdict.strikes)}"
    )


def counts(words: Iterable[str]) -> str:
    """'a 3, b 1': the most frequent first."""
    return ", ".join(f"{word} {count}" for word, count in Counter(words).most_common()) or "none"


def _recovery(verdict: Verdict) -> str:
    n, found = len(verdict.recoveries), verdict.recoveries
    return f"{n} films: median {percentile(found, 0.5):.1f} s, p99 {percentile(found, 0.99):.1f} s" if n else "no film"


def _faults(faults: Sequence[Fault]) -> list[str]:
    shown = [f"FAULT {fault.kind.value}: {fault.subject}: {fault.why}" for fault in faults[:SHOWN]]
    return [*shown, *([f"and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else [])]
