"""Small configurations of countmix, with odd sizes."""

from __future__ import annotations

from contract.configurations.shared import V

from weightless.models import countmix

CASES = {
    "all": countmix.Config(V, 19, stored_mb=1.0),
    "one_of_each": countmix.Config(V, 33, ("o1",), ("o2",), ("o1",), ("depth",), stored_mb=0.4, followers=1),
    "window_alone": countmix.Config(V, 31, (), (), ("o2", "w0", "t13"), ("node", "input"), stored_mb=0.3, followers=9),
    "no_window": countmix.Config(
        V, 17, ("t2", "w1", "o2"), ("o3", "w01+o1"), (), ("confidence", "token"), stored_mb=1.0, held_out=0
    ),
}
