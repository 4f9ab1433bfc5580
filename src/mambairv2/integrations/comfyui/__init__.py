"""Nodes for ComfyUI. This folder can be put into its `custom_nodes`, where it uses the installed mambairv2.

`python -m mambairv2.integrations.comfyui PATH/TO/ComfyUI` does that.
"""

from mambairv2.integrations.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
