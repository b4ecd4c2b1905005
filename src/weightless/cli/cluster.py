"""What a verb that launches units asks a cluster for: the flags of `launch` and `study`, checked and handed on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightless.base.errors import ConfigError

if TYPE_CHECKING:
    from weightless.lab.launchers import Resources


@dataclass(frozen=True, kw_only=True)
class OnCluster:
    """Where units run and what each of them may take."""

    how: str = "local"
    """local (processes), slurm (jobs, by submitit), or ray (tasks)."""
    cpus: int = 1
    """Cores per unit (slurm, ray)."""
    mem_gb: float = 4.0
    """Memory per unit, in GB (slurm)."""
    minutes: int = 240
    """Time limit per unit, in minutes (slurm)."""
    partition: str = ""
    """Slurm's partition."""
    cluster: str = ""
    """submitit's kind of cluster: slurm; local or debug try it out without Slurm."""
    address: str = ""
    """Of a running Ray cluster (auto finds it); empty starts one on this machine."""

    def resources(self) -> Resources:
        """The same for `lab.launch`; ConfigError for amounts that nothing can run with."""
        from weightless.lab.launchers import Resources

        if self.cpus < 1 or self.minutes < 1 or not 0 < self.mem_gb < math.inf:
            raise ConfigError("--cpus and --minutes are at least 1, and --mem_gb is a number above 0")
        return Resources(self.cpus, self.mem_gb, self.minutes, self.partition, self.cluster, self.address)
