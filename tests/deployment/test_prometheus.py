"""The alerts: about figures that the service shows, tested as rules, and scraped from it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker/prometheus"
ALERTS = PROMETHEUS / "alerts.yaml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
]
SELECTOR = re.compile(r"\b(foldin_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
# What Prometheus adds to a series by itself.
ADDED = {"job", "instance", "le"}


def read(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker" / name).read_text())
    return parsed


def labels_by_series() -> dict[str, set[str]]:
    shown: dict[str, set[str]] = {}
    for metric in vars(Telemetry()).values():
        names = getattr(metric, "_labelnames", None)
        if names is None:
            continue
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for suffix in suffixes.get(metric._type, [""]):
            shown[metric._name + suffix] = set(names)
    return shown


def selectors() -> list[tuple[str, list[tuple[str, str]]]]:
    found = [match for rule in RULES for match in SELECTOR.finditer(rule["expr"])]
    return [(match[1], MATCHER.findall(match[2] or "")) for match in found]


def promtool(*arguments: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("nothing reads the rules: apt-get install prometheus")
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_figure_is_one_that_the_service_shows_with_these_labels() -> None:
    shown = labels_by_series()
    assert len(selectors()) >= 10
    for series, matchers in selectors():
        assert series in shown
        assert {label for label, _ in matchers} <= shown[series] | ADDED


def test_labels_are_compared_with_words_that_the_service_uses() -> None:
    code = "".join(path.read_text() for path in sorted((ROOT / "service").rglob("*.py")))
    asked = {
        word
        for _, matchers in selectors()
        for label, pattern in matchers
        if label not in ADDED | {"status"}
        for word in pattern.split("|")
    }
    assert {"queue", "refused", "popularity", "overloaded", "/recommend"} <= asked
    assert {word for word in asked if f'"{word}"' not in code} == set()


def test_every_alert_says_how_urgent_it_is_and_what_is_wrong() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 8
    for rule in alerts:
        assert rule["alert"].startswith("Foldin")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_every_alert_is_tested_to_keep_silent() -> None:
    tests = read("prometheus/alerts.test.yaml")["tests"]
    silent = {
        each["alertname"]
        for test in tests
        for each in test.get("alert_rule_test", [])
        if not each["exp_alerts"]
    }
    assert silent == {rule["alert"] for rule in RULES if "alert" in rule}


def test_the_configuration_is_one_that_prometheus_takes() -> None:
    promtool("check", "config", "prometheus.yaml")
    promtool("check", "rules", "alerts.yaml")


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    promtool("test", "rules", "alerts.test.yaml")


@pytest.mark.parametrize("file", ["compose.yaml", "compose.scale.yaml"])
def test_every_replica_is_scraped_by_the_name_that_they_share(file: str) -> None:
    (job,) = read("prometheus/prometheus.yaml")["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    (name,) = found["names"]
    services = read(file)["services"]
    watching = read("compose.observability.yaml")["services"]["prometheus"]
    assert set(watching["networks"]) & set(services[name]["networks"])
    assert f"EXPOSE {found['port']}" in (ROOT / "Dockerfile").read_text()
    assert f'job="{job["job_name"]}"' in ALERTS.read_text()


def test_prometheus_reads_the_files_where_they_are_mounted() -> None:
    service = read("compose.observability.yaml")["services"]["prometheus"]
    (mount,) = [volume for volume in service["volumes"] if volume.startswith("./prometheus:")]
    place = mount.split(":")[1]
    assert f"--config.file={place}/prometheus.yaml" in service["command"]
    assert read("prometheus/prometheus.yaml")["rule_files"] == [ALERTS.name]
