"""The Kubernetes manifests against Kubernetes' own schemas, the list of workers, the settings and each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from console.alerts.settings import AlertsSettings
from console.settings import ConsoleSettings
from ops.canary.round_trips import CanarySettings
from ops.deploy.k8s import generate
from ops.janitor.trimming import JanitorSettings
from ops.local.nats_server import binary
from ops.provisioning.streams import Budgets
from ops.runtime.settings import Settings
from receiver.settings import ReceiverSettings
from schemas.subjects import SOURCES
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[4]
ROOTS = (
    ROOT / "ops/deploy/k8s/base",
    ROOT / "ops/deploy/nats",
    ROOT / "ops/deploy/k8s/overlays/production",
    ROOT / "ops/deploy/k8s/canary",
    ROOT / "ops/deploy/k8s/monitoring",
)
# Kinds that are not Kubernetes' own have no schema here.
FOREIGN = ("keda.sh/", "monitoring.coreos.com/")
KUSTOMIZE = shutil.which("kustomize") or shutil.which("kubectl")
VERSION = "1.33"
NAMESPACE = "axonpush"
GIB = 1024**3
# The C parser where PyYAML has it: these files are read when tests are collected, in every process of a run.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    return [found for found in yaml.load_all(path.read_text(), LOADER) if found]


def kustomization(root: Path) -> Manifest:
    (found,) = read(root / "kustomization.yaml")
    return found


def resources() -> Iterator[tuple[Path, Manifest]]:
    """Every manifest that the kustomizations name, by the file it stands in."""
    for root in ROOTS:
        for name in kustomization(root)["resources"]:
            if (root / name).is_file():
                for manifest in read(root / name):
                    yield root / name, manifest


MANIFESTS = [manifest for _, manifest in resources()]
BY_NAME = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in MANIFESTS}
BUILT_IN = [manifest for manifest in MANIFESTS if not manifest["apiVersion"].startswith(FOREIGN)]
WITH_PODS = [manifest for manifest in MANIFESTS if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}]
SCALED = {name: manifest for (kind, name), manifest in BY_NAME.items() if kind == "ScaledObject"}


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pod(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]
    return found


def container(manifest: Manifest) -> Manifest:
    (found,) = pod(manifest)["containers"]
    return dict(found)


def kubernetes_name(worker: str) -> str:
    return f"worker-{worker.replace('_', '-')}"


each = pytest.mark.parametrize("manifest", WITH_PODS, ids=title)


@pytest.mark.parametrize("manifest", BUILT_IN, ids=title)
def test_every_manifest_obeys_kubernetes_schema(manifest: Manifest) -> None:
    """Strictly: a field that Kubernetes does not know is an error, not a field nobody reads."""
    kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.skipif(KUSTOMIZE is None, reason="neither kustomize nor kubectl is installed")
@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.relative_to(ROOT).as_posix())
def test_kustomize_builds_it(root: Path) -> None:
    """With the very program; what it makes, patches applied, obeys the schemas and is all in our namespace."""
    assert KUSTOMIZE is not None
    command = [KUSTOMIZE, "build" if Path(KUSTOMIZE).name == "kustomize" else "kustomize", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    built = [found for found in yaml.load_all(done.stdout, LOADER) if found]
    assert built
    for manifest in built:
        if not manifest["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["metadata"].get("namespace", manifest["metadata"]["name"]) == NAMESPACE


def test_nothing_is_defined_twice_and_everything_is_named() -> None:
    """Each file is in a kustomization, each kind and name once."""
    assert len(BY_NAME) == len(MANIFESTS)
    written = {path for root in ROOTS for path in root.glob("*.yaml") if path.name != "kustomization.yaml"}
    assert written == {path for path, _ in resources()}
    assert all(kustomization(root)["namespace"] == NAMESPACE for root in ROOTS)


def test_workers_are_the_workers_there_are() -> None:
    """base/workers.yaml is what ops/deploy/k8s/generate.py writes; each worker of SOURCES is started under its name."""
    assert generate.TARGET.read_text() == generate.manifests(), "run `python -m ops.deploy.k8s.generate`"
    assert generate.RULES.read_text() == generate.rules(), "run `python -m ops.deploy.k8s.generate`"
    for worker in SOURCES:
        assert container(BY_NAME["Deployment", kubernetes_name(worker)])["args"] == ["worker", worker]
    assert set(SCALED) == {kubernetes_name(worker) for worker in SOURCES}


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_a_worker_is_scaled_by_its_own_lag(source: Any) -> None:
    """What KEDA's nats-jetstream scaler takes: account, stream, consumer, threshold, and a server to ask."""
    manifest = SCALED[kubernetes_name(source.worker)]
    assert manifest["apiVersion"] == "keda.sh/v1alpha1"
    spec = manifest["spec"]
    assert set(spec) == {
        "scaleTargetRef", "pollingInterval", "minReplicaCount", "maxReplicaCount", "fallback", "advanced", "triggers",
    }  # fmt: skip
    assert ("Deployment", spec["scaleTargetRef"]["name"]) in BY_NAME
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
    (trigger,) = spec["triggers"]
    assert trigger["type"] == "nats-jetstream"
    metadata = trigger["metadata"]
    assert all(isinstance(value, str) for value in metadata.values()), "KEDA reads texts only"
    endpoint = metadata.pop("natsServerMonitoringEndpoint")
    assert metadata == {
        "account": "AXONPUSH", "stream": source.stream, "consumer": source.durable, "lagThreshold": "10000",
        "useHttps": "false",
    }  # fmt: skip
    service = BY_NAME["Service", endpoint.split(".")[0]]
    assert endpoint == f"{service['metadata']['name']}.{NAMESPACE}.svc.cluster.local:8222"
    assert service["spec"]["clusterIP"] == "None", "the leader is asked as <server>.<service>"
    assert 8222 in {port["port"] for port in service["spec"]["ports"]}


