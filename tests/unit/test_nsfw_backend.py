"""The third consent: what is rated nsfw goes to machines that the deployment runs itself, or nowhere."""

from collections.abc import Callable

import pytest

from ryla_assets.domain.errors import Refused
from ryla_assets.registry.records import Character
from ryla_assets.studio.content import ContentRequest, ask
from ryla_assets.studio.studio import Studio
from tests.fakes.scripted_backend import ScriptedBackend

WHO = "mara-lind"


@pytest.mark.parametrize("self_run", [True, False])
def test_backend_of_others_is_refused(
    open_studio: Callable[..., Studio], make_character: Callable[..., Character], self_run: bool
) -> None:
    """The backend says whose machines it uses; the other two consents are given here."""
    backend = ScriptedBackend()
    backend.self_run = self_run
    studio = open_studio(nsfw_allowed=True, parts={"backend": backend})
    make_character(studio, WHO, nsfw_enabled=True)
    wanted = ContentRequest(rating="nsfw")
    if self_run:
        assert ask(studio, WHO, wanted).state == "pending"
        return
    with pytest.raises(Refused, match="a self-run backend"):
        ask(studio, WHO, wanted)
    assert studio.registry.requests(WHO, "generated_images") == []
