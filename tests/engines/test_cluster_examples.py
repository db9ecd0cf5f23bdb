"""The SLURM job and the Kubernetes manifest under examples/: their syntax, and that their parts fit together."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from medood.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
SLURM = (EXAMPLES / "score.slurm").read_text(encoding="utf-8")
MANIFEST: list[dict[str, Any]] = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")))


def check_options(words: list[str]) -> None:
    """What begins with two dashes is an option of `medood score`."""
    known = {name for parameter in get_command(app).commands["score"].params for name in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    assert "--resume" in words


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_the_slurm_job_is_bash() -> None:
    checked = subprocess.run(["bash", "-n", EXAMPLES / "score.slurm"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    broken = subprocess.run(["bash", "-n"], input=SLURM.replace("done\n", "", 1), capture_output=True, text=True, check=False)
    assert broken.returncode != 0  # the check would notice


def test_the_slurm_job_asks_for_what_it_uses() -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", SLURM, re.MULTILINE))
    assert {"job-name", "ntasks", "cpus-per-task", "mem-per-cpu", "time"} <= asked.keys()
    check_options(next(line for line in SLURM.splitlines() if line.startswith("medood score")).split())
    assert SLURM.index("REQUIRE_ENCRYPTION=true") < SLURM.index("dask scheduler")


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {part["metadata"]["name"]: part for part in MANIFEST if part["kind"] == kind}


def pods() -> list[dict[str, Any]]:
    return [part["spec"]["template"] for part in MANIFEST if "template" in part.get("spec", {})]


def test_every_part_of_the_manifest_has_what_kubernetes_needs() -> None:
    for part in MANIFEST:
        assert {"apiVersion", "kind", "metadata", "spec"} <= part.keys()
    assert [part["kind"] for part in MANIFEST] == ["Service", "Deployment", "Deployment", "Job", "NetworkPolicy"]
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        assert {"name", "image", "command", "resources"} <= container.keys()
        assert all(isinstance(word, str) for word in container["command"])
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod["spec"].get("volumes", ())}
    assert len({pod["spec"]["containers"][0]["image"] for pod in pods()}) == 1  # the same medood everywhere


def test_the_parts_of_the_manifest_find_each_other() -> None:
    for deployment in of_kind("Deployment").values():
        assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    (service,) = of_kind("Service").values()
    scheduler = of_kind("Deployment")["medood-scheduler"]["spec"]["template"]
    assert service["spec"]["selector"] == scheduler["metadata"]["labels"]
    place = f"{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    assert f"tcp://{place}" in of_kind("Deployment")["medood-workers"]["spec"]["template"]["spec"]["containers"][0]["command"]
    driver = of_kind("Job")["medood-score"]["spec"]["template"]["spec"]["containers"][0]
    words = [*driver["command"], *driver["args"]]
    assert f"dask://{place}" in words
    check_options(words)
    policy = of_kind("NetworkPolicy")["medood"]["spec"]["podSelector"]["matchLabels"]
    assert all(policy.items() <= pod["metadata"]["labels"].items() for pod in pods())
