"""`lora_dataset__dataset`: enough pictures, each stored and captioned, none twice."""

from ryla_assets.checks.judged import judged_check

checks = [
    judged_check(
        "lora_dataset",
        "dataset",
        blocking=True,
        description="Enough pictures, all stored, none twice, each caption carries the trigger token.",
    )
]
