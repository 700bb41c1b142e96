"""No pattern of ours takes more than a moment for any text: else 6 MB of a sender's worst are seconds, in one call.

Nothing can interrupt a search: it runs in C and holds the whole process. So each pattern is measured, a new one too.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import ops.runtime
import receiver
import schemas
import workers
from tests.unit.regex_texts import texts

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = (schemas, ops.runtime, receiver, workers)
SIZE: Final = 4_000
# An exponential pattern never ends with SIZE characters: it is to be seen with twenty.
SIZES: Final = (20, 200, SIZE)
# Times as long as looking at each character once. `%(` with its look of 200 characters ahead took 460.
BAR: Final = 200
TRIES: Final = 5


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            name = found.name.rpartition(".")[2]
            if name != "__main__" and not name.startswith("_"):
                yield importlib.import_module(found.name)


def patterns_in(value: Any, depth: int = 4) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth and isinstance(value, dict):
        yield from (one for held in value.values() for one in patterns_in(held, depth - 1))
    elif depth and isinstance(value, list | tuple | set | frozenset):
        yield from (one for held in value for one in patterns_in(held, depth - 1))


def found_patterns() -> dict[str, re.Pattern[Any]]:
    """Every compiled pattern in a module or a class of ours, by its place."""
    found = {}
    for module in modules():
        for name, value in vars(module).items():
            held = vars(value) if isinstance(value, type) and value.__module__ == module.__name__ else {"": value}
            for pattern in patterns_in(dict(held)):
                found[f"{module.__name__}.{name}:{pattern.pattern!r:.40}"] = pattern
    return found


PATTERNS: Final = found_patterns()
SOURCES: Final = "".join(
    path.read_text() for package in PACKAGES for path in sorted(Path(package.__path__[0]).rglob("*.py"))
)


@cache
def moment_s() -> float:
    """Seconds in which a simple search looks at SIZE characters, on this machine as it is now."""
    simple = re.compile("[b-d]x")
    return min(_took_s(lambda: simple.search("a" * SIZE * 20)) for _ in range(20)) / 20


def _took_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def hardest(pattern: re.Pattern[Any], bar_s: float, *, is_searched: bool = True) -> tuple[float, str]:
    """(seconds, the text) of the worst search, or of the first that is above the bar in all of several tries."""
    worst = (0.0, "")
    nothing: Any = "" if isinstance(pattern.pattern, str) else b""
    use = partial(pattern.sub, nothing) if is_searched else pattern.fullmatch
    for size in SIZES:
        for text in texts(pattern, size):
            data: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace")
            took_s = min(_tries(use, data, bar_s))
            worst = max(worst, (took_s, text[:60]))
            if took_s > bar_s:
                return worst
    return worst


def _tries(use: Callable[[Any], object], data: Any, bar_s: float) -> Iterator[float]:
    for _ in range(TRIES):
        took_s = _took_s(lambda: use(data))
        yield took_s
        if took_s <= bar_s:
            return


def is_searched(place: str) -> bool:
    """Whether a pattern is looked for in texts, and not only compared with the beginning or the whole of them."""
    name = place.partition(":")[0].rpartition(".")[2]
    uses = re.findall(rf"\b{re.escape(name)}\.(\w+)\(", SOURCES)
    return not uses or not set(uses) <= {"match", "fullmatch"}


def test_all_patterns_are_found() -> None:
    """Those of modules, of tuples in them, of classes."""
    assert len(PATTERNS) > 40
    for place in ("message._PERCENT", "masking._VARIABLE", "key_masking._FORMS", "header_line._STRUCTURE"):
        assert any(place in name for name in PATTERNS)


@pytest.mark.parametrize("name", sorted(PATTERNS))
def test_a_pattern_takes_a_moment_for_any_text(name: str) -> None:
    """Whatever of it stands there again and again."""
    took_s, text = hardest(PATTERNS[name], BAR * moment_s(), is_searched=is_searched(name))
    assert took_s <= BAR * moment_s(), f"{took_s / moment_s():.0f} times a simple search for {text!r}"


@pytest.mark.parametrize(
    "bad",
    [
        r"%(?:\((?P<name>[^)]{0,200})\))?(?P<spec>[-+#0]{0,5}\d{0,2})[hl]{0,2}(?P<kind>[dsa%])",
        r"(?:a+)+b",
        r"\s+$",
        r"[\w.+-]+@[\w-]+\.com",
        r"<[^>]*>",
    ],
)
def test_a_bad_pattern_is_found_out(bad: str) -> None:
    """The old one for templates, which looked 200 characters ahead at each place, and what else one writes at ease."""
    took_s, _ = hardest(re.compile(bad), BAR * moment_s())
    assert took_s > BAR * moment_s()


def _hidden(tree: ast.Module) -> Iterator[int]:
    """Lines where a function of `re` is called within a function."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    called = node.func.value
                    if isinstance(called, ast.Name) and called.id == "re" and node.func.attr != "escape":
                        yield node.lineno


def test_no_pattern_hides_in_a_function() -> None:
    """All are compiled in modules, where the tests above find them."""
    hidden = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in PACKAGES
        for path in Path(package.__path__[0]).rglob("*.py")
        for line in _hidden(ast.parse(path.read_text()))
    ]
    assert hidden == []
