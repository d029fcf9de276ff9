"""The size budgets: files, functions, docstrings and broad excepts, read from the syntax tree."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60
FUNCTION_MEDIAN = 9
PRODUCT = ("agent/", "server/", "dashboards/")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "misc", "common"}
# The loops that isolate failures: one reader's, one report's, one step's of upkeep, one rule's, one receiver's must not
# end the whole.
MAY_CATCH_ALL = {
    "agent/gpufleet_agent/runtime/supervisor.py",
    "server/gpufleet_server/alerts/delivery/dispatcher.py",
    "server/gpufleet_server/alerts/engine.py",
    "server/gpufleet_server/alerts/evaluation.py",
    "server/gpufleet_server/ingest/writer.py",
    "server/gpufleet_server/store/upkeep.py",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.AST) -> Iterator[Function]:
    """Every function and method of a module."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines from `def` to the last one."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def catches_all(handler: ast.ExceptHandler) -> bool:
    """Whether an except clause takes everything."""
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"}) for name in names
    )


def complaints(path: str, text: str) -> Iterator[str]:
    """What is wrong with one Python file."""
    tree = ast.parse(text)
    if ast.get_docstring(tree) is None:
        yield f"{path}: no module docstring"
    if Path(path).stem in FORBIDDEN_NAMES:
        yield f"{path}: a module is named for what it is about, not `{Path(path).stem}`"
    for function in functions(tree):
        where = f"{path}:{function.lineno}: {function.name}"
        if length(function) > FUNCTION_LINES:
            yield f"{where} has {length(function)} lines, more than {FUNCTION_LINES}"
        if path.startswith("tests/") and function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{where} has no docstring"
    if path.startswith(PRODUCT) and path not in MAY_CATCH_ALL:
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler) and catches_all(node):
                yield f"{path}:{node.lineno}: broad except"


def too_long(path: str, text: str) -> Iterator[str]:
    """Whether a file of any language has too many lines."""
    lines = text.count("\n")
    if lines > FILE_LINES:
        yield f"{path}: {lines} lines, more than {FILE_LINES}"


def tracked(root: Path, *patterns: str) -> list[str]:
    """The files git knows or would add, by pattern."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(line for line in listed.splitlines() if (root / line).is_file())


def median(root: Path, paths: list[str]) -> float:
    """The median length of the product's functions."""
    lengths = [length(f) for p in paths if p.startswith(PRODUCT) for f in functions(ast.parse((root / p).read_text()))]
    return statistics.median(lengths) if lengths else 0


def main() -> int:
    """Print every complaint; 1 where there is one."""
    root = Path(__file__).parents[2]
    python, native = tracked(root, "*.py"), tracked(root, "*.c", "*.h")
    found = [line for p in python for line in complaints(p, (root / p).read_text())]
    found += [line for p in python + native for line in too_long(p, (root / p).read_text())]
    middle = median(root, python)
    if middle > FUNCTION_MEDIAN:
        found.append(f"the median function has {middle} lines, more than {FUNCTION_MEDIAN}")
    print("\n".join(found) or f"sizes: {len(python) + len(native)} files, median function {middle:g} lines")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