def test_the_account_is_the_brokers() -> None:
    """The one that ops/deploy/nats/accounts.conf makes."""
    assert re.search(r"^  AXONPUSH \{$", (ROOT / "ops/deploy/nats/accounts.conf").read_text(), re.MULTILINE)


def test_autoscalers_decide_how_many() -> None:
    """A number in the Deployment would be applied again with every deploy."""
    scaler = BY_NAME["HorizontalPodAutoscaler", "receiver"]["spec"]
    assert ("Deployment", scaler["scaleTargetRef"]["name"]) in BY_NAME
    assert scaler["metrics"][0]["resource"]["name"] == "cpu"
    for name in ("receiver", *SCALED):
        deployment = BY_NAME["Deployment", name]
        assert "replicas" not in deployment["spec"]
        assert "cpu" in container(deployment)["resources"]["requests"]


def test_processes_may_finish_before_they_are_killed() -> None:
    """Grace is longer than a drain and whatever comes before it."""
    receiver = BY_NAME["Deployment", "receiver"]
    (_, wait_s) = container(receiver)["lifecycle"]["preStop"]["exec"]["command"]
    needs = float(wait_s) + ReceiverSettings().drain_timeout_s
    assert needs + 10 <= pod(receiver)["terminationGracePeriodSeconds"]
    console = BY_NAME["Deployment", "console"]
    (_, wait_s) = container(console)["lifecycle"]["preStop"]["exec"]["command"]
    needs = float(wait_s) + ConsoleSettings().console_drain_timeout_s
    assert needs + 10 <= pod(console)["terminationGracePeriodSeconds"]
    for name in SCALED:
        grace = pod(BY_NAME["Deployment", name])["terminationGracePeriodSeconds"]
        assert WorkerSettings().worker_drain_s + 10 <= grace
    lame_duck = re.search(r"lame_duck_duration: (\d+)s", (ROOT / "ops/deploy/nats/cluster.conf").read_text())
    assert lame_duck is not None
    assert int(lame_duck[1]) + 10 <= pod(BY_NAME["StatefulSet", "nats"])["terminationGracePeriodSeconds"]


def environment(manifest: Manifest) -> dict[str, Manifest]:
    return {one["name"]: one for one in container(manifest)["env"]}


OURS = [manifest for manifest in WITH_PODS if manifest["kind"] != "StatefulSet"]


