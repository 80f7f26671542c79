"""A team's own Python file, read and checked without running it.

In: the folder of a loadout and the file's name. Out: a `CustomPlan` with the text and the names of
what it defines, or every problem, each with the line of the file that it is about. The file is
read once, and what was read is what is checked, stored and run: it may change afterwards without
effect. Nothing here raises for what the file holds. Next: `draft`, which hands the text to the
purchase that names the file.
"""

import ast
import difflib
import os
import stat
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.plan import CustomPlan, TeamFunction
from orchestrator.admission.items.custom import SIGNATURES, signature
from orchestrator.admission.yaml_places import place_of
from orchestrator.console import shortened

MAX_BYTES = 64 * 1024
ALIKE = 0.9  # build_modell and buid_model are; build_blocks is not
# No link at the end, no waiting for a pipe's writer, and no terminal that takes us over.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Scope = _Function | ast.ClassDef | ast.Lambda


@dataclass(frozen=True)
class CodeProblem:
    """A reason to refuse the file. Without a line it is about the file as a whole."""

    code: str
    message: str
    line: int | None = None
    column: int = 1


def read_team_file(folder: Path, name: str) -> CustomPlan | tuple[CodeProblem, ...]:
    """Read and check the file `name`, which lies in `folder` itself."""
    content = _read_bytes(folder / name)
    if isinstance(content, CodeProblem):
        return (content,)
    try:
        source = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", errors="replace")
        place = place_of(before, len(before))
        message = f"not UTF-8: byte 0x{content[error.start]:02x}; save the file as UTF-8"
        return (CodeProblem("not-utf8", message, place.line, place.column),)
    tree = _parsed(source)
    if isinstance(tree, CodeProblem):
        return (tree,)
    bound = dict(_bound_names(tree))
    problems = tuple(_problems(bound))
    if problems:
        return problems
    defines = tuple(function for function in SIGNATURES if function in bound)
    return CustomPlan(file=name, source=source, defines=defines)


def _read_bytes(path: Path) -> bytes | CodeProblem:
    """Read a regular file of at most `MAX_BYTES`, whatever it is exchanged for meanwhile."""
    try:
        if (kind := stat.S_IFMT(path.lstat().st_mode)) != stat.S_IFREG:
            return _not_regular(path, kind)
        with os.fdopen(os.open(path, _FLAGS), "rb") as file:
            if (kind := stat.S_IFMT(os.fstat(file.fileno()).st_mode)) != stat.S_IFREG:
                return _not_regular(path, kind)
            content = file.read(MAX_BYTES + 1)
            num_bytes = max(os.fstat(file.fileno()).st_size, len(content))
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "; put it next to the loadout" if isinstance(error, FileNotFoundError) else ""
        return CodeProblem("unreadable", f"'{path.name}' cannot be read: {reason}{hint}")
    if len(content) > MAX_BYTES:
        message = f"'{path.name}' has {num_bytes} bytes; allowed are {MAX_BYTES} (64 KiB)"
        return CodeProblem("too-large", message)
    return content


def _not_regular(path: Path, kind: int) -> CodeProblem:
    found = _KINDS.get(kind, "neither a file nor a folder")
    message = f"'{path.name}' is {found}; the Python file itself is wanted, in this folder"
    return CodeProblem("unreadable", message)


def _parsed(source: str) -> ast.Module | CodeProblem:
    """Parse the text. It is not compiled: that can take for ever where `finally` is nested."""
    if "\0" in source:
        place = place_of(source, source.index("\0"))
        return CodeProblem("not-python", "a null byte; delete it", place.line, place.column)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        message = f"not Python: {shortened(error.msg, 200)}"
        return CodeProblem("not-python", message, error.lineno or 1, max(error.offset or 1, 1))
    except (RecursionError, MemoryError):
        message = "not Python that can be read: nested too deeply, or a line that is far too long"
        return CodeProblem("not-python", message, 1)
    except ValueError as error:
        return CodeProblem("not-python", f"not Python: {shortened(str(error), 200)}", 1)


