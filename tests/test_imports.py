"""Who imports whom: only downwards through the tiers, and each heavy library only where it
belongs."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "red_mcore"
TIERS = (
    ("run", "cli"),
    ("train", "comparison", "reports", "preparation"),
    ("planning",),
    (
        "algorithms",
        "analysis",
        "checkpoints",
        "convert",
        "data",
        "distillation",
        "evaluation",
        "rewards",
        "rollout",
        "tracking",
    ),
    ("megatron", "losses"),
    ("samples",),
    ("models",),
    ("system", "stats"),
    ("config", "overrides", "recipe"),
)
"""Rooms, from top to bottom."""
LIGHT = ("config", "models", "planning", "samples", "system")
"""Rooms that can be imported without torch."""
HOMES = {
    "vllm": {"rollout"},
    "mlflow": {"tracking"},
    "megatron": {"megatron", "checkpoints", "convert"},
}
MODULES = sorted(
    file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"
)


def imports(module: Path) -> set[str]:
    """Full names of all that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def imported_at_once(module: Path) -> set[str]:
    """The libraries that importing a module imports, but for what its own imports do."""
    nodes = ast.parse((PACKAGE / module).read_text()).body
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in found}


def part(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def tier(name: str) -> int:
    found = [i for i, names in enumerate(TIERS) if name in names]
    assert found, f"red_mcore.{name} has no place in TIERS"
    return found[0]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_down_the_tiers(module):
    for name in imports(module):
        if name.startswith("red_mcore."):
            other = name.split(".")[1]
            assert tier(other) >= tier(part(module)), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_heavy_libraries_stay_at_home(module):
    found = {name.split(".")[0] for name in imports(module)}
    for library, homes in HOMES.items():
        assert library not in found or part(module) in homes, f"{module} imports {library}"
    if part(module) == "rewards":
        assert "torch" not in found


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in LIGHT], ids=str)
def test_light_rooms_import_nothing_heavy(module):
    assert not {"torch", "transformers", "vllm", "megatron", "mlflow"} & imported_at_once(module)
