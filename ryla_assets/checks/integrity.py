"""`<asset>__integrity`: every picture is there, readable, of its size, the pixels that were recorded, and not blank."""

from ryla_assets.checks.judged import judged_check

_TEXT = "All pictures are stored, readable, of the size asked for, unchanged, not blank and not twice the same."
checks = [
    judged_check(asset, "integrity", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
