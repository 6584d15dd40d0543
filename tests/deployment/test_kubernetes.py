"""The manifests of docker/k8s: valid, confined, and true to the images and the service."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from service.server import SHUTDOWN_S
from service.settings import PREFIX, Settings
from service.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
K8S = ROOT / "docker/k8s"
KUSTOMIZATION = "kustomization.yaml"
FOLDERS = ["base", "demo"]
RENDERERS = (["kubectl", "kustomize"], ["kustomize", "build"])

Manifest: TypeAlias = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def files_of(folder: str) -> list[Path]:
    return sorted(path for path in (K8S / folder).glob("*.yaml") if path.name != KUSTOMIZATION)


def kustomization(folder: str) -> Manifest:
    (only,) = documents(K8S / folder / KUSTOMIZATION)
    return only


MANIFESTS = [each for folder in FOLDERS for path in files_of(folder) for each in documents(path)]
every_folder = pytest.mark.parametrize("folder", FOLDERS)


def named(kind: str, name: str = "foldin") -> Manifest:
    (found,) = [m for m in MANIFESTS if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def pods() -> dict[str, Manifest]:
    return {
        m["metadata"]["name"]: m["spec"]["template"] for m in MANIFESTS if "template" in m["spec"]
    }


def container(name: str) -> Manifest:
    (only,) = pods()[name]["spec"]["containers"]
    found: Manifest = only
    return found


every_pod = pytest.mark.parametrize("name", sorted(pods()))


def refused_by_the_schemas(manifests: list[Manifest]) -> list[str]:
    schemas = pytest.importorskip(
        "kubernetes_validate", reason="no schemas: pip install kubernetes-validate"
    )
    refused = []
    for manifest in manifests:
        try:
            schemas.validate(manifest, schemas.latest_version(), strict=True)
        except schemas.ValidationError as error:
            refused.append(f"{manifest['kind']} {manifest['metadata']['name']}: {error.message}")
    return refused


def rendered(folder: str) -> list[Manifest]:
    for command in RENDERERS:
        if shutil.which(command[0]):
            done = subprocess.run(
                [*command, str(K8S / folder)], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return [document for document in yaml.safe_load_all(done.stdout) if document]
    pytest.skip("nothing renders kustomizations: apt-get install kubernetes-client")


def test_the_manifests_keep_to_the_schemas_of_kubernetes() -> None:
    assert refused_by_the_schemas(MANIFESTS) == []


def test_a_misspelt_field_would_be_refused() -> None:
    service = named("Service")
    wrong = service | {"spec": service["spec"] | {"selektor": {}}}
    assert len(refused_by_the_schemas([wrong])) == 1


@every_folder
def test_what_is_rendered_keeps_to_the_schemas_and_lacks_nothing(folder: str) -> None:
    manifests = rendered(folder)
    kinds = {(m["kind"], m["metadata"]["name"]) for m in manifests}
    own = {(m["kind"], m["metadata"]["name"]) for path in files_of(folder) for m in documents(path)}
    assert own < kinds
    (settings,) = [name for kind, name in kinds if kind == "ConfigMap"]
    (api,) = [
        m for m in manifests if (m["kind"], m["metadata"]["name"]) == ("Deployment", "foldin")
    ]
    (source,) = api["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    # By its content: replicas are replaced when a setting changes.
    assert source["configMapRef"]["name"] == settings
    assert re.fullmatch(r"foldin-settings-\w{10}", settings)
    assert refused_by_the_schemas(manifests) == []


@every_folder
def test_every_file_is_applied(folder: str) -> None:
    listed = [name for name in kustomization(folder)["resources"] if name.endswith(".yaml")]
    assert sorted(listed) == [path.name for path in files_of(folder)]


@every_folder
def test_the_images_are_those_of_this_version(folder: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = kustomization(folder)["images"]
    assert {image["newTag"] for image in images} == {version}
    ours = {container(name)["image"] for name in pods() if name != "foldin-redis"}
    assert ours == {"foldin", "foldin-trainer"}
    assert {image["name"] for image in images} <= ours


@every_pod
def test_a_pod_runs_as_the_user_of_the_images_and_may_do_nothing_else(name: str) -> None:
    spec = pods()[name]["spec"]
    (user,) = re.findall(r"^USER (\d+):\1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["runAsGroup"] == int(user)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@every_pod
def test_no_service_sets_variables_which_would_be_wrong_settings(name: str) -> None:
    # A service called foldin is FOLDIN_PORT=tcp://10.0.0.1:80 to every pod that does not say no.
    assert pods()[name]["spec"]["enableServiceLinks"] is False


@every_pod
def test_a_pod_has_a_bound_of_memory(name: str) -> None:
    resources = container(name)["resources"]
    assert resources["limits"]["memory"]
    assert {"cpu", "memory"} <= resources["requests"].keys()


def test_settings_are_settings_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    (generated,) = kustomization("base")["configMapGenerator"]
    for literal in generated["literals"]:
        monkeypatch.setenv(*literal.split("=", 1))
    settings = Settings()  # an unknown or wrong one is an error
    api = container("foldin")
    assert {each["name"] for each in api["env"]} <= {
        PREFIX + field.upper() for field in Settings.model_fields
    }
    assert settings.threads == int(api["resources"]["requests"]["cpu"])
    ends_s = pods()["foldin"]["spec"]["terminationGracePeriodSeconds"]
    assert settings.drain_grace_s + SHUTDOWN_S < ends_s
    assert settings.reload_poll_s > 0  # nobody can ask each of the replicas


def test_a_pod_gets_requests_while_it_is_ready_and_is_restarted_when_it_is_dead() -> None:
    api = container("foldin")
    (port,) = api["ports"]
    probes = {kind: api[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/livez",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"]}
    assert f"EXPOSE {port['containerPort']}" in (ROOT / "Dockerfile").read_text()
    assert named("Service")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_a_roll_out_takes_no_replica_away_before_another_is_ready() -> None:
    spec = named("Deployment")["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert "replicas" not in spec  # which would undo what the autoscaler decided
    scaler = named("HorizontalPodAutoscaler")["spec"]
    assert scaler["minReplicas"] > named("PodDisruptionBudget")["spec"]["maxUnavailable"]


def test_replicas_are_scaled_by_a_figure_that_the_service_shows() -> None:
    (metric,) = named("HorizontalPodAutoscaler")["spec"]["metrics"]
    (adapter,) = documents(K8S / "prometheus-adapter.yaml")
    (rule,) = adapter["rules"]["custom"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    telemetry = Telemetry()
    telemetry.observe_stage("queue", 0.001)
    shown = telemetry.exposition().decode()
    for series in re.findall(r"foldin_\w+\{stage=\"queue\"", rule["metricsQuery"]):
        assert series in shown


def test_every_selector_finds_pods() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods().values()]
    selectors: list[dict[str, str]] = []
    for manifest in MANIFESTS:
        spec = manifest["spec"]
        if manifest["kind"] == "Service":
            selectors.append(spec["selector"])
        elif manifest["kind"] == "NetworkPolicy":
            selectors.append(spec["podSelector"]["matchLabels"])
        elif "selector" in spec:
            selectors.append(spec["selector"]["matchLabels"])
    assert len(selectors) == 8
    assert [
        wanted for wanted in selectors if not any(wanted.items() <= own.items() for own in labels)
    ] == []


def test_redis_is_reached_by_the_api_alone() -> None:
    (rule,) = named("NetworkPolicy", "foldin-redis")["spec"]["ingress"]
    (source,) = rule["from"]
    assert source["podSelector"]["matchLabels"] == pods()["foldin"]["metadata"]["labels"]
    assert "egress" not in named("NetworkPolicy", "foldin-redis")["spec"]


def test_the_models_are_written_by_the_trainer_and_read_by_the_replicas() -> None:
    def models(name: str) -> Manifest:
        (mount,) = [m for m in container(name)["volumeMounts"] if m["name"] == "models"]
        found: Manifest = mount
        return found

    assert models("foldin") == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert models("foldin-demo") == {"name": "models", "mountPath": "/models"}


def test_no_manifest_holds_a_secret() -> None:
    assert {m["kind"] for m in MANIFESTS} >= {"Deployment", "Job"}
    assert [m for m in MANIFESTS if m["kind"] == "Secret"] == []
    values = [each.get("value") for name in pods() for each in container(name).get("env", [])]
    assert set(values) <= {None}
