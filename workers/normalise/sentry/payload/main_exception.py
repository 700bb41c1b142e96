"""Which exception of a chain an event is about: wrappers that only carry another exception do not title or group it.

The rules are those by which Sentry chooses its `main_exception_id`: exception groups (PEP 654, .NET's and JavaScript's
aggregates), React's recovery errors with a cause, RxJava's framework exceptions, Kotlin's diagnostic exceptions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from workers.normalise.scalars import whole
from workers.normalise.sentry.payload.exceptions import Raised, identity_of

_REACT_WITH_CAUSE: Final = (
    "There was an error during concurrent rendering but React was able to recover",
    "There was an error while hydrating but React was able to recover",
)
_RXJAVA_MODULES: Final = ("io.reactivex.exceptions", "io.reactivex.rxjava3.exceptions")
_RXJAVA_TYPES: Final = frozenset({"OnErrorNotImplementedException", "CompositeException", "UndeliverableException"})
_DIAGNOSTIC: Final = frozenset(
    {
        ("kotlinx.coroutines.internal", "DiagnosticCoroutineContextException"),
        ("androidx.compose.runtime.tooling", "DiagnosticComposeException"),
    }
)


def about(raised: list[Raised], main_id: Any = None) -> list[Raised]:
    """The chain that titles and groups an event, the exception it is about last; `raised` itself without a wrapper.

    `main_id` is the event's own `main_exception_id`. Entries without ids in their mechanisms are never left out.
    """
    if len(raised) < 2:
        return raised
    tree = _Tree(raised)
    main = whole(main_id)
    named = tree.by_id.get(main) if main is not None else None
    if named is not None:
        return tree.chain_of(named)
    for rule in (_react_cause, _rxjava_cause, _behind_diagnostics):
        inner = rule(raised, tree)
        if inner is not None:
            return tree.chain_of(inner)
    return _without_group(raised, tree)


class _Tree:
    """Exceptions by the ids of their mechanisms. A child names a parent with a smaller id, so there are no circles."""

    def __init__(self, raised: list[Raised]) -> None:
        self.by_id: dict[int, Raised] = {}
        self._children: dict[int, list[Raised]] = {}
        for exception in raised:
            identifier, parent = _id(exception, "exception_id"), _id(exception, "parent_id")
            if identifier is not None:
                self.by_id.setdefault(identifier, exception)
                if parent is not None and parent < identifier:
                    self._children.setdefault(parent, []).append(exception)

    def children(self, exception: Raised) -> list[Raised]:
        """What this exception was raised with or because of, the first one first."""
        identifier = _id(exception, "exception_id")
        children = self._children.get(identifier, []) if identifier is not None else []
        return sorted(children, key=lambda child: _id(child, "exception_id") or 0)

    def parent(self, exception: Raised) -> Raised | None:
        """The exception that this one belongs to."""
        identifier, parent = _id(exception, "exception_id"), _id(exception, "parent_id")
        return self.by_id.get(parent) if identifier is not None and parent is not None and parent < identifier else None

    def chain_of(self, exception: Raised) -> list[Raised]:
        """The exception and what caused it, the oldest cause first: the first child of each."""
        chain = [exception]
        while children := self.children(chain[-1]):
            chain.append(children[0])
        return chain[::-1]

    def leaves(self, exception: Raised) -> Iterator[Raised]:
        """The exceptions that a group holds, groups inside it opened."""
        pending = [exception]
        while pending:
            current = pending.pop()
            if _is_group(current):
                pending += self.children(current)
            else:
                yield current


_Rule = Callable[[list[Raised], _Tree], Raised | None]


def _without_group(raised: list[Raised], tree: _Tree) -> list[Raised]:
    """A group of one kind of exception is that exception. A group of several kinds stays a group."""
    root = tree.by_id.get(0)
    if root is None or len(tree.by_id) < len(raised) or not _is_group(root):
        return raised
    kinds: dict[tuple[str, ...], Raised] = {}
    for leaf in tree.leaves(root):
        kinds.setdefault(tuple(identity_of(leaf)), leaf)
    return tree.chain_of(next(iter(kinds.values()))) if len(kinds) == 1 else raised


def _react_cause(raised: list[Raised], _tree: _Tree) -> Raised | None:
    thrown, cause = raised[-1], raised[0]
    is_wrapper = thrown.type == "Error" and thrown.value.startswith(_REACT_WITH_CAUSE)
    return cause if is_wrapper and cause.mechanism.get("source") == "cause" else None


def _rxjava_cause(raised: list[Raised], tree: _Tree) -> Raised | None:
    for exception in raised:
        if exception.module in _RXJAVA_MODULES and exception.type in _RXJAVA_TYPES:
            return next(iter(tree.children(exception)), None)
    return None


def _behind_diagnostics(raised: list[Raised], tree: _Tree) -> Raised | None:
    """A diagnostic exception is attached to the real one: the nearest parent that is none."""
    first = next((exception for exception in raised if _is_diagnostic(exception)), None)
    current = first
    while current is not None and _is_diagnostic(current):
        current = tree.parent(current)
    return current


def _is_diagnostic(exception: Raised) -> bool:
    return (exception.module, exception.type) in _DIAGNOSTIC


def _is_group(exception: Raised) -> bool:
    return exception.mechanism.get("is_exception_group") is True


def _id(exception: Raised, name: str) -> int | None:
    return whole(exception.mechanism.get(name))
