"""One thing wrong with a graph.

Belongs here: the record alone. Who finds it is `schema`; a parameter that no graph can be built from is an error
(`workflows.errors`), not a problem.
"""

from dataclasses import dataclass
from typing import Final

# What a real server runs without a word (tried on 0.13.0 and 0.18.1), and what therefore only we can tell.
SILENT_TYPES: Final = frozenset(
    {
        "integer_node_id",
        "literal_in_socket",
        "lora_of_another_base",
        "seed_not_portable",
        "unknown_input",
        "unreachable_node",
        "value_coerced",
        "value_off_step",
    }
)


@dataclass(frozen=True, slots=True)
class Problem:
    """`type`, `message` and `details` as ComfyUI words them; the place is None where the whole prompt is meant."""

    type: str
    message: str
    details: str
    node_id: str | None = None
    class_type: str | None = None
    input_name: str | None = None

    @property
    def silent(self) -> bool:
        """True if a real server would take the graph all the same."""
        return self.type in SILENT_TYPES

    def __str__(self) -> str:
        place = f"{self.class_type} #{self.node_id}: " if self.node_id is not None else ""
        return f"{place}{self.message}" + (f" ({self.details})" if self.details else "")
