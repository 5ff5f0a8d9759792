"""What the processes of engines get of this program's environment: an allow-list, without keys, tokens and proxies."""

from __future__ import annotations

import os

ALLOWED = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "TEMP", "TMP", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC", "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE"),
        *("PROGRAMDATA", "VIRTUAL_ENV", "AUDITION_HOME"),
    }
)
PREFIXES = (
    "LC_",
    "CUDA_",
    "NVIDIA_",
    "HIP_",
    "ROCR_",
    "HSA_",
    "VK_",
    "GGML_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "OPENBLAS_",
)


def child_environment() -> dict[str, str]:
    """Return what a child process gets of this environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in ALLOWED or name.upper().startswith(PREFIXES)
    }
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
