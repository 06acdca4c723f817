"""Links the modules that a board always holds into one, before they are compiled.

A module costs a board some 250 bytes of heap and two names (20 bytes each), each name that it
imports 10 bytes, an integer constant 30. Linked, the modules share one set of globals: what one
took from another by import is simply there, and integer constants stand in the code itself.

Only module level changes: every name there gets one that no other of the linked modules and no
local name hides; code, classes, methods and attributes keep theirs.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tillctl.scopes import (
    COMPREHENSIONS,
    DEFINITIONS,
    Target,
    assigned,
    bindings,
    imported,
    is_const,
    statements,
)  # fmt: skip

_INLINED_MAX = 1 << 30  # what fits into a small integer of every board
_BOARD = "sys.implementation.name == 'micropython'"
_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass
class _Module:
    """One source. bound: its module level's names, how often each is bound there. imports: what
    those stand for that one import at module level binds. constants: integers. large: those that
    the compiler folds, by const()."""

    name: str
    tree: ast.Module
    bound: dict[str, int] = field(default_factory=dict)
    imports: dict[str, Target] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)


def link(sources: dict[str, str], into: str, roots: Iterable[str]) -> dict[str, str]:
    """{path: source} with the modules `roots` (dotted; those that are there) and whatever these
    import at module level linked into the module `into`, itself one of them; a root outside of all
    packages, such as hwconfig, stays a module, and what it imports is linked.

    Raises ValueError for a module that cannot be linked, and where `into` is not among them."""
    modules = {_dotted(path): _Module(_dotted(path), _parse(text))
               for path, text in sources.items()}  # fmt: skip
    linked = [name for name in _closure(modules, roots) if "." in name]
    program = _Program(modules, linked, into)
    if into not in linked:
        raise ValueError(f"there is no {into} to link into")
    gone = set(linked) - {into}
    return {path: program.source(_dotted(path)) for path in sources if _dotted(path) not in gone}


class _Program:
    """All modules, and the new name of every name at the linked ones' module level."""

    def __init__(self, modules: dict[str, _Module], linked: list[str], into: str) -> None:
        self.modules = modules
        self.linked = linked
        self.into = into
        for module in modules.values():
            self._look(module)
        for name in linked:
            self._evaluate(modules[name])
        self.hidden: dict[Target, set[str]] = {}  # names that locals have where it is used
        self.builtins: set[str] = set()
        self.names: dict[Target, str] = {}
        for name in modules:
            _Rewriter(self, modules[name], collect=True).run()
        self._choose()

    def _look(self, module: _Module) -> None:
        module.bound = bindings(module.tree.body)
        for node in module.tree.body:
            for name, target in imported(node, module.name, self.modules):
                if module.bound[name] == 1:
                    module.imports[name] = target

    def _evaluate(self, module: _Module) -> None:
        for node in module.tree.body:
            for name, value in assigned(node):
                if module.bound[name] == 1:
                    number = self._integer(value, module)
                    if number is not None and abs(number) < _INLINED_MAX:
                        module.constants[name] = number
                    elif is_const(value):
                        module.large.add(name)

    def _integer(self, node: ast.expr, module: _Module) -> int | None:
        """What an expression of integers and constants is; None for another."""
        if is_const(node):
            node = node.args[0]
        known: dict[str, int] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                target = self.origin((module.name, part.id))
                value = self.constant(target)
                if value is None:
                    return None
                known[part.id] = value
            elif not isinstance(
                part, ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.expr_context
            ) and not (isinstance(part, ast.Constant) and type(part.value) is int):
                return None
        return eval(ast.unparse(node), {"__builtins__": {}}, known)

    def constant(self, target: Target) -> int | None:
        module, name = target
        if module in self.linked and name:
            return self.modules[module].constants.get(name)
        return None

    def origin(self, target: Target) -> Target:
        """Where what `target` names is defined: through modules of ours that import it."""
        while target[0] in self.linked and target[1] is not None:
            further = self.modules[target[0]].imports.get(target[1])
            if further is None:
                break
            target = further
        return target

    def _choose(self) -> None:
        """Names: their own where that is free, else a short one that the program has anyway."""
        taken = set(self.builtins)
        for target in sorted(self.hidden, key=lambda t: (t[0] in self.linked, str(t))):
            if self.constant(target) is not None:
                continue
            own = target[1] or target[0].split(".")[-1]
            if target[0] in self.linked and own in self.modules[target[0]].large:
                # The compiler folds whatever has its name, anywhere in the module.
                self.names[target] = f"{own}_{len(self.names)}"
                continue
            if own.startswith("_") and target[0] in self.linked:
                continue
            if own not in taken and own not in self.hidden[target]:
                self.names[target] = own
                taken.add(own)
        for target in sorted(self.hidden, key=str):
            if target not in self.names and self.constant(target) is None:
                free = (n for n in _short() if n not in taken and n not in self.hidden[target])
                self.names[target] = next(free)
                taken.add(self.names[target])

    def source(self, name: str) -> str:
        if name == self.into:
            bodies = [_Rewriter(self, self.modules[one]).run() for one in self.linked]
            kept = {
                target: self.names[target] for one in self.linked
                for target in self.modules[one].imports.values()
                if target[0] not in self.linked and self.origin(target) in self.names
            }  # fmt: skip
            head = [_import(target, as_name) for target, as_name in sorted(kept.items(), key=str)]
            return "\n".join(map(ast.unparse, [*head, *bodies])) + "\n"
        return ast.unparse(_Rewriter(self, self.modules[name]).run()) + "\n"


