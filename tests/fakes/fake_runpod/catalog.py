"""GPU types that the fake account can rent.

Belongs here: names, pools, serverless prices (# runpod facts 6 [doc], 2.2 pools). Pod prices are invented: no document
lists them, so nothing may rely on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CUDA = ("12.6", "12.8", "13.0")
DATA_CENTERS = {"EU-RO-1": "EU Romania 1", "US-KS-2": "US Kansas 2", "US-CA-2": "US California 2"}


@dataclass(frozen=True)
class Gpu:
    """One GPU type; pod prices in USD an hour, serverless in USD a second."""

    id: str
    name: str
    pool: str
    memory_gb: int
    secure: float
    community: float
    serverless_s: float

    def as_dict(self, level: str | None, *, cuda: bool = True) -> dict[str, Any]:
        """Its entry in GET /catalog/gpus; `level` is its availability where that is asked for."""
        entry: dict[str, Any] = {
            "id": self.id, "name": self.name, "pool": self.pool, "manufacturer": "NVIDIA", "memory": self.memory_gb,
            "secure": True, "community": True,
            "price": {
                "secure": self.secure, "community": self.community, "serverless": round(self.serverless_s * 3600, 4),
            },
            "maxCount": {"secure": 8, "community": 4},
        }  # fmt: skip
        if level is not None:
            entry["availability"] = level
            entry["dataCenters"] = [
                {"id": key, "name": name, "availability": level} for key, name in DATA_CENTERS.items()
            ]
            if cuda:
                entry["cudaVersions"] = [{"version": version, "available": level != "NONE"} for version in CUDA]
        return entry


GPUS = {
    gpu.id: gpu
    for gpu in (
        Gpu("NVIDIA L4", "L4", "AMPERE_24", 24, 0.43, 0.39, 0.00019),
        Gpu("NVIDIA GeForce RTX 3090", "RTX 3090", "AMPERE_24", 24, 0.46, 0.22, 0.00019),
        Gpu("NVIDIA GeForce RTX 4090", "RTX 4090", "ADA_24", 24, 0.69, 0.34, 0.00031),
        Gpu("NVIDIA A40", "A40", "AMPERE_48", 48, 0.44, 0.40, 0.00034),
        Gpu("NVIDIA RTX A6000", "RTX A6000", "AMPERE_48", 48, 0.49, 0.33, 0.00034),
        Gpu("NVIDIA L40", "L40", "ADA_48_PRO", 48, 0.99, 0.69, 0.00053),
        Gpu("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", "ADA_48_PRO", 48, 0.77, 0.74, 0.00053),
        Gpu("NVIDIA L40S", "L40S", "ADA_48_PRO", 48, 0.86, 0.79, 0.00053),
        Gpu("NVIDIA A100 80GB PCIe", "A100 PCIe", "AMPERE_80", 80, 1.64, 1.19, 0.00076),
        Gpu("NVIDIA H100 80GB HBM3", "H100 SXM", "ADA_80_PRO", 80, 2.99, 2.69, 0.00116),
        Gpu("NVIDIA H200", "H200 SXM", "HOPPER_141", 141, 3.99, 3.59, 0.00155),
    )
}
