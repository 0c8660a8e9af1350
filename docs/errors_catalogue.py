"""Write docs/errors.md: every error that the code can raise, its cause and fix, and which of them no test provokes.

    python docs/errors_catalogue.py
    python docs/errors_catalogue.py --met met.jsonl     # after a run of the tests with tests/errors_met.py

A test compares the page with what this gives.
"""

from __future__ import annotations

import argparse
import ast
import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "distilshift"
PAGE = ROOT / "docs" / "errors.md"
# The names of the errors that tests provoked when they were last watched.
MET = ROOT / "docs" / "errors_met.json"
FIELDS = ("problem", "expected", "got", "fix")
HEAD = """# Errors

Made by `python docs/errors_catalogue.py` from the code. Each error is one line on standard error, *problem:
expected …, got …. Fix: …*, and exit code 2; `--verbose` adds the traceback. In Python each is a
class of `distilshift.errors` (`RowError`, a `DataError`, of `distilshift.data.rows`), with the fields
`problem`, `expected`, `got` and `fix`. What stands in braces is filled in.
"""


@dataclass(frozen=True)
class Entry:
    """One place that makes an error.

    Attributes:
        kind: the class.
        module: where, by its path in the package.
        line: where in it, for the order alone.
        values: problem, expected, got and fix, as templates; absent where the code gives none.
    """

    kind: str
    module: str
    line: int
    values: dict[str, str]


def error_classes() -> dict[str, str]:
    """Name to first line of the docstring, of every class in errors.py and of those derived from them elsewhere."""
    found = {"DistilshiftError": "What the operating system refuses, where no stage knows more of it."}
    for path in [SOURCE / "errors.py", *sorted(SOURCE.rglob("*.py"))]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in found for b in node.bases):
                found[node.name] = (ast.get_docstring(node) or "").splitlines()[0]
    return found


def template(node: ast.expr | None, known: dict[str, ast.expr]) -> str:
    """An expression as a message shows it: text as it is, the rest in braces.

    Args:
        node: the expression.
        known: arguments of a helper by the names of its parameters.
    """
    if isinstance(node, ast.Name) and node.id in known:
        return template(known[node.id], {})
    if node is None or (isinstance(node, ast.Constant) and node.value is None):
        return ""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, known) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return template(node.value, known)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, known) + template(node.right, known)
    if isinstance(node, ast.IfExp):
        return " / ".join(filter(None, (template(node.body, known), template(node.orelse, known))))
    return "{" + ast.unparse(node) + "}"


def fields_of(call: ast.Call) -> dict[str, ast.expr]:
    """The expressions of an error's fields."""
    found = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg in FIELDS}
    return ({"problem": call.args[0]} if call.args else {}) | found


def called(node: ast.AST) -> str:
    """The name of what a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


@dataclass(frozen=True)
class Helper:
    """A function that makes an error of what it is given."""

    kind: str
    call: ast.Call
    parameters: list[str]
    defaults: dict[str, ast.expr]

    def arguments(self, call: ast.Call) -> dict[str, ast.expr]:
        """The arguments of a call by parameter."""
        given = dict(zip(self.parameters, call.args, strict=False))
        return self.defaults | given | {word.arg: word.value for word in call.keywords if word.arg}


def helpers(trees: dict[str, ast.Module], kinds: dict[str, str]) -> dict[tuple[str, str], Helper]:
    """By module and name, the functions that return an error one of whose fields is a parameter.

    The module of those that others may call is empty.
    """
    found = {}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or getattr(node.returns, "id", "") not in kinds:
                continue
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and called(call) in kinds]
            if len(calls) == 1 and any(getattr(value, "id", "") in names for value in fields_of(calls[0]).values()):
                tail = node.args.defaults
                defaults = dict(zip(names[len(names) - len(tail) :], tail, strict=True))
                found[module if node.name.startswith("_") else "", node.name] = Helper(
                    called(calls[0]), calls[0], names, defaults
                )
    return found


def entries() -> list[Entry]:
    """Every error of the package, by class, module and line."""
    kinds = error_classes()
    trees = {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }
    made = helpers(trees, kinds)
    inner = {id(helper.call) for helper in made.values()}
    found = []
    for module, tree in trees.items():
        for node in ast.walk(tree):
            name = called(node)
            helper = made.get((module, name)) or made.get(("", name))
            if not isinstance(node, ast.Call) or id(node) in inner or not (helper or name in kinds):
                continue
            values = fields_of(helper.call if helper else node)
            known = helper.arguments(node) if helper else {}
            kind = helper.kind if helper else name
            if values:
                texts = {key: " ".join(template(value, known).split()) for key, value in values.items()}
                found.append(Entry(kind, module, node.lineno, {k: v for k, v in texts.items() if v}))
    return sorted(found, key=lambda entry: (list(kinds).index(entry.kind), entry.module, entry.line))


def name_of(entry: Entry) -> str:
    """What tells it from others, whatever line it is on."""
    said = [entry.values[key] for key in ("problem", "got") if entry.values.get(key)]
    return f"{entry.kind}, `{entry.module}`: {': '.join(said)}"


def met(log: Path) -> list[str]:
    """The names of the errors that tests made, from the log of tests/errors_met.py."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    seen = {(row["kind"], module, line) for row in rows for module, line in row["places"]}
    return sorted({name_of(entry) for entry in entries() if (entry.kind, entry.module, entry.line) in seen})


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _row(entry: Entry) -> str:
    cells = [entry.values.get(key, "") for key in FIELDS]
    return f"| {' | '.join(map(_cell, cells))} | `{entry.module}` |"


def page() -> str:
    """The page, as Markdown."""
    kinds, found = error_classes(), entries()
    lines = [HEAD]
    for kind, meaning in kinds.items():
        rows = [_row(entry) for entry in found if entry.kind == kind]
        if rows:
            lines += [f"## {kind}\n\n{meaning}\n", "| problem | expected | got | fix | where |", "|---" * 5 + "|"]
            lines += [*dict.fromkeys(rows), ""]
    known = set(json.loads(MET.read_text(encoding="utf-8")))
    missing = [name for name in dict.fromkeys(map(name_of, found)) if name not in known]
    tested = sum(name_of(entry) in known for entry in found)
    lines.append(f"## Tests\n\nOf these {len(found)} places that make an error, the tests provoke {tested}, as seen by")
    lines.append("`tests/errors_met.py` while they run" + (". The others:\n" if missing else "."))
    lines += [f"- {name.replace('<', '&lt;')}" for name in missing]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Note which errors a run of the tests met, where its log is given, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--met", type=Path, nargs="*", default=[], help="logs of tests/errors_met.py")
    logs = parser.parse_args().met
    if logs:
        names = sorted({name for log in logs for name in met(log)})
        MET.write_text(json.dumps(names, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
