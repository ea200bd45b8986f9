"""What the documentation gives site owners to copy does what it says, where the programs for it are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SITES = Path(__file__).resolve().parents[2] / "docs" / "sites.md"
WORDPRESS = """<?php
$hooks = [];
function add_action($name, $call) { global $hooks; $hooks[$name] = $call; }
function add_filter($name, $call) { global $hooks; $hooks[$name] = $call; }
function wp_enqueue_script(...$arguments) { echo implode(" ", array_slice($arguments, 0, 2)), "\\n"; }
function is_singular($kind) { global $kind_shown; return $kind === $kind_shown; }
function esc_url($url) { return htmlspecialchars($url); }
function get_permalink() { return "https://example.com/a?x=1&y=2"; }
%s
$hooks["wp_enqueue_scripts"]();
foreach (["page", "post"] as $kind_shown) { echo $hooks["the_content"]("text"), "\\n"; }
"""


def snippets(title: str) -> list[str]:
    """The indented blocks of a chapter."""
    chapter = SITES.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    blocks = ["\n".join(line[4:] for line in part.split("\n")) for part in chapter.split("\n\n") if part[:4] == "    "]
    assert blocks, title
    return blocks


def ran(*command: str, cwd: Path) -> str:
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([program, *command[1:]], cwd=cwd, check=True, text=True, capture_output=True).stdout


def test_wordpress_shows_the_button_below_posts_alone(tmp_path: Path) -> None:
    (tmp_path / "page.php").write_text(WORDPRESS % "\n".join(snippets("WordPress")))
    script, page, post = ran("php", "page.php", cwd=tmp_path).splitlines()
    assert script == "likd https://likes.example.net/likd.js"
    assert page == "text"
    assert post == 'text<like-button url="https://example.com/a?x=1&amp;y=2" impression></like-button>'


def test_hugo_makes_pages_with_the_button_of_their_address(tmp_path: Path) -> None:
    button, page = snippets("Hugo")
    for name, text in [
        (
            "hugo.toml",
            'baseURL = "https://example.com/"\ndisableKinds = ["taxonomy", "term", "RSS", "sitemap", "home"]',
        ),
        ("layouts/partials/like.html", button),
        ("layouts/_default/single.html", page),
        ("layouts/_default/list.html", ""),
        ("content/a.md", "---\ntitle: A\n---\ntext"),
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    ran("hugo", "--quiet", cwd=tmp_path)
    made = (tmp_path / "public" / "a" / "index.html").read_text()
    assert '<like-button url="https://example.com/a/" impression></like-button>' in made
    assert '<script src="https://likes.example.net/likd.js" defer></script>' in made
