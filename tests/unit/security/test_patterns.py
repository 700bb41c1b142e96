"""No pattern of ours takes more than a moment for any text: else 6 MB of a sender's worst are seconds, in one call.

Nothing can interrupt a search: it runs in C and holds the whole process. So the steps of each pattern are counted, of a
new one too.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

import console
import ops.runtime
import receiver
import schemas
import workers
from tests.unit.regex_steps import StepCounter, TooManySteps
from tests.unit.regex_texts import texts

ROOT: Final = Path(__file__).parents[3]
PACKAGES: Final = (schemas, ops.runtime, receiver, workers, console)
SIZE: Final = 400
# An exponential pattern never ends with SIZE characters: it is to be seen with twenty.
SIZES: Final = (20, 200, SIZE)
# Steps for each character of a text. The dearest of ours takes 81; `%(` with its look of 200 characters ahead took 240.
MAX_STEPS: Final = 150
SLOW_PATTERNS: Final = (
    r"%(?:\((?P<name>[^)]{0,200})\))?(?P<spec>[-+#0]{0,5}\d{0,2})[hl]{0,2}(?P<kind>[dsa%])",
    r"(?:a+)+b",
    r"\s+$",
    r"[\w.+-]+@[\w-]+\.com",
    r"<[^>]*>",
)


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


def slowest_text(pattern: re.Pattern[Any], *, is_searched: bool = True) -> str | None:
    """The first text found that takes more steps a character than the bar, or None."""
    counter = StepCounter(pattern)
    for size in SIZES:
        for text in texts_for(pattern, size):
            counter.restart(MAX_STEPS * (len(text) + 1))
            try:
                counter.spans(text) if is_searched else counter.matches_whole(text)
            except TooManySteps:
                return text
    return None


def texts_for(pattern: re.Pattern[Any], size: int) -> Iterator[str]:
    """Those of a pattern of bytes have no character that a byte cannot be."""
    for text in texts(pattern, size):
        yield text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace").decode("latin-1")


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
def test_a_pattern_takes_few_steps_for_any_text(name: str) -> None:
    """Whatever of it stands there again and again."""
    assert slowest_text(PATTERNS[name], is_searched=is_searched(name)) is None


@pytest.mark.parametrize("slow", SLOW_PATTERNS)
def test_a_slow_pattern_is_found_out(slow: str) -> None:
    """The old one for templates, which looked 200 characters ahead at each place, and what else one writes at ease."""
    assert slowest_text(re.compile(slow)) is not None


@pytest.mark.parametrize(
    "pattern", [*PATTERNS.values(), *map(re.compile, SLOW_PATTERNS)], ids=lambda one: one.pattern[:40]
)
def test_steps_are_counted_on_the_way_that_python_takes(pattern: re.Pattern[Any]) -> None:
    """The counter finds what `re` finds: or it would count something else."""
    counter = StepCounter(pattern)
    for text in texts_for(pattern, 10):
        data: Any = text if isinstance(pattern.pattern, str) else text.encode("latin-1")
        assert counter.spans(text) == [match.span() for match in pattern.finditer(data)]
        assert counter.matches_whole(text) == (pattern.fullmatch(data) is not None)


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
