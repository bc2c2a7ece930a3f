"""Average D(x) with the mirrored D of the mirrored x at every step."""

from dataclasses import dataclass
from typing import ClassVar

from bench.protocols.method import Guided, Task, Traits, timestep
from toy_plugin.arithmetic import between


@dataclass(frozen=True)
class Method:
    """Return (1 - share / 2) D(x) + share / 2 mirror(D(mirror(x)))."""

    traits: ClassVar[Traits] = Traits("none", "sampling", calls=2, neutral={"share": 0.0})
    share: float = 1.0

    def build(self, task: Task, seed: int) -> Guided:
        def denoise(x, t, batch):
            now = timestep(t, len(x), x.device)
            plain = task.model.denoise(x, now, batch.condition)
            mirrored = task.model.denoise(x.flip(-1), now, batch.condition).flip(-1)
            return between(plain, mirrored, self.share)

        return Guided(denoise)
