"""`make bench`: measures this machine and prints one table; `--json` for scripts, `--quick` without the system."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform

from tests.bench import normalising, storing


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="normalisers only, no running system")
    arguments = parser.parse_args()
    rates = [normalising.measure(subject) for subject in normalising.subjects()]
    stored = None if arguments.quick else storing.measure()
    if arguments.json:
        print(json.dumps(as_json(rates, stored), indent=2))
        return
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}\n")
    print(f"{'normalising, one core':<28}{'rows/s':>12}  of decoding alone")
    for rate in rates:
        print(f"{rate.name:<28}{rate.rows_s:>12,.0f}  {rate.ratio:.2f}")
    if stored:
        print(f"\n{'errors, 29 KB, gzip':<28}{'a second':>12}  of a server that does nothing")
        print(f"{'accepted (on disk)':<28}{stored.accepted_s:>12,.0f}  {stored.accepted_ratio:.2f}")
        print(f"{'stored (found by SQL)':<28}{stored.stored_s:>12,.0f}  {stored.stored_ratio:.2f}")
        print(f"{'that server':<28}{stored.floor_s:>12,.0f}  1.00")
        print(f"\n{storing.CONNECTIONS} connections; the load generator shares the machine, so rates are low bounds.")


def as_json(rates: list[normalising.Rate], stored: storing.Stored | None) -> dict[str, object]:
    """The result for scripts."""
    found: dict[str, object] = {"cores": os.cpu_count(), "normalising": [dataclasses.asdict(rate) for rate in rates]}
    if stored:
        ratios = {"accepted_ratio": stored.accepted_ratio, "stored_ratio": stored.stored_ratio}
        found["storing"] = dataclasses.asdict(stored) | ratios
    return found


main()
