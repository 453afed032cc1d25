"""`<asset>__provenance`: every stored picture carries the mark of its making, re-read from the stored bytes.

Its content credentials, where it has them, say the same and are whole.
"""

from ryla_assets.checks.judged import judged_check

_TEXT = "Every stored picture carries the IPTC DigitalSourceType of what made it, in XMP; what is signed is unchanged."
checks = [
    judged_check(asset, "provenance", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