@pytest.mark.parametrize("manifest", OURS, ids=title)
def test_settings_of_a_pod_are_settings_of_its_process(manifest: Manifest) -> None:
    """A misspelt AXONPUSH_* variable would be ignored in silence."""
    kinds: dict[str, Any] = {
        "migrate": Settings,
        "receiver": ReceiverSettings,
        "console": ConsoleSettings,
        "alerts": AlertsSettings,
        "janitor": JanitorSettings,
        "canary": CanarySettings,
    }
    found = kinds.get(container(manifest)["args"][0], WorkerSettings)
    known = {f"AXONPUSH_{field.upper()}" for field in found.model_fields}
    assert set(environment(manifest)) <= known
    shared = {f"AXONPUSH_{field.upper()}" for field in Settings.model_fields}
    assert set(BY_NAME["ConfigMap", "axonpush"]["data"]) <= shared


@pytest.mark.parametrize("manifest", OURS, ids=title)
def test_each_pod_has_the_least_of_the_users(manifest: Manifest) -> None:
    """A receiver has no way into ClickHouse, a worker none to change tables, a canary none into the broker."""
    kind, given = container(manifest)["args"][0], environment(manifest)
    if kind == "canary":
        assert not [name for name in given if "NATS" in name]
        assert "envFrom" not in container(manifest)
        assert given["AXONPUSH_CLICKHOUSE_USER"]["value"] == "axonpush_reader"
        return
    role = {"migrate": "operator", "janitor": "operator"}.get(kind, kind)
    assert given["AXONPUSH_NATS_USER"]["value"] == role
    assert given["AXONPUSH_NATS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "axonpush-nats", "key": role}
    user = given.get("AXONPUSH_CLICKHOUSE_USER", {}).get("value")
    assert user == {
        "operator": "axonpush_operator",
        "worker": "axonpush_worker",
        "console": "axonpush_console",
        "alerts": "axonpush_alerts",
    }.get(role)


def test_no_secret_is_in_the_files() -> None:
    """Passwords are named, never given."""
    assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}
    for manifest in WITH_PODS:
        for one in container(manifest)["env"]:
            if re.search("PASSWORD|_KEY|_HEADERS", one["name"]):
                assert "valueFrom" in one or re.fullmatch(r'"\$\(\w+\)"', one["value"])


@each
def test_pods_obey_the_restricted_standard(manifest: Manifest) -> None:
    """Pod Security Standards, restricted: the namespace enforces it."""
    security, inner = pod(manifest)["securityContext"], container(manifest)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert inner == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(manifest)["automountServiceAccountToken"] is False
    label = "pod-security.kubernetes.io/enforce"
    assert BY_NAME["Namespace", NAMESPACE]["metadata"]["labels"][label] == "restricted"


