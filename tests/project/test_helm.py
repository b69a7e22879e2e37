"""The Helm chart, rendered: by `helm` where it is installed, else by what its templates use."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.options import read_settings
from service.environment import check_environment

CHART = Path(__file__).parents[2] / "docker" / "helm" / "secondpass"
VALUES = ["values.yaml", "values-gpu.yaml"]
_FUNCTIONS: dict[str | None, Callable[[Any], str]] = {
    None: str,
    "toJson": json.dumps,
    "sha256sum": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}
_ACTION = re.compile(r"\{\{ \.([\w.]+)(?: \| (toJson|sha256sum))? \}\}")


def values(name: str) -> dict[str, Any]:
    """The chart's values, with those of another file on top."""
    own, more = (yaml.safe_load((CHART / file).read_text()) for file in ("values.yaml", name))
    assert more.keys() <= own.keys()
    return {**own, **more}


def rendered(name: str) -> dict[str, dict[str, Any]]:
    """The objects by kind."""
    if helm := shutil.which("helm"):
        command = [helm, "template", "search", str(CHART), "--values", str(CHART / name)]
        texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout]
    else:
        known = {"Values": values(name), "Release": {"Name": "search"}}

        def put(found: re.Match[str]) -> str:
            value: Any = reduce(lambda at, key: at[key], found[1].split("."), known)
            return _FUNCTIONS[found[2]](value)

        texts = [_ACTION.sub(put, file.read_text()) for file in CHART.glob("templates/*.yaml")]
    assert "{{" not in "".join(texts)
    objects = [one for text in texts for one in yaml.safe_load_all(text) if one]
    assert len({one["kind"] for one in objects}) == len(objects)
    return {one["kind"]: one for one in objects}


@pytest.mark.parametrize("name", VALUES)
def test_the_parts_fit_together(name: str) -> None:
    found = rendered(name)
    assert found.keys() == {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Service"}
    spec = found["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    assert {one["name"] for one in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    named = {port["name"] for port in container["ports"]}
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert [probe["path"] for probe in probes] == ["/livez", "/readyz"]
    assert {probe["port"] for probe in probes} <= named
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", VALUES)
def test_the_server_takes_the_settings(name: str, tmp_path: Path) -> None:
    found = rendered(name)
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    check_environment({one["name"]: one.get("value", "") for one in container["env"]})
    config = tmp_path / "secondpass.toml"
    config.write_text(found["ConfigMap"]["data"]["secondpass.toml"])
    assert read_settings({"config": config}).log_format == "json"


def test_other_settings_make_another_pod() -> None:
    one, other = (rendered(name)["Deployment"]["spec"]["template"] for name in VALUES)
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]


def test_the_gpu_values_ask_for_a_gpu() -> None:
    (container,) = rendered("values-gpu.yaml")["Deployment"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_keys_file_and_the_hashes_come_from_one_secret_and_either_is_enough() -> None:
    pod = rendered("values.yaml")["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {one["name"]: one for one in container["env"]}
    (mount,) = (one for one in container["volumeMounts"] if one["name"] == "keys")
    assert "subPath" not in mount  # such a file does not change with the Secret
    assert environment["SECONDPASS_KEYS_FILE"]["value"] == f"{mount['mountPath']}/keys.json"
    hashes = environment["SECONDPASS_API_KEY_HASHES"]["valueFrom"]["secretKeyRef"]
    (secret,) = (one["secret"]["secretName"] for one in pod["volumes"] if one["name"] == "keys")
    assert hashes == {"name": secret, "key": "hashes", "optional": True}
