"""What a scope's code binds, imports and assigns, read off its syntax tree."""

import ast
import itertools
from collections.abc import Iterable, Iterator
from typing import TypeGuard

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

# What a name may stand for: (module, name) of one of ours at its definition; (module, None) a
# module of ours; (module, name) or (module, None) behind "import" of somebody else's.
Target = tuple[str, str | None]


def imported(node: ast.AST, module: str, modules: Iterable[str]) -> Iterator[tuple[str, Target]]:
    """(name, target) of each name that one import statement binds. Raises ValueError for
    `import a.b`, which binds another name than it says."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if "." in alias.name and not alias.asname:
                raise ValueError(f"{module}: import {alias.name} cannot be linked, only `from`")
            yield alias.asname or alias.name, (alias.name, None)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = ".".join([*module.split(".")[: -node.level], *filter(None, [base])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            target = (whole, None) if whole in modules else (base, alias.name)
            yield alias.asname or alias.name, target


def assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of `A = 1` and `A, B = 1, 2`."""
    if not isinstance(node, ast.Assign) or len(node.targets) != 1:
        return
    target, value = node.targets[0], node.value
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            if isinstance(one, ast.Name):
                yield one.id, its


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what stands in it, but for functions', classes' and comprehensions' inside."""
    yield node
    if not isinstance(node, (*DEFINITIONS, ast.Lambda, *COMPREHENSIONS)):
        for child in ast.iter_child_nodes(node):
            yield from statements(child)


def bindings(body: list) -> dict[str, int]:
    """The names that a scope's statements bind, and how often."""
    found: dict[str, int] = {}

    def add(name: str) -> None:
        found[name] = found.get(name, 0) + 1

    for node in itertools.chain.from_iterable(statements(part) for part in body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            add(node.id)
        elif isinstance(node, DEFINITIONS):
            add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                add(alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            add(node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            raise ValueError(f"line {node.lineno}: global names cannot be linked")
    return found


def is_const(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "const"
