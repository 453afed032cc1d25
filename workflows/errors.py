"""Every error the workflows raise, as one tree.

Belongs here: what is wrong with a graph's parameters, a LoRA file or a worker's message. What is wrong with a finished
graph is not an error but a list of `workflows.schema.Problem`; errors of running one live in `resources.gpu.errors`.

    WorkflowError            a parameter of a builder cannot be met      (never retried)
    ├── LoraFileError        a LoRA file is damaged, untrained or for another base model
    └── WireError            a request, result or failure is not what pipeline and worker agreed on
"""


class WorkflowError(Exception):
    """A workflow cannot be built or used as asked: what is wrong, where, and what to do about it."""

    code = "workflow"
    exit_code = 2

    def __init__(self, message: str, *, field: str = "", value: object = None, way_out: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.value = value
        self.way_out = way_out

    def __str__(self) -> str:
        place = f"{self.field}: " if self.field else ""
        cure = f" {self.way_out}" if self.way_out else ""
        return f"{place}{self.message}{cure}"

    def as_dict(self) -> dict[str, object]:
        """The error as `--json` and the HTTP app show it."""
        shown = None if self.value is None else str(self.value)
        return {
            "code": self.code,
            "field": self.field,
            "value": shown,
            "message": self.message,
            "way_out": self.way_out,
        }


class LoraFileError(WorkflowError):
    """A LoRA file is damaged, untrained, or trained for another base model."""

    code = "lora_file"
    exit_code = 1


class WireError(WorkflowError):
    """A message between pipeline and worker breaks their contract. It never holds a URL, which may be a secret."""

    code = "wire"
    exit_code = 1
