"""How the runpod backend is put together from what a deployment sets.

Belongs here: which parts belong together. What each does is theirs; reading the environment is `ryla_assets.settings`'.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, cast

from resources.gpu.backends.runpod.backend import Endpoints, RunPodBackend
from resources.gpu.backends.runpod.contract import Contract
from resources.gpu.backends.runpod.diagnosis import Diagnoser
from resources.gpu.backends.runpod.downloads import is_loopback
from resources.gpu.backends.runpod.health import Health
from resources.gpu.backends.runpod.money import IDLE_TIMEOUT_S, Terms
from resources.gpu.backends.runpod.official import OfficialContract
from resources.gpu.backends.runpod.ours import OurContract
from resources.gpu.backends.runpod.pod_launch import PodSettings
from resources.gpu.backends.runpod.pod_memory import PodMemory
from resources.gpu.backends.runpod.pods import Pods
from resources.gpu.backends.runpod.service import Service, shared
from resources.gpu.backends.runpod.with_pods import RunPodWithPods
from resources.gpu.policy import Policy
from resources.gpu.prices import Prices, listed
from resources.runpod_control import ControlClient
from resources.storage import SigningStore, Store


def assembled(
    *,
    jobs_url: str,
    control_url: str,
    graphql_url: str,
    key: str,
    endpoints: Endpoints,
    store: SigningStore | None,
    engine: Literal["comfyui", "preview"],
    policy: Policy | None = None,
    prices: Prices | None = None,
    service: Service | None = None,
    training_image: str = "",
) -> RunPodBackend:
    """The backend; with `store` for our own worker image, without one for worker-comfyui's.

    With `training_image` (and a store) LoRAs are trained on pods of that image, else on the training endpoint.

    Raises ValueError for a URL, a key or an id that is none. Nothing is contacted.
    """
    service = service or shared(jobs_url, key)
    contract: Contract = OurContract(store, engine) if store else OfficialContract(inside=is_loopback(jobs_url))
    control = service.keep(
        f"control {control_url} {graphql_url}", lambda: ControlClient(control_url, key, graphql_url=graphql_url)
    )
    prices = prices or listed()

    health = service.keep("health", lambda: Health(service))

    async def waiting(endpoint_id: str) -> int | None:
        return (await health.counts(endpoint_id))[1].get("inQueue")

    def list_usd_h(gpu: str) -> float | None:
        rate = prices.rate([gpu])
        return rate.usd_per_s * 3600 if rate.known else None

    async def terms(endpoint_id: str) -> Terms:
        found = await control.endpoint(endpoint_id)
        rate = prices.rate(found.pools, gpus=found.gpu_count)
        return Terms(rate.usd_per_s, found.idle_timeout_s if found.idle_timeout_s is not None else IDLE_TIMEOUT_S)

    make: Callable[..., RunPodBackend] = RunPodBackend
    if isinstance(contract, OurContract):  # also without an image: pods that were created before are followed
        settings = PodSettings(training_image)
        dearest = max(prices.rate([gpu]).usd_per_s for gpu in settings.gpu_types)
        memory = service.keep(f"pods {control_url}", PodMemory)
        pods = Pods(control, contract, settings, memory=memory, list_usd_h=list_usd_h)
        make = partial(RunPodWithPods, pods=pods, trains_on_pods=bool(training_image), pod_usd_per_s=dearest)
    diagnoser = service.keep(f"diagnoser {control_url}", lambda: Diagnoser(control, jobs_waiting=waiting))
    return make(
        service=service,
        endpoints=endpoints,
        contract=contract,
        engine=engine,
        policy=policy or Policy(),
        terms=terms,
        diagnoser=diagnoser,
    )


def signing(store: Store) -> SigningStore | None:
    """The store if far workers can reach it by presigned URLs, else None."""
    return cast("SigningStore", store) if hasattr(store, "sign_result") else None
