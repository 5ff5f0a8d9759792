"""What the machine runs in and from: container, virtual machine, power."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from audition.bench.host.processor import has_hypervisor_flag
from audition.text import one_line

ROOT = Path("/")

# In the order in which they are looked for: a pod's container carries its runtime's marks too.
_GROUP_MARKS = {"kubepods": "kubernetes", "libpod": "podman", "docker": "docker", "lxc": "lxc"}
# Vendors and products that only virtual machines have. Amazon and Microsoft also make machines of metal.
_VIRTUAL = ("qemu", "kvm", "vmware", "virtualbox", "xen", "bochs", "parallels", "openstack", "google compute engine")
_VIRTUAL_PRODUCTS = ("virtual machine", "hvm domu")
_THREADING = ("OMP_", "GOMP_", "KMP_", "GGML_", "MKL_", "OPENBLAS_")


def container(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return what this process is contained in, or None when no mark of it is found.

    Returns:
        `kubernetes`, `podman`, `docker`, `lxc`, `wsl` or None.
    """
    if "KUBERNETES_SERVICE_HOST" in environ:
        return "kubernetes"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".dockerenv").exists():
        return "docker"
    group = _read(root / "proc/1/cgroup") + _read(root / "run/systemd/container")
    for mark, name in _GROUP_MARKS.items():
        if mark in group:
            return name
    return "wsl" if "microsoft" in _read(root / "proc/version").lower() else None


def machine_model(root: Path = ROOT) -> str | None:
    """Return the maker's name of the machine (`LENOVO 20XW`), never a serial number; None where it is not told."""
    names = [_read(root / "sys/class/dmi/id" / file).strip() for file in ("sys_vendor", "product_name")]
    return one_line(" ".join(names), 100).strip() or None


def virtual_machine(root: Path = ROOT) -> bool | None:
    """Return whether this is a virtual machine: what its maker's name or the processor's flag tells, or None."""
    model = (machine_model(root) or "").lower()
    if any(name in model for name in _VIRTUAL) or model.endswith(_VIRTUAL_PRODUCTS):
        return True
    return has_hypervisor_flag(root / "proc")


def battery() -> tuple[str | None, float | None]:
    """Return the power source (`mains`, `battery`) and the battery's charge in percent; None without a battery.

    A machine without a battery does not say where its power is from, so the source is None too.
    """
    import psutil

    if not hasattr(psutil, "sensors_battery"):
        return None, None
    state = psutil.sensors_battery()
    if state is None:
        return None, None
    source = None if state.power_plugged is None else "mains" if state.power_plugged else "battery"
    return source, round(float(state.percent), 1)


def load_average() -> list[float] | None:
    """Return the mean number of waiting and running processes over 1, 5 and 15 minutes; None on Windows."""
    if not hasattr(os, "getloadavg"):
        return None
    return [round(value, 2) for value in os.getloadavg()]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def threading() -> str | None:
    """Return the variables that tell engines how to use threads, such as `OMP_WAIT_POLICY=passive`; None without any.

    They reach the engines' processes, and change what is measured: with that one llama.cpp wrote a third as fast.
    """
    found = {name: value for name, value in os.environ.items() if name.upper().startswith(_THREADING)}
    return ", ".join(one_line(f"{name}={value}", 80) for name, value in sorted(found.items())) or None
