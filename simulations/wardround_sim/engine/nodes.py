"""Which site a virtual Flower node is."""

from __future__ import annotations

from functools import partial

from flwr.app import Context
from flwr.clientapp import ClientApp

from wardround_client.app import build_client_app
from wardround_client.site import Site
from wardround_sim.virtual import VirtualFederation, open_virtual_site


def make_client_app(federation: VirtualFederation) -> ClientApp:
    """The one ClientApp that becomes the site of each context's partition id."""
    return build_client_app(partial(_site_of, federation))


def _site_of(federation: VirtualFederation, context: Context) -> Site:
    partition = int(context.node_config["partition-id"])
    return open_virtual_site(federation, federation.sites[partition].site)
