"""What this machine computes on, as far as compiled code depends on it. The only place that asks the hardware."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

# those by which the libraries choose their kernels
VECTOR_FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "avx_vnni",
    "avx_vnni_int8",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
)
CPU_INFO = Path("/proc/cpuinfo")
NVIDIA = Path("/proc/driver/nvidia")


@cache
def cpu() -> str:
    """The processor's name and those of VECTOR_FLAGS that it has; without /proc what Python knows of it."""
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.processor() or 'CPU'} {platform.machine()}"
    return described(text)


def gpus(folder: Path = NVIDIA, environment: Mapping[str, str] = os.environ) -> str:
    """NVIDIA's driver, its GPUs and which of them this process may see, as far as files tell it; empty without any."""
    files = [folder / "version", *sorted(folder.glob("gpus/*/information"))]
    texts = [path.read_text(errors="replace") for path in files if path.is_file()]
    return "\n".join([*texts, environment.get("CUDA_VISIBLE_DEVICES", "")]).strip()


def described(cpu_info: str) -> str:
    """The same out of the text of /proc/cpuinfo, of the first processor in it."""
    fields: dict[str, str] = {}
    for line in cpu_info.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip().lower()] = value.strip()
    has = set(fields.get("flags", fields.get("features", "")).split())
    name = fields.get("model name") or f"{platform.machine()} part {fields.get('cpu part', 'unknown')}"
    return " ".join((name, *(flag for flag in VECTOR_FLAGS if flag in has)))
