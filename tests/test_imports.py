"""Who imports whom: only downwards through the tiers, and each heavy library only where it belongs."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "red_mcore"
TIERS = (
    ("run", "launch"),
    ("trainer", "base", "groups", "sampling", "recording", "setup", "intake", "model_folder", "rehearsal"),
    ("planning", "resume", "identity", "validation"),
    ("algorithms", "rollout", "evaluation", "analysis", "convert", "data", "rewards", "tracking", "reporting"),
    ("megatron", "losses"),
    (
        "recipe",
        "bounds",
        "overrides",
        "architecture",
        "records",
        "manifests",
        "memory",
        "devices",
        "fingerprints",
        "exit_codes",
    ),
)
HOMES = {"vllm": {"rollout"}, "mlflow": {"tracking"}, "megatron": {"megatron", "convert"}}
MODULES = sorted(file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


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


@pytest.mark.parametrize("name", TIERS[-1])
def test_the_lowest_tier_needs_no_torch(name):
    assert not {"torch", "transformers"} & {found.split(".")[0] for found in imports(Path(f"{name}.py"))}
