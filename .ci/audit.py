"""Asks the package index whether a pinned dependency has a known vulnerability; `make check` runs it.

Needs nothing but the index packages come from. An index that cannot be reached, or that knows no advisories (mirrors
often do not), is no failure of ours: it is said, loudly, and the exit code is 0. A finding is 1.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
TIMEOUT_S = 15
DEADLINE_S = 600
# The last line of a traceback of requests or urllib3, or pip-audit's own words, where nobody answered.
UNREACHABLE = re.compile(
    r"(ConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|Timeout|ServiceError|NameResolutionError"
    r"|Max retries exceeded|5\d\d Server Error)"
)


def command() -> list[str]:
    """pip-audit over the lock as it is: nothing is resolved, downloaded or installed."""
    return [
        *(sys.executable, "-m", "pip_audit", "--vulnerability-service", "pypi", "--no-deps", "--disable-pip"),
        *("--requirement", str(LOCK), "--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S)),
    ]


def verdict(output: str, errors: str) -> tuple[int, str]:
    """(exit code, what to tell) of what pip-audit wrote."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = errors.strip().splitlines()[-1:] or ["no output"]
        if UNREACHABLE.search(errors):
            return 0, f"NOT AUDITED: the package index cannot be reached ({last[0][:200]})"
        return 1, f"audit failed: {errors.strip()[-2000:] or 'no output'}"
    found = [f"{one['name']} {one['version']}: {_told(flaw)}" for one in dependencies for flaw in one.get("vulns", ())]
    skipped = [one["name"] for one in dependencies if "skip_reason" in one]
    audited = len(dependencies) - len(skipped)
    if found:
        return 1, "\n".join(("known vulnerabilities; take newer versions with `make lock ARGS=--upgrade`:", *found))
    if not audited:
        return (
            0,
            f"NOT AUDITED: the package index has no advisories for any of {len(dependencies)} packages (a mirror?)",
        )
    rest = f"; NOT AUDITED: {', '.join(skipped)}" if skipped else ""
    return 0, f"no known vulnerability in {audited} packages{rest}"


def _told(flaw: dict[str, Any]) -> str:
    fixed = ", ".join(flaw.get("fix_versions") or ()) or "no version yet"
    return f"{flaw['id']} {' '.join(flaw.get('aliases') or ())}, fixed in {fixed}"


def main() -> int:
    """Audits and tells."""
    try:
        done = subprocess.run(command(), capture_output=True, text=True, check=False, timeout=DEADLINE_S)
        code, text = verdict(done.stdout, done.stderr)
    except subprocess.TimeoutExpired:
        code, text = 0, f"NOT AUDITED: the package index did not answer within {DEADLINE_S} s"
    sys.stderr.write(f"audit: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
