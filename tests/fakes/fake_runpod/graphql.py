"""The one GraphQL question that is left: the account's balance.  # runpod facts 2.3 [code runpodctl] [doc]"""

from __future__ import annotations

from tests.fakes.fake_runpod.http import Reply, Request
from tests.fakes.fake_runpod.world import World


def balance(world: World, request: Request) -> Reply:
    """Answer `query { myself { clientBalance currentSpendPerHr spendLimit } }`, key by header or ?api_key=."""
    key = world.config.api_key
    if request.key != key and request.query.get("api_key") != key:
        return Reply({"error": "unauthorized"}, 401)
    body = request.json() if request.data else {}
    if not isinstance(body, dict) or "myself" not in str(body.get("query", "")):
        return Reply({"errors": [{"message": "the fake answers myself only"}]}, 400)
    facts = {
        "clientBalance": money(world),
        "currentSpendPerHr": world.bill.per_hour(),
        "spendLimit": world.config.spend_limit_usd,
    }
    return Reply({"data": {"myself": {name: value for name, value in facts.items() if name in body["query"]}}})


def money(world: World) -> float:
    """What is left on the account."""
    return world.config.balance_usd - world.bill.total()
