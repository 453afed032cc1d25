"""`<asset>__quality`: every picture is sharp, not blank, no repetition, and of one person where one was declared."""

from ryla_assets.checks.judged import judged_check

_TEXT = (
    "No picture is blank, noise, blurred (as a whole, or its face), of another size, the same as another, or of a "
    "wrong number of people. Exposure, softness and repeated takes are told."
)
checks = [
    judged_check(asset, "quality", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