class _Rewriter(ast.NodeTransformer):
    """Gives one module's code the program's names; with `collect` it only notes what these must
    not be."""

    def __init__(self, program: _Program, module: _Module, collect: bool = False) -> None:
        self._program = program
        self._module = module
        self._collect = collect
        self._is_linked = module.name in program.linked
        self._scopes: list[tuple[dict[str, int], dict[str, Target], bool]] = []

    def run(self) -> ast.Module:
        tree = ast.parse(ast.unparse(self._module.tree))
        body = tree.body
        if self._is_linked:
            body = [n for n in body if not self._needless(n)]
        tree.body = self._block(body)
        return tree

    def _needless(self, node: ast.stmt) -> bool:
        """Module-level statements that linking does without."""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return True
        names = [name for name, _ in assigned(node)]
        return bool(names) and all(
            name == "__all__" or name in self._module.constants for name in names
        )

    def _block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for node in body:
            new = self.visit(node)
            out += new if isinstance(new, list) else [new] if new is not None else []
        return out

    # -- scopes -------------------------------------------------------------------------------

    def _find(self, name: str) -> Target | None:
        """What `name` stands for here; None for a local name, ("", name) for a built-in one."""
        for depth, (bound, imports, is_class) in enumerate(reversed(self._scopes)):
            if is_class and depth:
                continue
            if name in bound:
                return imports.get(name)
        module = self._module
        if name not in module.bound:
            return "", name
        return self._program.origin(module.imports.get(name, (module.name, name)))

    def _note(self, target: Target) -> None:
        locals_ = {name for bound, imports, _ in self._scopes for name in bound
                   if name not in imports}  # fmt: skip
        self._program.hidden.setdefault(target, set()).update(locals_)

    def _new_name(self, target: Target) -> str | None:
        """The name to write for `target`; None where what stands there remains."""
        program = self._program
        if target[0] == "":
            program.builtins.add(target[1] or "")
            return None
        if not self._is_linked:
            return None
        if target[0] in program.linked and target[1] is None:
            raise ValueError(f"{self._module.name} uses the module {target[0]} as a value")
        self._note(target)
        return program.names.get(target)

    def _enter(self, node: ast.AST, bound: dict[str, int], body: list, is_class: bool) -> None:
        imports: dict[str, Target] = {}
        for part in body:
            for inner in statements(part):
                for name, target in imported(inner, self._module.name, self._program.modules):
                    if bound[name] == 1 and target[0] in self._program.linked:
                        imports[name] = self._program.origin(target)
        self._scopes.append((bound, imports, is_class))

    # -- nodes --------------------------------------------------------------------------------

    def _function(self, node: _Function) -> ast.AST:
        args = node.args
        args.defaults = [self.visit(d) for d in args.defaults]
        args.kw_defaults = [self.visit(d) if d else None for d in args.kw_defaults]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        bound = bindings(body)
        for arg in ast.walk(args):
            if isinstance(arg, ast.arg):
                bound[arg.arg] = bound.get(arg.arg, 0) + 2
        if not isinstance(node, ast.Lambda):
            node.decorator_list = [self.visit(d) for d in node.decorator_list]
            self._rename_definition(node)
        self._enter(node, bound, body, is_class=False)
        if isinstance(node, ast.Lambda):
            node.body = self.visit(node.body)
        else:
            node.body = self._block(node.body) or [ast.Pass()]
        self._scopes.pop()
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.bases = [self.visit(base) for base in node.bases]
        self._rename_definition(node)
        self._enter(node, bindings(node.body), node.body, is_class=True)
        node.body = self._block(node.body) or [ast.Pass()]
        self._scopes.pop()
        return node

    def _rename_definition(self, node: ast.stmt) -> None:
        assert isinstance(node, DEFINITIONS)
        if not self._scopes:
            target = self._find(node.name)
            assert target is not None
            node.name = self._new_name(target) or node.name

    def _comprehension(self, node: ast.AST) -> ast.AST:
        assert isinstance(node, COMPREHENSIONS)
        first = node.generators[0]
        first.iter = self.visit(first.iter)
        bound = {n.id: 2 for g in node.generators for n in ast.walk(g.target)
                 if isinstance(n, ast.Name)}  # fmt: skip
        self._scopes.append((bound, {}, False))
        for generator in node.generators:
            if generator is not first:
                generator.iter = self.visit(generator.iter)
            generator.target = self.visit(generator.target)
            generator.ifs = [self.visit(test) for test in generator.ifs]
        if isinstance(node, ast.DictComp):
            node.key, node.value = self.visit(node.key), self.visit(node.value)
        else:
            node.elt = self.visit(node.elt)
        self._scopes.pop()
        return node

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    def _compound(self, node: ast.If | ast.Try) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]  # of imports alone
        return node

    visit_If = visit_Try = _compound

    def visit_Name(self, node: ast.Name) -> ast.AST:
        target = self._find(node.id)
        if target is None:
            return node
        value = self._program.constant(target)
        if value is not None:
            return ast.Constant(value)
        new = self._new_name(target)
        return ast.Name(new, node.ctx) if new else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name):
            found = self._find(node.value.id)
            if found is not None and found[1] is None and found[0] in self._program.linked:
                return self._of_module(node, found[0])
        self.generic_visit(node)
        return node

    def _of_module(self, node: ast.Attribute, module: str) -> ast.AST:
        """x.name where x is one of the linked modules."""
        target = self._program.origin((module, node.attr))
        value = self._program.constant(target)
        if value is not None:
            return ast.Constant(value)
        if node.attr not in self._program.modules[module].bound:
            raise ValueError(f"{self._module.name}: {module} has no {node.attr}")
        self._note(target)
        new = self._program.names.get(target, node.attr)
        if self._is_linked:
            return ast.Name(new, node.ctx)
        return ast.Attribute(node.value, new, node.ctx)

    def visit_Import(self, node: ast.Import) -> ast.AST | list[ast.stmt]:
        return self._imports(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.stmt]:
        return self._imports(node)

    def _imports(self, node: ast.Import | ast.ImportFrom) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        program = self._program
        for name, target in imported(node, self._module.name, program.modules):
            origin = program.origin(target)
            here = self._scopes[-1][0] if self._scopes else self._module.bound
            ours = origin[0] in program.linked
            if self._is_linked and here[name] == 1 and (ours or not self._scopes):
                continue  # it is there, or the linked module's head imports it
            if self._is_linked and ours:
                raise ValueError(f"{self._module.name} binds {name} twice, once by import")
            as_name = name
            if not self._scopes and self._is_linked:
                as_name = self._new_name((self._module.name, name)) or name
            if not ours:
                out.append(_import(origin, as_name))
            elif origin[1] is None:
                out.append(_import((program.into, None), as_name))
            elif program.constant(origin) is None:
                self._note(origin)
                out.append(_import((program.into, program.names.get(origin, name)), as_name))
        return out


