"""The documentation: every file that it names is there, the drawings are right, the site builds
without network."""

import importlib.util
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from test_imports import PACKAGE, TIERS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
ROOMS = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:red_mcore|recipes|tests|tools|slurm|docs)/[\w./-]+)`", text)
    assert [name for name in named if "NAME" not in name and not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_there(page):
    made = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" in link or link.startswith("reference/"):
            continue
        place = ROOT / made[link] if link in made else page.parent / link
        assert place.exists(), link


def test_the_architecture_page_has_every_room():
    text = (DOCS / "architecture.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == ROOMS
    for road in ("token", "weight", "override", "checkpoint"):
        assert re.search(rf"^## The road of an? {road}$", text, re.MULTILINE)


def test_the_drawing_of_the_rooms_has_their_tiers():
    drawn = re.findall(r'y="(\d+)"[^>]*font-weight="bold">(\w+)<', (DOCS / "rooms.svg").read_text())
    height = {name: int(y) for y, name in drawn}
    assert height.keys() == ROOMS
    tiers = [[height[name] for name in names if name in height] for names in TIERS]
    for upper, lower in pairwise(tiers):
        assert max(upper) < min(lower)


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS)}\n" in navigation


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None,
    reason="mkdocs is not installed: pip install -e '.[docs]', or make venv",
)
def test_the_site_needs_nothing_beside_itself(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path),
    ]
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    found = {page.stem for page in pages if page.parent.name == "reference"}
    assert found >= ROOMS
    for page in pages:
        text = page.read_text()
        fetched = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="(https?:[^"]*)"', text)
        fetched += re.findall(
            r'<link[^>]*rel="(?:stylesheet|icon|preconnect)"[^>]*href="(https?:[^"]*)"', text
        )
        assert fetched == [], page
    assert "RecipeError" in (tmp_path / "reference" / "config.html").read_text()
