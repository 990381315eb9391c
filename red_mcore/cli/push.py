"""Upload an export to the Hugging Face hub, with its model card and provenance.

    python tools/push.py runs/NAME/export OWNER/NAME [--public]

The token is that of 'hf auth login' or HF_TOKEN. A run does the same at its end with hub={name: OWNER/NAME}.
"""
