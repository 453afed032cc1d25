"""`<asset>__provenance`: every stored picture carries the mark of its making, re-read from the stored bytes."""

from ryla_assets.checks.judged import judged_check

_TEXT = "Every stored picture carries the IPTC DigitalSourceType of what made it, in XMP."
checks = [
    judged_check(asset, "provenance", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
