"""Issue rules: for which active issues does a rule fire, and what does it say?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.alerts.state import FIRING, MAX_QUIET, Firing, QuietTime, RuleState, identity
from console.storage.times import nanoseconds_of

if TYPE_CHECKING:
    from console.alerts.rules.issue_activity import ActiveIssue, Activity, ActivityReader, IssueKey
    from console.alerts.rules.issue_details import IssueDetails
    from console.rules.issue_conditions import Condition
    from console.rules.parsed import IssueRule

NS: Final = 1_000_000_000
# Issues of one rule in one round that get a message each; of more, the last message says how many.
MAX_FIRINGS: Final = 50
_ARCHIVED: Final = "archived"
_SEVERE: Final = ("fatal", "error")


@dataclass(slots=True)
class IssueRound:
    """One evaluation of the rules of an organisation: errors that came from `begin_ns` to `end_ns`."""

    reader: ActivityReader
    details: IssueDetails
    activity: Activity
    end_ns: int
    url: str
    _counts: dict[tuple[tuple[int, int], str], Any] | None = None

    async def evaluate(self, rule: IssueRule, state: RuleState, complete_ns: int) -> list[Firing]:
        """The firings; `state` remembers them. Rows from before `complete_ns` are complete. Raises ApiError."""
        begin_ns = max(state.complete_ns, rule.head.created_ns)
        candidates = self._candidates(rule, state, begin_ns)
        fired: list[tuple[ActiveIssue, str]] = []
        if candidates:
            reasons = await self._reasons(rule, state, candidates, begin_ns)
            wanted = [issue for issue in candidates if issue.key in reasons]
            passing = await self.details.passing(rule, wanted, begin_ns, self.end_ns)
            fired = [(issue, reasons[issue.key]) for issue in wanted if issue.key in passing]
        firings = await self._firings(rule, state, fired)
        state.evaluated_ns = self.end_ns
        state.complete_ns = max(begin_ns, min(complete_ns, self.end_ns))
        _forget_quiet(rule, state, self.end_ns)
        if len(state.quiet) > MAX_QUIET:
            # Not all of them can be remembered: who looked at these errors again would speak of the same issues again.
            state.complete_ns = self.end_ns
        return firings

    def _candidates(self, rule: IssueRule, state: RuleState, begin_ns: int) -> list[ActiveIssue]:
        """Active issues that the rule has not spoken of since `frequency`, with an error that it does not know."""
        active = self.activity.of(rule.head.channels, rule.head.environment, begin_ns)
        return [issue for issue in active if self._may_fire(rule, state, issue)]

    def _may_fire(self, rule: IssueRule, state: RuleState, issue: ActiveIssue) -> bool:
        quiet = state.quiet.get(_about(issue.key))
        if quiet is None:
            return True
        return self.end_ns - quiet.at_ns >= rule.frequency_s * NS and issue.last_received_ns > quiet.last_received_ns

    async def _reasons(
        self, rule: IssueRule, state: RuleState, candidates: Sequence[ActiveIssue], begin_ns: int
    ) -> dict[IssueKey, str]:
        """Why, by issue; an issue for which the conditions do not hold, or that was archived, is missing."""
        matching = [await self._holding(condition, rule, state, candidates, begin_ns) for condition in rule.conditions]
        reasons: dict[IssueKey, str] = {}
        for issue in candidates:
            words = [entry.words for entry, keys in zip(rule.conditions, matching, strict=True) if issue.key in keys]
            if _matches(rule.condition_match, len(words), len(rule.conditions)):
                reasons[issue.key] = " and ".join(words) or "an error comes in"
        issues = await self.details.issues(list(reasons)) if reasons else {}
        return {key: words for key, words in reasons.items() if key in issues and issues[key]["status"] != _ARCHIVED}

    async def _holding(
        self, condition: Condition, rule: IssueRule, state: RuleState, candidates: Sequence[ActiveIssue], begin_ns: int
    ) -> set[IssueKey]:
        if condition.kind == "every":
            return {issue.key for issue in candidates}
        if condition.kind == "new":
            return {issue.key for issue in candidates if issue.first_ever_ns > begin_ns and not _spoken(state, issue)}
        if condition.kind == "regressed":
            return await self._regressed(rule, state, candidates)
        return await self._above(condition, rule, candidates)

    async def _above(self, condition: Condition, rule: IssueRule, candidates: Sequence[ActiveIssue]) -> set[IssueKey]:
        number = 0 if condition.kind == "events" else 1
        window = self.end_ns - condition.interval_s * NS, self.end_ns
        counts = await self._counted(window, rule.head.environment)
        before: Any = {}
        if condition.compared_s:
            shift = condition.compared_s * NS
            before = await self._counted((window[0] - shift, window[1] - shift), rule.head.environment)
        keys = set()
        for issue in candidates:
            value = float(counts.get(issue.key, (0, 0))[number])
            if condition.compared_s:
                base = before.get(issue.key, (0, 0))[number]
                value = (value - base) / base * 100 if base else 0.0
            if value > condition.value:
                keys.add(issue.key)
        return keys

    async def _counted(self, window: tuple[int, int], environment: str) -> Any:
        """Once for all rules of this round."""
        if self._counts is None:
            self._counts = {}
        if (window, environment) not in self._counts:
            self._counts[window, environment] = await self.reader.counts(self.activity, window, environment)
        return self._counts[window, environment]

    async def _regressed(self, rule: IssueRule, state: RuleState, candidates: Sequence[ActiveIssue]) -> set[IssueKey]:
        """Resolved issues with an error since, once for each resolution; not those that came back before the rule."""
        issues = await self.details.issues([issue.key for issue in candidates])
        changed: dict[IssueKey, str] = {}
        for issue in candidates:
            row = issues.get(issue.key)
            if row is not None and row["is_regressed"]:
                changed[issue.key] = str(row["changed_at"])
        new = {key: at for key, at in changed.items() if state.regressions.get(_about(key)) != at}
        moments = {key: nanoseconds_of(at) for key, at in new.items()}
        first_ns = await self.reader.first_after(self.activity.organisation, moments)
        back = {key for key in new if first_ns.get(key, 0) > rule.head.created_ns}
        state.regressions |= {_about(key): at for key, at in new.items() if key not in back}
        return back

    async def _firings(
        self, rule: IssueRule, state: RuleState, fired: Sequence[tuple[ActiveIssue, str]]
    ) -> list[Firing]:
        if not fired:
            return []
        issues = await self.details.issues([issue.key for issue, _ in fired])
        shown = await self.details.shapes([issue.key for issue, _ in fired[:MAX_FIRINGS]], self.url)
        firings = []
        for issue, reason in fired:
            about = _about(issue.key)
            before = state.quiet.get(about)
            firing_id = identity(*rule.head.key, about, reason, before.at_ns if before else 0)
            if issue.key in shown:
                firings.append(self._firing(rule, firing_id, issue, reason, shown[issue.key]))
            state.quiet[about] = QuietTime(self.end_ns, issue.last_received_ns)
            if issues[issue.key]["is_regressed"]:
                state.regressions[about] = str(issues[issue.key]["changed_at"])
        if len(fired) > len(firings) and firings:
            firings[-1].message += f"\nand {len(fired) - len(firings)} more issues of this rule at the same time"
        return firings

    def _firing(
        self, rule: IssueRule, firing_id: str, issue: ActiveIssue, reason: str, shape: dict[str, Any]
    ) -> Firing:
        project = self.details.project(issue.key[0])
        where = project.project_slug if project else str(issue.key[0])
        said = [str(shape["culprit"])] if shape["culprit"] else []
        said.append(f"{reason}; seen {_counted(shape['count'], 'time')}, {_counted(shape['userCount'], 'user')}")
        return Firing(
            firing_id,
            self.end_ns,
            FIRING,
            "critical" if shape["level"] in _SEVERE else "warning",
            _about(issue.key),
            issue.key[0],
            f"{where}: {shape['title']}",
            "\n".join(said),
            f"/organizations/{rule.head.organisation}/issues/{issue.key[1]}/",
            details={"reason": reason, "issue": shape},
        )


def _counted(number: object, word: str) -> str:
    return f"{number} {word}" if str(number) == "1" else f"{number} {word}s"


def _about(key: IssueKey) -> str:
    return f"issue:{key[0]}:{key[1]}"


def _spoken(state: RuleState, issue: ActiveIssue) -> bool:
    """Whether the rule fired for this issue since its first error: it is not new any more."""
    quiet = state.quiet.get(_about(issue.key))
    return quiet is not None and quiet.last_received_ns >= issue.first_ever_ns


def _matches(match: str, holding: int, number: int) -> bool:
    if match == "none":
        return holding == 0
    return holding == number if match == "all" else holding > 0


def _forget_quiet(rule: IssueRule, state: RuleState, end_ns: int) -> None:
    """Quiet times that are over, of errors that will not be looked at again."""
    state.quiet = {
        about: quiet
        for about, quiet in state.quiet.items()
        if end_ns - quiet.at_ns < rule.frequency_s * NS or quiet.last_received_ns > state.complete_ns
    }