def _bound_names(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that matter and the statement at the top level that binds each, in order.

    The last one counts. A function inside of another statement may never come to be.
    """
    for statement in tree.body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield statement.name, statement
            case ast.Import() | ast.ImportFrom():
                for alias in statement.names:
                    yield (alias.asname or alias.name).partition(".")[0], statement
            case ast.Assign(targets=targets):
                yield from ((name, statement) for target in targets for name in _names(target))
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
                yield from ((name, statement) for name in _names(target))
            case ast.If() | ast.Try() | ast.TryStar() | ast.With() | ast.For() | ast.While():
                for node in _in_this_scope(statement):
                    if isinstance(node, _Function):
                        yield node.name, statement


def _names(target: ast.expr) -> Iterator[str]:
    """Yield the names that an assignment to this binds."""
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _in_this_scope(statement: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands within a statement, and not within functions and classes in it."""
    left = deque(ast.iter_child_nodes(statement))  # no recursion: a file may nest deeply
    while left:
        node = left.popleft()
        yield node
        if not isinstance(node, _Scope):
            left.extend(ast.iter_child_nodes(node))


def _problems(bound: Mapping[str, ast.stmt]) -> Iterator[CodeProblem]:
    found = [function for function in SIGNATURES if function in bound]
    for function in found:
        yield from _function_problems(function, bound[function])
    misnamed = tuple(_misnamed(bound))
    yield from misnamed
    if not found and not misnamed:
        choices = ", ".join(f"`{signature(function)}`" for function in SIGNATURES)
        yield CodeProblem("nothing-defined", f"nothing in it is used; define any of {choices}", 1)


def _misnamed(bound: Mapping[str, ast.stmt]) -> Iterator[CodeProblem]:
    """Find functions that nobody would call, with names almost like those that are called."""
    for name, statement in bound.items():
        if not isinstance(statement, _Function) or name in SIGNATURES or name.startswith("_"):
            continue
        near = difflib.get_close_matches(name.lower(), SIGNATURES, n=1, cutoff=ALIKE)
        if near and near[0] not in bound:
            message = (
                f"nothing calls {shortened(name)}; did you mean {near[0]}? If not, start its name "
                "with _"
            )
            yield CodeProblem("misnamed", message, statement.lineno, statement.col_offset + 1)


def _function_problems(name: TeamFunction, statement: ast.stmt) -> Iterator[CodeProblem]:
    """Check that a name is a function that can be called with its arguments, in their order."""
    wanted = f"write `{signature(name)}`"
    line, column = statement.lineno, statement.col_offset + 1
    if isinstance(statement, ast.AsyncFunctionDef):
        message = f"{name} is an async function, which nobody would await; {wanted}"
        yield CodeProblem("not-a-function", message, line, column)
    elif not isinstance(statement, ast.FunctionDef):
        what = "a class" if isinstance(statement, ast.ClassDef) else "no function"
        message = f"{name} is {what} at the top level of the file; {wanted} there"
        yield CodeProblem("not-a-function", message, line, column)
    elif not _takes(statement.args, SIGNATURES[name]):
        given = shortened(ast.unparse(_bare(statement.args)))
        message = f"{name} takes ({given}); {wanted}: more parameters need defaults"
        yield CodeProblem("wrong-parameters", message, line, column)


def _takes(parameters: ast.arguments, names: tuple[str, ...]) -> bool:
    """Whether a function can be called with just these arguments, by place and under their names.

    Further parameters may be there if they have defaults.
    """
    given = [parameter.arg for parameter in (*parameters.posonlyargs, *parameters.args)]
    num_required = len(given) - len(parameters.defaults)
    return (
        tuple(given[: len(names)]) == names
        and num_required <= len(names)
        and None not in parameters.kw_defaults
    )


def _bare(parameters: ast.arguments) -> ast.arguments:
    """Return parameters without annotations and defaults, which may be of any depth."""

    def bare(parameter: ast.arg | None) -> ast.arg | None:
        return None if parameter is None else ast.arg(parameter.arg)

    return ast.arguments(
        posonlyargs=[ast.arg(each.arg) for each in parameters.posonlyargs],
        args=[ast.arg(each.arg) for each in parameters.args],
        vararg=bare(parameters.vararg),
        kwonlyargs=[ast.arg(each.arg) for each in parameters.kwonlyargs],
        kw_defaults=[None for _ in parameters.kwonlyargs],
        kwarg=bare(parameters.kwarg),
        defaults=[],
    )
