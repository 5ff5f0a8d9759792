"""CPU time of `audition --help`, against an empty Python program and against the limit of 0.15 s.

    python benchmarks/startup.py [--runs 20]

Prints the median of each command's CPU time (user + system) and their ratio. It also says which modules the command
imports that it should not need.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
from pathlib import Path

LIMIT_S = 0.15
HEAVY = ("numpy", "pydantic", "rich", "psutil", "regex", "xllamacpp", "asyncio")


def cpu_seconds(command: list[str]) -> float:
    """Return the user and system time of one run of a command."""
    if sys.platform == "win32":
        import psutil

        process = psutil.Popen(command, stdout=subprocess.DEVNULL)
        process.wait()
        times = process.cpu_times()
        return float(times.user + times.system)
    process_ = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process_.pid, 0)
    process_.returncode = os.waitstatus_to_exitcode(status)
    if process_.returncode:
        raise SystemExit(f"{command} ended with {process_.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    script = Path(sysconfig.get_path("scripts")) / ("audition.exe" if sys.platform == "win32" else "audition")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "audition --help": [str(script), "--help"],
        "audition bench --help": [str(script), "bench", "--help"],
    }
    medians = {}
    for name, command in commands.items():
        cpu_seconds(command)  # byte-compiles
        medians[name] = statistics.median(cpu_seconds(command) for _ in range(runs))
    floor = medians["python -c pass"]
    for name, value in medians.items():
        ratio = f"{value / floor:4.1f} x python   {value / LIMIT_S:5.0%} of the limit"
        print(f"{name:24} {1000 * value:6.1f} ms CPU   {ratio}")
    probe = f"import sys, audition.cli.main; print(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip()
    print(f"heavy modules imported at start: {loaded or 'none'}")


if __name__ == "__main__":
    main()
