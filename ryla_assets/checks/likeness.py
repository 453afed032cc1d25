"""`<asset>__evidence`, `__drift`, `__distinct`: what faces say beside the gate; told, never blocking.

On a preview the numbers are reported as not evidence: they say how drawn faces behave.
"""

from ryla_assets.checks.judged import judged_check

_EVIDENCE = (
    "What the last 200 declared pictures of the character and route prove, refused sets and rejected takes included: "
    "the one-sided 95 % lower bound of verified / requested reaches the route's gate (52 of 52 prove 95 %, 8 of 8 75)."
)
_DRIFT = "The mean distance to the template moved by at most 0.10 from that of the character's earlier pictures."
_DISTINCT = "No other character's template is nearer than 0.50; the nearest is named. Model renders only."
checks = [
    judged_check("generated_images", "evidence", blocking=False, description=_EVIDENCE),
    judged_check("generated_images", "drift", blocking=False, description=_DRIFT),
    judged_check("selected_base_image", "distinct", blocking=False, description=_DISTINCT),
    judged_check("character_sheet", "distinct", blocking=False, description=_DISTINCT),
]
