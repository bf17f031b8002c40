"""Runs on the packaged zip what plugins.qgis.org runs on an upload: bandit, detect-secrets, flake8.

``scan_plugin.py [ZIP]``; without one the zip is packed first. Every finding needs a reason, written
beside the line (``# nosec``) or below. Their rules: https://plugins.qgis.org/docs/security-scanning
and ``security_scanner.py`` of qgis/QGIS-Plugins-Website.
"""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SUSPICIOUS = (".exe", ".dll", ".so", ".dylib", ".bat", ".sh", ".ps1", ".cmd")
ALIKE = "looks like a secret by its letters alone: "
# (tool, rule, beginning of the path) -> why it may be.
REASONS = {
    ("bandit", "B101", ""): "assert tells mypy what is known already; nothing is checked by it",
    ("bandit", "B404", "core/client/"): "the worker is a process of its own",
    ("bandit", "B603", "core/client/"): "a list of arguments without a shell; the program is the "
    "Python that the user chose or that was made for the plugin",
    ("bandit", "B608", "core/contract/target.py"): "the name of a table, a constant of ours",
    ("bandit", "B608", "core/predictions/"): "names of tables and columns, constants of ours or "
    "slugs of letters, digits and _; every value is a parameter",
    ("bandit", "B608", "core/training/predicted.py"): "the name of a table, a constant of ours",
    ("detect-secrets", "Base64 High Entropy String", "core/backbones/dinov3"): ALIKE
    + "a model of the Hugging Face hub",
    ("detect-secrets", "Secret Keyword", "core/contract/source_identity.py"): "the pattern that "
    "removes passwords from what is shown",
    ("detect-secrets", "Hex High Entropy String", "sample_model/config.json"): ALIKE
    + "the SHA-256 of the sample model's weights",
    ("flake8", "E203", ""): "a space before a colon in a slice, as ruff and black write it",
}


class Finding(NamedTuple):
    """What a tool has to say of a line."""

    tool: str
    rule: str
    path: str
    line: int
    text: str

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Return the reason that covers it, None without one."""
        keys = (key for key in REASONS if key[:2] == (self.tool, self.rule))
        return next((key for key in keys if self.path.startswith(key[2])), None)


def scan(archive: Path) -> list[Finding]:
    """Return every finding in the zip, those with a reason too."""
    with tempfile.TemporaryDirectory() as temporary:
        with zipfile.ZipFile(archive) as packed:
            names = packed.infolist()
            packed.extractall(temporary)  # ours, packed a moment ago
        (top,) = Path(temporary).iterdir()
        with ThreadPoolExecutor() as pool:
            parts = pool.map(lambda tool: list(tool(top)), (_bandit, _secrets, _flake8))
            return [*_files(names), *(item for part in parts for item in part)]


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1) or "No module named" in done.stderr:
        raise SystemExit(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout


def _bandit(folder: Path) -> Iterator[Finding]:
    # All of its tests: the site reports of every severity what its administrators enabled.
    report: dict[str, Any] = json.loads(_run(folder, "bandit", "-r", ".", "-f", "json", "--quiet"))
    if report["errors"]:
        raise SystemExit(f"bandit could not read {report['errors']}")
    for found in report["results"]:
        path = Path(found["filename"]).as_posix()
        yield Finding("bandit", found["test_id"], path, found["line_number"], found["issue_text"])


def _secrets(folder: Path) -> Iterator[Finding]:
    options = ("scan", "--all-files", "--exclude-files", r"metadata\.txt", ".")
    report: dict[str, Any] = json.loads(_run(folder, "detect_secrets", *options))
    for path, secrets in report["results"].items():
        for found in secrets:
            line = found["line_number"]
            yield Finding("detect-secrets", found["type"], path, line, "looks like a secret")


def _flake8(folder: Path) -> Iterator[Finding]:
    # Isolated: the configuration of whoever runs this counts as little as on the site.
    said = _run(folder, "flake8", "--isolated", "--max-line-length=120", ".")
    for line in said.splitlines():
        path, number, _, text = line.split(":", 3)
        rule, words = text.strip().split(" ", 1)
        yield Finding("flake8", rule, Path(path).as_posix(), int(number), words)


def _files(members: list[zipfile.ZipInfo]) -> Iterator[Finding]:
    for member in members:
        path = Path(member.filename)
        mode = member.external_attr >> 16
        if path.name.startswith("."):
            yield Finding("files", "hidden", str(path), 0, "a hidden file")
        if path.suffix.lower() in SUSPICIOUS:
            yield Finding("files", "suspicious", str(path), 0, "a program")
        if path.suffix == ".py" and mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
            yield Finding("files", "executable", str(path), 0, "a module that is executable")


def _packed() -> Path:
    tool = ROOT / "tools" / "build_plugin.py"
    done = subprocess.run(
        [sys.executable, str(tool), "zip"], capture_output=True, text=True, check=True
    )
    return Path(done.stdout.strip())


def main(arguments: list[str]) -> int:
    """Tell of what has no reason, and of reasons that nothing needs any more."""
    findings = scan(Path(arguments[0]) if arguments else _packed())
    bare = [item for item in findings if item.key is None]
    for item in bare:
        print(f"{item.path}:{item.line}: {item.tool} {item.rule} {item.text}")
    for key in REASONS.keys() - {item.key for item in findings}:
        print(f"A reason that nothing needs any more: {' '.join(key)}")
        bare.append(Finding(*key, 0, ""))
    print(f"{len(bare)} to be seen to; {len(findings)} findings in all.")
    return 1 if bare else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
