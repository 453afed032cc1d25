"""The interpreter's one error, in the shape of ComfyUI's `execution_error` message."""

from __future__ import annotations


class ExecutionError(Exception):
    """A node failed. `as_dict()` has the keys that ComfyUI sends over its WebSocket."""

    def __init__(self, node_id: str, class_type: str, exception_type: str, message: str) -> None:
        super().__init__(f"node {node_id} ({class_type}): {message}")
        self.node_id, self.class_type = node_id, class_type
        self.exception_type, self.message = exception_type, message

    def as_dict(self) -> dict[str, str]:
        """The error as ComfyUI's `execution_error` data, without prompt id and traceback."""
        return {
            "node_id": self.node_id,
            "node_type": self.class_type,
            "exception_type": self.exception_type,
            "exception_message": self.message,
        }
