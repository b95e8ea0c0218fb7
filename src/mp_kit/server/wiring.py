"""The composition root: settings in, a ``House`` out. Nothing else reads settings or builds these parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mp_kit.contracts import ConnectionName
from mp_kit.server import clock, leftovers, redaction, strength
from mp_kit.server.house import House
from mp_kit.server.master_keys import kept_now
from mp_kit.server.providers.addresses import AddressGuard
from mp_kit.server.providers.base import Provider
from mp_kit.server.providers.byoc import ByocProvider, Heard
from mp_kit.server.providers.github import CALLBACK, GitHub
from mp_kit.server.providers.hosting import Host, Place
from mp_kit.server.providers.inference import Asker
from mp_kit.server.providers.local import LocalProvider
from mp_kit.server.providers.local_hosting import LocalHost
from mp_kit.server.providers.mail import Mailer
from mp_kit.server.providers.probes import Probes
from mp_kit.server.providers.runpod import RunPodProvider
from mp_kit.server.providers.runpod_hosting import RunPodHost
from mp_kit.server.providers.runpod_pod_hosting import PodHost
from mp_kit.server.providers.webhook_post import Poster
from mp_kit.server.services import connections, runs_environment
from mp_kit.server.services.doors import Doors
from mp_kit.server.services.limits import Limiter
from mp_kit.server.services.poll_calls import Budget, Terms
from mp_kit.server.services.poller import Poller
from mp_kit.server.services.tokens import TokenBook
from mp_kit.server.settings import SECRETS_FILE, Settings, is_embedded, load
from mp_kit.server.storage import open_store
from mp_kit.server.store.engine import Database
from mp_kit.server.store.limits import Buckets
from mp_kit.server.store.scope import EDGE_ROLE, of_vendor, within
from mp_kit.server.telemetry import logs, traces
from mp_kit.server.vault import Vault
from mp_kit.signing import Signer


def build_edge(settings: Settings) -> House:
    """Builds the house of the edge and the console: its transactions see what their scope names, and nothing else."""
    return build(replace(settings, database_url=settings.edge_database_url or settings.database_url), role=EDGE_ROLE)


def build(settings: Settings, *, role: str | None = None) -> House:
    """Builds a house from settings: the operator's, unless a role is named that its transactions act as."""
    _hide_secrets(settings)
    store = open_store(settings.store_url, base_url=settings.base_url, url_key=settings.url_key, env=settings.store_env)
    providers: dict[str, Provider] = {}
    if settings.allow_local:
        providers["local"] = LocalProvider(settings.home / "runs")
    tracing = traces.make(settings.otel_endpoint)
    around = tracing.transaction if tracing else nullcontext
    db = Database(settings.database_url, pool_size=settings.edge_threads, role=role, around=around)
    providers["byoc"] = ByocProvider(_ears(db))
    vault = _vault(settings)
    signer = Signer(settings.signing_seed_bytes)
    runpod = _runpod(settings, signer, runpod_keys(db, vault))
    if settings.allow_runpod:
        providers["runpod"] = runpod
    prefix = f"mp-{signer.key_id[:8].lower()}"
    hosts: dict[Place, Host] = {}
    if settings.allow_local:
        hosts["local", "process"] = LocalHost(settings.home / "deployments", _mark())
    endpoints, pods = _runpod_hosts(settings, prefix, runpod_keys(db, vault))
    if settings.allow_runpod:
        hosts |= {("runpod", "endpoint"): endpoints, ("runpod", "pod"): pods}
    limiter = Limiter(Buckets(db), settings.limits)
    return House(
        settings=settings,
        db=db,
        store=store,
        signer=signer,
        tokens=TokenBook(
            pepper=settings.token_pepper, jwt_secret=settings.jwt_secret, service_key=settings.service_key
        ),
        vault=vault,
        probes=Probes(settings.runpod_url, settings.huggingface_url, settings.wandb_url),
        providers=providers,
        poster=Poster(AddressGuard(allow_private=settings.webhook_allow_private)),
        mailer=_mailer(settings),
        hosts=hosts,
        github=_github(settings) if settings.github_client_id else None,
        limiter=limiter,
        doors=Doors(limiter, settings.edge_threads // 2),
        tracing=tracing,
        on_close=(runpod.close, endpoints.close, pods.close, limiter.close, *([tracing.close] if tracing else [])),
    )


def _ears(db: Database) -> Callable[[Sequence[str]], Mapping[str, Heard]]:
    def hear(run_ids: Sequence[str]) -> Mapping[str, Heard]:
        with db.begin() as tx:
            return runs_environment.heard(tx, run_ids)

    return hear


def _vault(settings: Settings) -> Vault:
    """It hears of a new master key where the home keeps it; what the environment says stays for the process's life."""
    given, retired = settings.master_key, settings.retired_master_keys
    kept = (settings.home / SECRETS_FILE).is_file() and kept_now(settings.home) == (given, retired)
    return Vault(given, retired, reread=(lambda: kept_now(settings.home)) if kept else None)


def _runpod(settings: Settings, signer: Signer, keys: Callable[[str], str]) -> RunPodProvider:
    """Its pods bear the marketplace's signing key in their names: two marketplaces on one account stay apart."""
    return RunPodProvider(
        keys,
        image=settings.trainer_image,
        prefix=f"mp-{signer.key_id[:8].lower()}",
        base_url=settings.runpod_url,
        api_url=settings.base_url,
        env=_addresses(settings),
        settle_seconds=settings.runpod_settle_seconds,
        clock=clock.now,
    )


def _runpod_hosts(settings: Settings, prefix: str, keys: Callable[[str], str]) -> tuple[RunPodHost, PodHost]:
    image, api_url, settle = settings.trainer_image, settings.base_url, settings.runpod_settle_seconds
    base_url, proxy_url = settings.runpod_url, settings.runpod_proxy_url
    return (
        RunPodHost(
            keys,
            image=image,
            prefix=prefix,
            base_url=base_url,
            api_url=api_url,
            settle_seconds=settle,
            clock=clock.now,
        ),
        PodHost(
            keys,
            image=image,
            prefix=prefix,
            base_url=base_url,
            proxy_url=proxy_url,
            api_url=api_url,
            settle_seconds=settle,
            clock=clock.now,
        ),
    )


def _github(settings: Settings) -> GitHub:
    return GitHub(
        settings.github_client_id,
        settings.github_client_secret,
        redirect_uri=f"{settings.base_url}{CALLBACK}",
        url=settings.github_url,
        api_url=settings.github_api_url,
    )


def _mailer(settings: Settings) -> Mailer | None:
    """Both a server and a receiver, or no mail."""
    if not settings.smtp_url or not settings.report_email_to:
        return None
    return Mailer(settings.smtp_url, settings.report_email_to, settings.report_email_from)


def _mark() -> dict[str, str]:
    """Local servers end with the `mp up` that started them."""
    return {leftovers.MARK: os.environ[leftovers.MARK]} if leftovers.MARK in os.environ else {}


def _addresses(settings: Settings) -> dict[str, str]:
    """Where pods find the services whose keys they get: a key of one's own hub must not be shown to the public one."""
    told = {"HF_ENDPOINT": settings.huggingface_url, "WANDB_BASE_URL": settings.wandb_url}
    public = {Settings.huggingface_url, Settings.wandb_url}
    return {name: url for name, url in told.items() if url not in public}


def runpod_keys(db: Database, vault: Vault) -> Callable[[str], str]:
    """Gives the RunPod provider a vendor's key when it needs one: opened anew each time, kept nowhere.

    Returns:
        A function of the vendor's id. It raises CredentialError when the vendor has not connected RunPod,
        IntegrityError when the key cannot be opened.
    """

    def key_of(vendor_id: str) -> str:
        with within(of_vendor(vendor_id)), db.begin() as tx:
            name = ConnectionName.RUNPOD
            return connections.secret(tx, vault, vendor_id, name, purpose="A machine at RunPod").get_secret_value()

    return key_of


def make_poller(house: House, *, call_seconds: float) -> Poller:
    """What asks deployments at each bar's close.

    Args:
        house: The marketplace.
        call_seconds: A call's deadline.
    """
    settings = house.settings
    budget = Budget(settings.poll_calls_per_day, settings.poll_seconds_per_day)
    grace = timedelta(seconds=settings.late_grace_seconds)
    terms = Terms(budget, call_seconds=call_seconds, grace=grace)
    asker, guard = Asker(call_seconds), house.poster.guard
    return Poller(house.db, house.signer, house.tokens, asker, guard, house.hosts, terms)


def _hide_secrets(settings: Settings) -> None:
    own = (settings.token_pepper, settings.jwt_secret, settings.signing_seed, settings.url_key, settings.service_key)
    redaction.remember(unquote(urlsplit(settings.smtp_url).password or ""))
    redaction.remember(settings.master_key, *settings.retired_master_keys, settings.github_client_secret, *own)


@contextmanager
def open_house(home: Path | None = None, *, edge: bool = False) -> Iterator[House]:
    """A house for the length of a block: the marketplace of the environment, or of ``home``.

    Args:
        home: The embedded marketplace's folder.
        edge: It is the edge's, not the operator's.

    Raises:
        SetupError: No marketplace is found, its settings do not do, or its secrets are weak; those of `mp up`, which
            listens to this machine alone, may be anything.
    """
    settings = load(home)
    if not is_embedded(settings.home):
        strength.refuse_weak(settings)
    logs.follow(settings.log_format)
    house = build_edge(settings) if edge else build(settings)
    try:
        yield house
    finally:
        house.close()
