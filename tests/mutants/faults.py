"""Small faults for the code: cosmic-ray's operators, and a few of our own for what those leave out."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

# Arithmetic has dozens of replacements each, of which one is enough; decorators are mostly `dataclass` and `property`.
_LEFT_OUT: Final = ("Unary", "RemoveDecorator", "VariableReplacer", "VariableInserter", "ExceptionReplacer")
_ARITHMETIC: Final = {"Add_Sub", "Sub_Add", "Mul_FloorDiv", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "LShift_RShift"}
# `==` in the place of `is`, and the reverse: the same for None, classes and small numbers, which is all we compare so.
_SAME: Final = ("_Eq_Is", "_Is_Eq", "_NotEq_IsNot", "_IsNot_NotEq")
_OWN: Final = ("drop a statement", "return None", "swap arguments", "change a text")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One change of one line: which operator, the how-many-eth place it has in the file, and the code afterwards."""

    path: Path
    line: int
    operator: str
    occurrence: int

    def code(self, source: str) -> str | None:
        """The file with the fault in it; None where the operator found nothing to do."""
        if self.operator in _OWN:
            return _edited(source, self.operator, self.occurrence)
        changed: str | None = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        return changed


def sample(paths: Iterable[Path], reached: dict[Path, set[int]], number: int, seed: int) -> list[Fault]:
    """`number` faults in lines that tests reach, drawn by a fixed seed: the same ones for the same code."""
    found = [fault for path in sorted(paths) for fault in _faults(path) if fault.line in reached.get(path, ())]
    return sorted(random.Random(seed).sample(found, min(number, len(found))))


def _operators() -> Iterator[str]:
    for name in operator_names():
        if any(part in name for part in _LEFT_OUT) or name.endswith(_SAME):
            continue
        if "BinaryOperator" in name and name.partition("BinaryOperator_")[2] not in _ARITHMETIC:
            continue
        yield name


def _faults(path: Path) -> Iterator[Fault]:
    source = path.read_text()
    ignored = _lines_without_behaviour(ast.parse(source))
    nodes = list(ast_nodes(get_ast(source)))
    for name in _operators():
        operator, occurrence = get_operator(name)(), 0
        for node in nodes:
            for (line, _), _ in operator.mutation_positions(node):
                if line not in ignored:
                    yield Fault(path, line, name, occurrence)
                occurrence += 1
    for name in _OWN:
        for occurrence, node in enumerate(_places(ast.parse(source), name)):
            if node.lineno not in ignored:
                yield Fault(path, node.lineno, name, occurrence)


def _lines_without_behaviour(tree: ast.Module) -> set[int]:
    """Docstrings, annotations, imports and log calls: nobody should test those."""
    found: set[int] = set()
    for node in ast.walk(tree):
        quiet: list[ast.AST] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = (*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs)
            quiet += [one.annotation for one in arguments if one.annotation]
            quiet += [node.returns] if node.returns else []
        elif isinstance(node, ast.AnnAssign):
            quiet.append(node.annotation)
        elif (
            isinstance(node, ast.Expr) and (isinstance(node.value, ast.Constant) or _is_log(node.value))
        ) or isinstance(node, ast.Import | ast.ImportFrom | ast.Raise):
            quiet.append(node)
        for one in quiet:
            found.update(range(one.lineno, (one.end_lineno or one.lineno) + 1))  # type: ignore[attr-defined]
    return found


def _is_log(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.")


# --- our own operators


def _places(tree: ast.Module, operator: str) -> list[ast.stmt | ast.expr]:
    """Where an operator of ours applies, in the order of the file."""
    found: list[ast.stmt | ast.expr] = []
    for node in ast.walk(tree):
        match operator, node:
            case "drop a statement", ast.Expr(value=ast.Call() | ast.Await()):
                found.append(node)
            case "return None", ast.Return(value=ast.expr()):
                found.append(node)
            case "swap arguments", ast.Call(args=[first, second, *_]) if ast.dump(first) != ast.dump(second):
                found.append(node)
            case "change a text", ast.Constant(value=str() as text) if text and " " not in text:
                found.append(node)
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _edited(source: str, operator: str, occurrence: int) -> str | None:
    tree = ast.parse(source)
    node = _places(tree, operator)[occurrence]
    if operator == "drop a statement":
        return _replaced(source, node, "pass")
    if operator == "return None":
        return _replaced(source, node, "return None")
    if operator == "swap arguments":
        assert isinstance(node, ast.Call)
        node.args[:2] = node.args[1::-1]
        return _replaced(source, node, ast.unparse(node))
    assert isinstance(node, ast.Constant)
    if any(isinstance(one, ast.JoinedStr) and _holds(one, node) for one in ast.walk(tree)):
        return None
    return _replaced(source, node, repr(f"{node.value}X"))


def _holds(outer: ast.expr, inner: ast.AST) -> bool:
    return any(one is inner for one in ast.walk(outer))


def _replaced(source: str, node: ast.stmt | ast.expr, text: str) -> str:
    lines = source.encode().splitlines(keepends=True)
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    end = (node.end_lineno or node.lineno) - 1
    after = lines[end][node.end_col_offset or 0 :] + b"".join(lines[end + 1 :])
    return (before + text.encode() + after).decode()
