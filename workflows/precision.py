"""The precision in which latents are decoded.

Belongs here: the change of a finished graph alone. ComfyUI's own VAELoader takes no precision (its server has switches
for all graphs at once), so the graph gets the loader of KJNodes, which takes one.
"""

from typing import Any, Final

from workflows.graph import Prompt

LOADER: Final = "VAELoaderKJ"  # pack kijai/ComfyUI-KJNodes


def in_fp32(prompt: Prompt) -> Prompt:
    """The graph with every VAE in 32 bits: for a picture that came back black, as NaN in half precision does."""
    return {node_id: _changed(node) for node_id, node in prompt.items()}


def _changed(node: dict[str, Any]) -> dict[str, Any]:
    if node["class_type"] != "VAELoader":
        return node
    inputs = {**node["inputs"], "device": "main_device", "weight_dtype": "fp32"}
    return {**node, "class_type": LOADER, "inputs": inputs}
