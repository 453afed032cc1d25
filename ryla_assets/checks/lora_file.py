"""`lora_weights__lora_file`: the stored file is a complete, finite LoRA for its base model at the requested step."""

from ryla_assets.checks.judged import judged_check

checks = [
    judged_check(
        "lora_weights",
        "lora_file",
        blocking=True,
        description="The stored file parses, is finite, fits its base model, and was trained to the requested step.",
    )
]
