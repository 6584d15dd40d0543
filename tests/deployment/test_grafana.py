"""The Grafana board: drawn from figures that the service shows, in PromQL that parses."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.telemetry import Telemetry

DOCKER = Path(__file__).parents[2] / "docker"
GRAFANA = DOCKER / "grafana"
BOARD: dict[str, Any] = json.loads((GRAFANA / "boards/foldin.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]
COLUMNS = 24


def provisioned(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((GRAFANA / "provisioning" / name).read_text())
    return parsed


def expressions() -> list[str]:
    asked = [target["expr"] for panel in DRAWN for target in panel["targets"]]
    return [*asked, *(note["expr"] for note in BOARD["annotations"]["list"])]


def recorded() -> set[str]:
    groups = yaml.safe_load((DOCKER / "prometheus/alerts.yaml").read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def shown_by_the_service() -> set[str]:
    names = re.findall(r"^# TYPE (\w+) (\w+)$", Telemetry().exposition().decode(), re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in names for suffix in suffixes.get(kind, ("",))}


def test_every_figure_is_one_that_is_shown_or_recorded() -> None:
    asked = {name for each in expressions() for name in re.findall(r"\bfoldin[_:][\w:]+", each)}
    assert asked <= shown_by_the_service() | recorded()
    assert recorded() <= asked  # what is recorded is looked at


def test_every_expression_is_promql(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("nothing reads PromQL: apt-get install prometheus")
    rules = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "1m")}
        for number, each in enumerate(expressions())
    ]
    path = tmp_path / "panels.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = ["promtool", "check", "rules", "--lint=none", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_asks_the_prometheus_that_is_provisioned() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    uids = {part["datasource"]["uid"] for panel in DRAWN for part in (panel, *panel["targets"])}
    assert uids == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_the_board_is_found_where_the_file_is_mounted() -> None:
    (provider,) = provisioned("dashboards/foldin.yaml")["providers"]
    compose = yaml.safe_load((DOCKER / "compose.observability.yaml").read_text())
    grafana = compose["services"]["grafana"]
    (mount,) = [volume for volume in grafana["volumes"] if volume.startswith("./grafana:")]
    place = mount.split(":")[1]
    assert provider["options"]["path"] == f"{place}/boards"
    assert grafana["environment"]["GF_PATHS_PROVISIONING"] == f"{place}/provisioning"
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{place}/boards/foldin.json"
    assert "prometheus" in compose["services"]


def test_every_panel_says_what_it_shows_in_which_unit() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"] and panel["targets"] for panel in DRAWN)
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in DRAWN)


def test_no_panel_lies_upon_another() -> None:
    squares = {
        panel["title"]: {
            (panel["gridPos"]["x"] + right, panel["gridPos"]["y"] + down)
            for right in range(panel["gridPos"]["w"])
            for down in range(panel["gridPos"]["h"])
        }
        for panel in PANELS
    }
    assert max(x for taken in squares.values() for x, _ in taken) < COLUMNS
    assert [pair for pair in combinations(squares, 2) if squares[pair[0]] & squares[pair[1]]] == []
