"""Up to which times a rule is evaluated: after a pause in steps, after a wrong clock from the time that is right."""

from __future__ import annotations

from typing import Final

from console.alerts.state import QuietTime, RuleState

NS: Final = 1_000_000_000
# Clocks that differ by more are told, and a rule that was evaluated beyond it is set back.
CLOCKS_DIFFER_S: Final = 30.0
# How far a new rule looks back, if it was made while nobody evaluated.
FIRST_LOOK_S: Final = 600.0
# A longer pause between two evaluations is caught up in steps, so that a peak in it is seen.
PAUSE_S: Final = 120.0
MOST_STEPS: Final = 60


def steps(last_ns: int, end_ns: int) -> list[int]:
    """The ends of the evaluations from one time to another: one, or several after a pause."""
    gap_ns = end_ns - last_ns
    if gap_ns <= 0:
        return []
    if gap_ns <= PAUSE_S * NS:
        return [end_ns]
    number = min(MOST_STEPS, int(gap_ns // (PAUSE_S * NS / 2)))
    return [last_ns + gap_ns * step // number for step in range(1, number + 1)]


def begin(state: RuleState, moment_ns: int) -> None:
    """Nothing from before is evaluated."""
    state.evaluated_ns = state.complete_ns = moment_ns


def set_back(state: RuleState, begin_ns: int, now_ns: int) -> None:
    """After a clock that was ahead: what was said then is said now, and the last minutes are looked at again."""
    begin(state, begin_ns)
    state.last_fired_ns = min(state.last_fired_ns, now_ns)
    state.quiet = {
        about: QuietTime(min(quiet.at_ns, now_ns), quiet.last_received_ns) for about, quiet in state.quiet.items()
    }
