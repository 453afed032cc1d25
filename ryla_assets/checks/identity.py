"""`<asset>__identity`: the declared shots show the character, by a fixed distance and the gate of the route."""

from ryla_assets.checks.judged import judged_check

_TEXT = (
    "Consistency = verified / requested over the shots declared face-scorable before generation, "
    "at a fixed threshold per render domain (gates: sheet 90 %, face swap 80 %, LoRA 95 %)."
)
checks = [
    judged_check(asset, "identity", blocking=True, description=_TEXT)
    for asset in ("character_sheet", "generated_images")
]
