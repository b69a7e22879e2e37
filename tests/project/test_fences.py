"""What no module of the packages may do; imports between modules are import-linter's part."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "python" / "src"
MODULES = sorted([*(ROOT / "service").rglob("*.py"), *CLIENT.rglob("*.py")])

HEAVY = ["faiss", "fastapi", "sentence_transformers", "sklearn", "torch", "transformers"]
UNSAFE_LOADERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load"}
UNSAFE_OPTIONS = {"trust_remote_code", "allow_pickle"}


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def is_within(path: Path, *places: str) -> bool:
    inside = path.relative_to(ROOT).as_posix()
    return any(inside == place or inside.startswith(f"{place}/") for place in places)


def places(found: Sequence[tuple[Path, ast.AST]]) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}" for path, node in found]


def imports_of(node: ast.AST) -> set[str]:
    """The top packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.split(".")[0]}
    return set()


def reads_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id == "os" and node.attr in names
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        return any(alias.name in names for alias in node.names)
    return False


def test_the_environment_is_read_in_settings_alone() -> None:
    found = [
        (path, node)
        for path in MODULES
        if not is_within(path, "service/settings.py", "service/environment.py", "service/native.py")
        for node in nodes_of(path)
        if reads_environment(node)
    ]
    assert places(found) == []


def test_only_the_command_line_prints() -> None:
    found = [
        (path, node)
        for path in MODULES
        if not is_within(path, "service/cli")
        for node in nodes_of(path)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"print", "builtins.print"}
    ]
    assert places(found) == []


def test_nothing_that_runs_code_from_a_file_is_used() -> None:
    found = [
        (path, node)
        for path in MODULES
        for node in nodes_of(path)
        if imports_of(node) & UNSAFE_LOADERS
        or (isinstance(node, ast.Call) and ast.unparse(node.func) in UNSAFE_CALLS)
    ]
    assert places(found) == []


def test_no_model_or_array_may_bring_its_own_code() -> None:
    found = [
        (path, node)
        for path in MODULES
        for node in nodes_of(path)
        if isinstance(node, ast.keyword)
        and node.arg in UNSAFE_OPTIONS
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]
    assert places(found) == []


def test_modules_stay_small() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert {path: length for path, length in lengths.items() if length > 400} == {}


@pytest.mark.parametrize(
    "module", ["service.cli", "service.client", "service.settings", "secondpass_client"]
)
def test_importing_the_ways_in_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


def is_framework(path: Path) -> bool:
    """Whether it is the client's module for a framework, which is not in every environment."""
    names = {"haystack.py", "langchain.py", "llama_index.py"}
    return path.is_relative_to(CLIENT) and path.name in names


def test_importing_any_module_reads_no_model_and_writes_nothing(tmp_path: Path) -> None:
    names = [
        ".".join(inside.with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
        for inside in [path.relative_to(CLIENT if path.is_relative_to(CLIENT) else ROOT)]
        if path.name != "__main__.py" and not is_framework(path)
    ]
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    home = {"HOME": str(tmp_path), "PYTHONPATH": f"{ROOT}:{CLIENT}", "PATH": "/usr/bin:/bin"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=home)
    assert list(tmp_path.rglob("*")) == []
