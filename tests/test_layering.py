"""Reads every import of the package and keeps the arrows of the architecture pointing down."""

import ast
from pathlib import Path

import pytest

import sparsecomp

ROOT = Path(sparsecomp.__file__).parent

# Lowest first. A module may import from its own level and from those below; the longest matching prefix places it.
LEVELS = (
    (
        "errors",
        "facts",
        "targets.base",
        "structure",
        "memory_plan",
        "inspect.diff",
        "inspect.graph",
        "inspect.notebook",
        "inspect.page",
        "inspect.page_data",
        "inspect.render",
        "inspect.text",
        "inspect.union",
        "inspect.text",
        "inspect.render",
        "inspect.diff",
    ),
    ("program", "printer", "signature", "ops", "ops_recurrent"),
    ("rules", "formats", "inspect.metrics", "inspect.patterns"),
    ("capture", "passes", "prune", "dump", "calling", "assembling", "simplification", "inspect.views"),
    ("kernels", "schedules"),
    ("targets",),
    ("lower",),
    (
        "tune",
        "runtime",
        "artifact",
        "engine",
        "report",
        "profile",
        "inspect.tables",
        "inspect.explain",
        "inspect.work",
        "inspect.layers",
        "inspect.stages",
        "inspect.record",
    ),
    ("layer_times",),
    ("compilation", "expected", "latency", "stopwatch"),
    ("api", "inspect", "plot", "pruning"),
    ("demo", "cli", "cli_files", "cli_inspect"),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
MAY_IMPORT_TVM = ("kernels", "schedules", "targets", "lower", "tune", "runtime", "artifact", "engine")
RUNS_WITHOUT_TORCH = ("", "errors", "report", "profile", "targets", "runtime", "artifact", "cli", "cli_files")
LONGEST_FILE = 350


def name_of(path):
    """The module's dotted name below the package; ``""`` for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def level_of(module):
    parts = module.split(".")
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((LEVEL[prefix] for prefix in prefixes if prefix in LEVEL), None)


def packages_of(module):
    """The packages that Python runs before the module."""
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))}


def within(module, packages):
    return any(module == package or (package and module.startswith(f"{package}.")) for package in packages)


def imports(nodes):
    """Dotted names that import statements among ``nodes`` mention: of ``from a import b`` both ``a`` and ``a.b``."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def our_imports(source):
    """Modules of ours that ``source`` imports anywhere, functions included."""
    named = imports(ast.walk(ast.parse(source)))
    ours = {name.removeprefix("sparsecomp.") for name in named if name.startswith("sparsecomp.")}
    return ours & MODULES.keys()


def upward(importer, imported):
    """Those of ``imported`` that lie above ``importer``."""
    return sorted(name for name in imported if level_of(name) > level_of(importer))


def mentions(names, package):
    return any(name.split(".")[0] == package for name in names)


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_imports_point_down(module):
    assert level_of(module) is not None, f"give {module} a place in LEVELS"
    assert not upward(module, our_imports(MODULES[module].read_text()))


@pytest.mark.parametrize("module", [name for name in MODULES if not within(name, MAY_IMPORT_TVM)])
def test_tvm_stays_in_the_lower_half(module):
    named = imports(ast.walk(ast.parse(MODULES[module].read_text())))
    assert not mentions(named, "tvm")
    assert not mentions(named, "tvm_ffi")


@pytest.mark.parametrize("module", [name for name in MODULES if within(name, RUNS_WITHOUT_TORCH)])
def test_a_saved_program_runs_without_torch(module):
    """Neither the module nor anything that it imports at once needs torch; functions may import it late."""
    reached, ahead = set(), {module}
    while ahead:
        name = ahead.pop()
        reached.add(name)
        named = imports(ast.parse(MODULES[name].read_text()).body)
        assert not mentions(named, "torch"), f"{module or 'sparsecomp'} reaches {name}, which imports torch"
        ours = {found.removeprefix("sparsecomp.") for found in named} & MODULES.keys()
        ahead |= (ours | {parent for found in ours for parent in packages_of(found)}) - reached


@pytest.mark.parametrize("module", MODULES)
def test_files_are_short(module):
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("passes.")])
def test_every_pass_has_a_test_file_of_the_same_name(module):
    assert (Path(__file__).parent / "passes" / f"test_{module.removeprefix('passes.')}.py").is_file()


@pytest.mark.parametrize(
    ("importer", "source", "found"),
    [
        ("targets.base", "from sparsecomp.targets import resolve", ["targets"]),
        ("errors", "def late():\n    import sparsecomp.targets.native", ["targets.native"]),
        ("targets", "from sparsecomp.errors import TargetError", []),
        ("targets.native", "from sparsecomp.targets import host", []),
    ],
)
def test_the_reader_sees_an_arrow_that_points_up(importer, source, found):
    assert upward(importer, our_imports(source)) == found