@each
def test_selectors_find_their_pods_and_pods_are_probed(manifest: Manifest) -> None:
    """Labels match; whatever runs for long says when it has started, is ready and is alive."""
    spec = manifest["spec"]
    if manifest["kind"] == "Job":
        return
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in container(manifest)["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(manifest)[probe]["httpGet"]["port"] in ports
    assert "memory" in container(manifest)["resources"]["limits"]


def test_receivers_are_taken_out_before_they_stop() -> None:
    """Ready by /ready, alive by /health: a broker that is away must not have them killed."""
    found = container(BY_NAME["Deployment", "receiver"])
    assert found["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert found["livenessProbe"]["httpGet"]["path"] == "/health"
    assert BY_NAME["Deployment", "receiver"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for name in ("receiver", "nats", *SCALED):
        budget = BY_NAME["PodDisruptionBudget", name]["spec"]
        assert budget["maxUnavailable"] == 1
        kind = "StatefulSet" if name == "nats" else "Deployment"
        assert selects(budget["selector"], BY_NAME[kind, name]["spec"]["template"]["metadata"]["labels"])


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod."""
    if not selector.get("matchLabels", {}).items() <= labels.items():
        return False
    return all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", []))


def egress_of(labels: dict[str, str]) -> set[int]:
    policies = [manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy"]
    rules = [rule for one in policies if selects(one["podSelector"], labels) for rule in one.get("egress", [])]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_pods_reach_what_they_need_and_nothing_else() -> None:
    """Everything is closed first; receivers reach brokers, workers ClickHouse as well."""
    closed = BY_NAME["NetworkPolicy", "nothing"]["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    reach = {one["metadata"]["name"]: egress_of(one["spec"]["template"]["metadata"]["labels"]) for one in WITH_PODS}
    assert reach["receiver"] == {53, 4222}
    assert reach["console"] == {53, 4222, 8080, 8123, 8443}, "8080: test events of the page"
    assert reach["alerts"] == {53, 80, 443, 465, 587, 4222, 8123, 8443}, "webhooks and mail, to public addresses"
    assert reach["migrate"] == reach["janitor"] == {53, 4222, 8123, 8443}
    assert all(reach[name] == {53, 4222, 8123, 8443} for name in SCALED)
    assert reach["nats"] == {53, 6222}
    assert reach["canary"] == {53, 8080, 8123, 8443}


def test_prometheus_may_ask_every_pod_and_knows_its_port() -> None:
    """The PodMonitor takes each kind of pod by its label, names a port it has, and the policies let it in."""
    monitor = BY_NAME["PodMonitor", "axonpush"]["spec"]
    asked = {one["port"] for one in monitor["podMetricsEndpoints"]}
    for manifest in OURS:
        labels = manifest["spec"]["template"]["metadata"]["labels"]
        if manifest["kind"] == "Job":
            continue
        assert selects(monitor["selector"], labels), title(manifest)
        (port,) = [port for port in container(manifest)["ports"] if port["name"] in asked]
        policies = [one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"]
        rules = [rule for one in policies if selects(one["podSelector"], labels) for rule in one.get("ingress", [])]
        scraped = {entry["port"] for rule in rules if is_from("monitoring", rule) for entry in rule["ports"]}
        assert port["containerPort"] in scraped, title(manifest)
    jobs = {one["targetLabel"] for end in monitor["podMetricsEndpoints"] for one in end["relabelings"]}
    assert jobs == {"job"}, "alarms select by it"


def is_from(namespace: str, rule: Manifest) -> bool:
    wanted = {"kubernetes.io/metadata.name": namespace}
    return any(one.get("namespaceSelector", {}).get("matchLabels") == wanted for one in rule["from"])


def test_brokers_start_with_what_they_are_given(tmp_path: Path) -> None:
    """The real nats-server takes cluster.conf with this environment; routes name every pod; budgets fit its disk."""
    values = {"metadata.name": "nats-0"}
    given: dict[str, str] = {}
    for one in container(BY_NAME["StatefulSet", "nats"])["env"]:
        source = one.get("valueFrom", {})
        text = values.get(source.get("fieldRef", {}).get("fieldPath", ""), "12e4" if source else one.get("value"))
        given[one["name"]] = re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], text)
    command = [binary(), "-c", ROOT / "ops/deploy/nats/cluster.conf", "-t"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"@(nats-\d)\.nats-cluster:6222", given["AXONPUSH_NATS_ROUTES"]) == ["nats-0", "nats-1", "nats-2"]
    room = int(given["AXONPUSH_NATS_MAX_FILE_STORE"].removesuffix("GB")) * GIB
    assert Budgets().total_bytes() <= room
    assert set(kustomization(ROOTS[1])["configMapGenerator"][0]["files"]) == {"cluster.conf", "accounts.conf"}


def test_the_example_changes_what_is_there() -> None:
    """Each patch of the overlay has a target; what it replaces is there, and what it adds is not."""
    overlay = kustomization(ROOTS[2])
    for entry in overlay["patches"]:
        kind, name = entry["target"]["kind"], entry["target"]["name"]
        targets = [one for (k, n), one in BY_NAME.items() if k == kind and re.fullmatch(name, n)]
        assert targets, name
        for change in yaml.safe_load(entry["patch"]):
            for target in targets:
                found: Any = target
                *parents, last = change["path"].strip("/").split("/")
                for part in parents:
                    assert part in found, change["path"]
                    found = found[part]
                assert (last in found) == (change["op"] == "replace"), change["path"]
    assert all((ROOTS[2] / name).exists() for name in overlay["resources"])
    images = {container(manifest)["image"] for manifest in OURS}
    assert {one["name"] for one in overlay["images"]} == images
