"""`<asset>__timing`: execution time against the plan's targets; told, never blocking.

Queue, cold start and overhead are metadata beside it. On the preview backend the numbers are reported as not evidence.
"""

from ryla_assets.checks.judged import judged_check

_TEXT = "Execution time against the target (base images 30 s, sheet 5 min, training 45 min, image 15 s)."
checks = [
    judged_check(asset, "timing", blocking=False, description=_TEXT)
    for asset in ("base_images", "character_sheet", "lora_weights", "generated_images")
]
