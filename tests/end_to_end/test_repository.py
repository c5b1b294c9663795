"""The files for those who join, cite or release the project agree with pyproject.toml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import emotion_runtime

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install --group dev")

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)
    return project


def test_ci_runs_the_versions_of_python_that_are_supported() -> None:
    job = read_yaml(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]
    assert any(".ci/run" in step.get("run", "") for step in job["steps"])
    versions = job["strategy"]["matrix"]["python"]
    project = read_project()["project"]
    classified = re.findall(r":: (3\.\d+)", "\n".join(project["classifiers"]))
    assert versions == classified
    assert project["requires-python"] == f">={versions[0]}"


def test_workflows_may_only_read() -> None:
    for path in (GITHUB / "workflows").glob("*.yml"):
        workflow = read_yaml(path)
        assert workflow["permissions"] == {"contents": "read"}, path
        assert all("timeout-minutes" in job for job in workflow["jobs"].values()), path


def test_issue_forms_have_what_github_requires() -> None:
    forms = [path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert len(forms) >= 2
    for path in forms:
        form = read_yaml(path)
        assert form["name"], path
        assert form["description"], path
        fields = [part for part in form["body"] if part["type"] != "markdown"]
        identifiers = [part["id"] for part in fields]
        assert len(set(identifiers)) == len(identifiers) > 0, path
        assert all(part["attributes"]["label"] for part in fields), path


def test_hooks_run_what_the_development_group_installs() -> None:
    groups = read_project()["dependency-groups"]
    lint = {re.split(r"[>=;]", requirement)[0] for requirement in groups["lint"]}
    hooks = [
        hook
        for repository in read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
        for hook in repository["hooks"]
    ]
    assert {hook["entry"].split()[0] for hook in hooks} <= lint
    assert {"include-group": "lint"} in groups["dev"]


def test_development_packages_are_no_published_extra() -> None:
    project = read_project()
    extras = project["project"]["optional-dependencies"]
    assert not {"dev", "test", "docs", "bench"} & set(extras)
    (everything,) = extras["all"]
    named = set(re.search(r"\[(.*)\]", everything)[1].split(","))  # type: ignore[index]
    assert named == set(extras) - {"all"}


def test_the_citation_names_this_version_and_licence() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == emotion_runtime.__version__
    assert citation["license"] == read_project()["project"]["license"]
    assert {"title", "message", "authors"} <= citation.keys()
