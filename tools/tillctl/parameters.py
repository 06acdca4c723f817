"""Renames the parameters of a MicroPython tree's functions before it is compiled.

A parameter's name costs a board some 20 bytes of heap, as every distinct name does, and is of use
only where a call names it (`f(timeout_ms=5)`). So parameters that no call in the tree names share
short names: `_a`, `_b`, ... which shorten.py's private names take as well. Lines stay as they are.
"""

import ast
import re
from collections.abc import Iterator

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = re.compile(r"[(,]\s*([A-Za-z]\w*)=(?=[^=\s])")  # f(a=1
_MOST = 12  # parameters of a function that get a short name
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def keywords(text: str) -> set[str]:
    """The parameters that calls in a module name."""
    return {
        node.arg for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg
    }  # fmt: skip


def keywords_in_text(text: str) -> set[str]:
    """As keywords(), of code that may stand within strings, and some names more."""
    return set(_NAMED.findall(text))


def rename(text: str, keep: set[str], fresh: list[str]) -> str:
    """`text` with short parameters; keep: those whose names matter; fresh: names to take."""
    edits: list[tuple[int, int, str, str]] = []  # line, column in bytes, old, new
    for function in _functions(ast.parse(text)):
        names = _short(function, keep, fresh)
        edits += [(node.lineno, node.col_offset, old, names[old])
                  for node, old in _uses(function, set(names))]  # fmt: skip
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for row, column, old, new in sorted(edits, reverse=True):
        line = lines[row - 1]
        assert line[column : column + len(old)] == old.encode()
        lines[row - 1] = line[:column] + new.encode() + line[column + len(old) :]
    return b"".join(lines).decode()


def _functions(tree: ast.AST) -> Iterator[_Function]:
    for node in ast.walk(tree):
        if isinstance(node, _SCOPES):
            yield node


def _short(function: _Function, keep: set[str], fresh: list[str]) -> dict[str, str]:
    """{parameter: short name} of one function. None is taken that its code, or code within it or
    around it, could mean something else by."""
    names = [one.arg for one in [*function.args.posonlyargs, *function.args.args]]
    bound = _bound_otherwise(function)
    old = [name for name in names if name not in keep and name != "self" and name not in bound]
    taken = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    taken |= {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    # Code within a function has names of other functions around it: each level takes its own.
    inner = sum(isinstance(node, _SCOPES) for node in ast.walk(function)) - 1
    free = fresh[inner * _MOST : (inner + 1) * _MOST]
    return dict(zip(old, [name for name in free if name not in taken], strict=False))


def _bound_otherwise(function: _Function) -> set[str]:
    """Names that its code binds where no ast.Name stands, or uses in a formatted string, whose
    positions are not to be relied on."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found |= set(node.names)
        elif isinstance(node, ast.JoinedStr):
            found |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found


def _uses(function: _Function, names: set[str]) -> Iterator[tuple[ast.expr | ast.arg, str]]:
    """Where `names`, parameters of the function, stand: in its head and in its code, but for code
    within it that has a parameter or a target of its own by the same name."""
    for one in [*function.args.posonlyargs, *function.args.args]:
        if one.arg in names:
            yield one, one.arg
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    for statement in body:
        yield from _within(statement, names)


def _within(node: ast.AST, names: set[str]) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.Name):
        if node.id in names:
            yield node, node.id
        return
    if isinstance(node, _SCOPES):
        for outside in [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]:
            yield from _within(outside, names)
        own = {n.arg for n in ast.walk(node.args) if isinstance(n, ast.arg)}
        own |= {n.id for n in ast.walk(node)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # fmt: skip
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        for statement in body:
            yield from _within(statement, names - own)
        return
    for child in ast.iter_child_nodes(node):
        yield from _within(child, names)
