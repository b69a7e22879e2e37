"""What a result says of the machine it was measured on."""

import os
import platform
from pathlib import Path

_FLAGS = frozenset(
    (
        "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni",
        "amx_tile", "amx_int8", "amx_bf16", "neon", "asimd", "asimddp", "bf16", "i8mm", "sve",
    )
)  # fmt: skip
"""Those that decide which kernels run."""


def machine() -> dict[str, object]:
    """Processor, cores, the flags that matter, memory in GB and load; no name of its own."""
    info = _cpuinfo()
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "flags": flags(),
        "memory_gb": _memory_gb(),
        "system": platform.system(),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def flags() -> list[str]:
    """The processor's flags that matter."""
    info = _cpuinfo()
    return sorted(_FLAGS & set((info.get("flags") or info.get("Features") or "").split()))


def _cpuinfo() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    rows = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in rows}


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
