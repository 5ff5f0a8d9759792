"""Containers, virtual machines and power, each by the marks that they leave."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from audition.bench.host import surroundings


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("files", "environ", "expected"),
    [
        ({}, {}, None),
        ({".dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"run/.containerenv": ""}, {}, "podman"),
        ({".dockerenv": ""}, {}, "docker"),
        ({"proc/1/cgroup": "0::/kubepods/besteffort/pod1/docker-2"}, {}, "kubernetes"),
        ({"proc/1/cgroup": "12:memory:/docker/4711"}, {}, "docker"),
        ({"run/systemd/container": "lxc"}, {}, "lxc"),
        ({"proc/version": "Linux version 5.15.90.1-Microsoft-standard-WSL2"}, {}, "wsl"),
        ({"proc/version": "Linux version 6.8", "proc/1/cgroup": "0::/init.scope"}, {}, None),
    ],
)
def test_containers(files: dict[str, str], environ: dict[str, str], expected: str | None, tmp_path: Path) -> None:
    assert surroundings.container(write(tmp_path, files), environ) == expected


@pytest.mark.parametrize(
    ("vendor", "product", "flags", "expected"),
    [
        ("QEMU", "Standard PC (Q35)", None, True),
        ("Microsoft Corporation", "Virtual Machine", None, True),
        ("Microsoft Corporation", "Surface Laptop 5", "fpu avx2", False),
        ("Amazon EC2", "m5.metal", "fpu avx2", False),
        ("Amazon EC2", "m5.large", "fpu avx2 hypervisor", True),
        ("LENOVO", "20XW", None, None),
        (None, None, "fpu hypervisor", True),
        (None, None, None, None),
    ],
)
def test_virtual_machines(
    vendor: str | None, product: str | None, flags: str | None, expected: bool | None, tmp_path: Path
) -> None:
    if vendor and product:
        write(tmp_path, {"sys/class/dmi/id/sys_vendor": vendor, "sys/class/dmi/id/product_name": product})
    if flags:
        write(tmp_path, {"proc/cpuinfo": f"flags : {flags}"})
    assert surroundings.virtual_machine(tmp_path) is expected
    assert surroundings.machine_model(tmp_path) == (f"{vendor} {product}" if vendor else None)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, (None, None)),
        (SimpleNamespace(power_plugged=True, percent=99.94), ("mains", 99.9)),
        (SimpleNamespace(power_plugged=False, percent=40), ("battery", 40.0)),
        (SimpleNamespace(power_plugged=None, percent=40), (None, 40.0)),
    ],
)
def test_power(state: object, expected: tuple[str | None, float | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: state, raising=False)
    assert surroundings.battery() == expected


def test_a_system_without_the_sensor_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "sensors_battery", raising=False)
    assert surroundings.battery() == (None, None)


def test_variables_about_threads_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(surroundings._THREADING)]:
        monkeypatch.delenv(name)
    assert surroundings.threading() is None
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setenv("GGML_X", "1\n2" + "3" * 200)
    monkeypatch.setenv("SECRET_KEY", "no")
    told = surroundings.threading() or ""
    assert told.endswith("OMP_WAIT_POLICY=passive") and told.startswith("GGML_X=1 2")
    assert "SECRET" not in told and len(told) < 120
