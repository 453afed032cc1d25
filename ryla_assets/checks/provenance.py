"""`<asset>__provenance`: every stored picture carries the mark of its making, re-read from the stored bytes.

Its content credentials, where it has them, say the same and are whole.
"""

from ryla_assets.checks.judged import judged_check

_TEXT = "Every stored picture says by IPTC DigitalSourceType what made it, shows nothing else, and is signed where due."
checks = [
    judged_check(asset, "provenance", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
