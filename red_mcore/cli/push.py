"""Upload an export to the Hugging Face hub, with its model card and provenance.

    red-mcore push runs/NAME/export OWNER/NAME [--public]

The token is that of 'hf auth login' or HF_TOKEN. A run does the same at its end with
hub={name: OWNER/NAME}.
"""

# Runs push in a process of their own (``hub.push_apart``), which needs a main in that room.
from red_mcore.convert.hub import main

__all__ = ["main"]
