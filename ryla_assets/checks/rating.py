"""`<asset>__rating`: what is rated sfw is that, by a classifier; without one, a warning says "not judged"."""

from ryla_assets.checks.judged import judged_check

_TEXT = "No picture of a set rated sfw is scored as explicit by the installed classifier; nsfw sets are not judged."
checks = [
    judged_check(asset, "rating", blocking=True, description=_TEXT)
    for asset in ("base_images", "selected_base_image", "character_sheet", "generated_images")
]