def _import(target: Target, name: str) -> ast.stmt:
    module, what = target
    if what is None and name == module:
        return ast.parse(f"import {module}").body[0]
    if what is None and "." not in module:
        return ast.parse(f"import {module} as {name}").body[0]
    if what is None:
        module, _, what = module.rpartition(".")
    text = f"from {module} import {what}" + (f" as {name}" if name != what else "")
    return ast.parse(text).body[0]


def _closure(modules: dict[str, _Module], roots: Iterable[str]) -> list[str]:
    """`roots` and whatever these import at module level, each behind what it imports."""
    order: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            raise ValueError(f"{name} imports itself, by {' '.join(above)}")
        if name in order or name not in modules:
            return
        for node in modules[name].tree.body:
            for _, (module, _what) in imported(node, name, modules):
                visit(module, (*above, name))
        order.append(name)

    for root in roots:
        visit(root, ())
    return order


def _parse(text: str) -> ast.Module:
    tree = ast.parse(text)
    tree.body = [part for node in tree.body for part in _for_board(node)]
    return tree


def _for_board(node: ast.stmt) -> list[ast.stmt]:
    """What remains of a module-level statement on MicroPython."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == _BOARD:
        return node.body
    return [node]


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _short() -> Iterator[str]:
    """Names like those that shorten.py gives."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    for length in itertools.count(1):
        for word in itertools.product(letters, repeat=length):
            yield "_" + "".join(word)
