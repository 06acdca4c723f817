"""Shortens the private names of a MicroPython tree before it is compiled.

Every distinct name costs a board some 20 bytes of heap, wherever its code runs from. Names that
begin with one underscore are nobody's business outside of their module, so modules can share short
ones: `_a`, `_b`, ... Integer constants of a module (`_X = 5`) go altogether: MicroPython's const()
folds them into the code. Line numbers stay as they are.

A private name that occurs in several modules gets a short name of its own, which no module uses
otherwise; so does every private name of a class's module and of its base class's, where these are
two: one object has the attributes of both.
"""

import ast
import io
import itertools
import keyword
import re
import string
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from tillctl import parameters

_PARAMETERS = 96  # short names for them, most of which private names have taken already
_INTEGER = re.compile(r"^(_[A-Z][A-Z0-9_]*) = ([-+*<|() 0-9A-Fa-fx_]*[0-9A-Fa-f)])( *#.*)?$", re.M)
_PRIVATE = re.compile(r"_[A-Za-z][A-Za-z0-9_]*$")


def shorten(
    sources: dict[str, str], keep: Iterable[str] = (), keywords: Iterable[str] = ()
) -> dict[str, str]:
    """{module: source} with short names. keep: private names of others' (a library's base class)
    that must stay; keywords: parameters that calls from outside name. Raises ValueError for a
    module that reaches private names by text."""
    folded = {name: _INTEGER.sub(r"\1 = const(\2)\3", text) for name, text in sources.items()}
    kept = set(keep) | set().union(*(_imported(text) for text in folded.values()))
    private = {name: _private_names(name, text) - kept for name, text in folded.items()}
    count = Counter(itertools.chain.from_iterable(private.values()))
    for module in set().union(*(_families(name, text, folded) for name, text in folded.items())):
        count.update(private[module])
    taken = kept | {word for text in folded.values() for word in re.findall(r"\b_\w+\b", text)}
    fresh = _fresh(taken)
    shared = {name: next(fresh) for name in sorted(count) if count[name] > 1}
    # Modules may use the same short names for what occurs in them alone.
    most = max((sum(count[n] == 1 for n in names) for names in private.values()), default=0)
    own = list(itertools.islice(fresh, most))
    out = {}
    for module, text in folded.items():
        alone = sorted(n for n in private[module] if count[n] == 1)
        names = shared | dict(zip(alone, own, strict=False))
        out[module] = _rename(text, {n: names[n] for n in private[module]})
    named = set(keywords).union(*(parameters.keywords(text) for text in out.values()))
    few = list(itertools.islice(_fresh(kept), _PARAMETERS))
    return {module: parameters.rename(text, named, few) for module, text in out.items()}


def _private_names(module: str, text: str) -> set[str]:
    """Private names that a module defines or uses, but for folded constants."""
    tree = ast.parse(text)
    found, fixed = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif _by_text(node):
            raise ValueError(f"{module}: line {node.lineno} reaches a private name by text")
    for node in tree.body:
        if isinstance(node, ast.Assign) and _is_const(node.value):
            fixed |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in found if _PRIVATE.match(name)} - fixed


def _families(module: str, text: str, modules: Iterable[str]) -> set[str]:
    """The module and those of `modules` that it has base classes from; none where it has none."""
    tree = ast.parse(text)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    origin = {a.asname or a.name: node.module for node in imports for a in node.names}
    bases = {origin.get(base.id) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
             for base in node.bases if isinstance(base, ast.Name)}  # fmt: skip
    found = {name for name in modules
             if name.removesuffix(".py").replace("/", ".") in bases}  # fmt: skip
    return found | {module} if found else set()


def _imported(text: str) -> set[str]:
    """Names that a module knows by importing them."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = node.module if isinstance(node, ast.ImportFrom) else None
            for dotted in (base or "", *(alias.name for alias in node.names)):
                found |= set(dotted.split("."))
    return found


def _by_text(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether it is a getattr() or the like of what may be a private name."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return False
    if node.func.id not in ("getattr", "setattr", "hasattr"):
        return False
    name = node.args[1]
    return not isinstance(name, ast.Constant) or str(name.value).startswith("_")


def _is_const(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "const"


def _fresh(taken: set[str]) -> Iterator[str]:
    """_a, _b, ... _z, _aa, ... without those in `taken`."""
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            name = "_" + "".join(letters)
            if name not in taken and not keyword.iskeyword(name):
                yield name


def _rename(text: str, names: dict[str, str]) -> str:
    """`text` with the NAME tokens of `names` replaced, on the same lines."""
    lines = text.splitlines(keepends=True)
    found = [t for t in tokenize.generate_tokens(io.StringIO(text).readline)
             if t.type == tokenize.NAME and t.string in names]  # fmt: skip
    for token in reversed(found):
        row, column = token.start
        line = lines[row - 1]
        lines[row - 1] = line[:column] + names[token.string] + line[column + len(token.string) :]
    return "".join(lines)
