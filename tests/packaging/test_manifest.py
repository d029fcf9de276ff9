"""The DaemonSet against Kubernetes' own schema and the agent's own settings; no cluster has run it."""

import re
import tomllib
from typing import Any

import kubernetes_validate
import pytest
import yaml
from gpufleet_agent.config import ConfigError, load
from gpufleet_agent.settings import SETTINGS

from tests.agent.process import ROOT

PACKAGING = ROOT / "agent/packaging"
DOCUMENTS: list[dict[str, Any]] = list(yaml.safe_load_all((PACKAGING / "kubernetes/daemonset.yaml").read_text()))
BY_KIND = {document["kind"]: document for document in DOCUMENTS}
POD: dict[str, Any] = BY_KIND["DaemonSet"]["spec"]["template"]["spec"]
(AGENT,) = POD["containers"]


@pytest.mark.parametrize("kind", sorted(BY_KIND))
def test_kubernetes_knows_every_field(kind: str) -> None:
    """Types, required fields, and none that is misspelt."""
    kubernetes_validate.validate(BY_KIND[kind], kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    """The schema is not so lenient that the test above says nothing."""
    wrong = {**BY_KIND["ServiceAccount"], "automountServiceAccountTokens": False}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


def test_its_names_fit_together() -> None:
    """Selector and labels, volumes and mounts, account and config map."""
    daemon_set = BY_KIND["DaemonSet"]["spec"]
    assert daemon_set["selector"]["matchLabels"] == daemon_set["template"]["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    mounted = {mount["name"] for each in (*POD["containers"], *POD["initContainers"]) for mount in each["volumeMounts"]}
    assert mounted == set(volumes)
    assert volumes["config"]["configMap"]["name"] == BY_KIND["ConfigMap"]["metadata"]["name"]
    assert POD["serviceAccountName"] == BY_KIND["ServiceAccount"]["metadata"]["name"]
    assert {document["metadata"]["namespace"] for document in DOCUMENTS} == {"gpufleet"}


def test_the_agent_takes_its_settings() -> None:
    """The file in the config map, the variables and the flags are settings with values that can be."""
    given = tomllib.loads(BY_KIND["ConfigMap"]["data"]["agent.toml"])
    config = load(given, {each["name"]: "node-7" for each in AGENT["env"]})
    assert (config.name, config.log_format) == ("node-7", "json")
    mounts = {mount["name"]: mount["mountPath"] for mount in AGENT["volumeMounts"]}
    assert AGENT["args"] == ["run", "--config", mounts["config"]]
    assert str(config.token_file) == f"{mounts['secret']}/join-token"
    image = (PACKAGING / "container/Containerfile").read_text()
    assert f"GPUFLEET_AGENT_STATE_DIR={mounts['state']}\n" in image
    known = {setting.variable for setting in SETTINGS}
    assert set(re.findall(r"GPUFLEET_AGENT_[A-Z_]+", image)) <= known


def test_a_service_of_its_name_does_not_stop_it() -> None:
    """Its port and address would come as variables, and what is no setting is refused."""
    links = {"GPUFLEET_AGENT_SERVICE_HOST": "10.0.0.7", "GPUFLEET_AGENT_PORT": "tcp://10.0.0.7:9835"}
    with pytest.raises(ConfigError):
        load({}, links)
    assert POD["enableServiceLinks"] is False


def test_it_has_no_more_rights_than_it_needs() -> None:
    """Not root, no capability, nothing writable but its state; the one step as root may only hand that over."""
    rights = {**POD["securityContext"], **AGENT["securityContext"]}
    assert rights["runAsNonRoot"] and rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    assert [mount["name"] for mount in AGENT["volumeMounts"] if not mount.get("readOnly")] == ["state"]
    (state,) = POD["initContainers"]
    assert state["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    user = f"{rights['runAsUser']}:{rights['runAsGroup']}"
    assert state["command"] == ["chown", user, AGENT["volumeMounts"][0]["mountPath"]]
    assert f"USER {user}\n" in (PACKAGING / "container/Containerfile").read_text()


def test_it_sees_the_node_as_it_is() -> None:
    """Processes by the node's ids, and the node by its own."""
    assert POD["hostPID"] is True
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in POD["volumes"] if "hostPath" in volume}
    for mount in AGENT["volumeMounts"]:
        if mount["name"] in paths:
            assert mount["mountPath"] == paths[mount["name"]]
    assert paths["machine-id"] == "/etc/machine-id"
