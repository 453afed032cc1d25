"""What an event still asks for: sensors start work only where its effect is missing.

Events are causes and stay for ever; a character that was made by hand, by the demo or by an earlier deployment has the
effects already. One query an event, so a tick stays O(new).
"""

from __future__ import annotations

from ryla_assets.domain.images import ImageSet, TrainingTicket
from ryla_assets.studio.review import is_review
from ryla_assets.studio.studio import Studio


def wants_base_images(studio: Studio, character: str) -> bool:
    """True until the character has base images of any take."""
    return studio.registry.head("base_images", character) is None


def wants_pick(studio: Studio, character: str, manifest_sha256: str) -> bool:
    """True if the policy may pick for this character and nobody picked from these base images."""
    if not studio.registry.character(character).auto_select:
        return False
    picked = studio.registry.selection(character)
    return picked is None or picked.manifest_sha256 != manifest_sha256


def wants_sheet(studio: Studio, character: str) -> bool:
    """True unless the current sheet, accepted or refused, was drawn from the current pick.

    A refused sheet is made anew on purpose only, never by a sensor; a model's base image waits for a person's review.
    """
    picked = studio.registry.selection(character)
    if studio.render_domain == "model" and not is_review(picked):
        return False
    sheet = studio.registry.head("character_sheet", character)
    if picked is None or sheet is None:
        return picked is not None
    drawn = studio.manifest(sheet.current_sha256)
    request = studio.registry.request(drawn.request_id)
    return not isinstance(drawn, ImageSet) or request is None or request.body.get("reference") != picked.image_sha256


def wants_training(studio: Studio, character: str, sheet_sha256: str) -> bool:
    """True unless a training was started on a dataset of this sheet."""
    ticket = studio.current("lora_training", character)
    if not isinstance(ticket, TrainingTicket):
        return True
    return sheet_sha256 not in studio.manifest(ticket.parents[0]).parents
