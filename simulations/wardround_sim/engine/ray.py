"""Flower's own simulation engine, for clusters: joins the one that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation

from wardround_common.errors import ConfigError, WardroundError


def run_ray(
    server_app: ServerApp, make_app: Callable[[], ClientApp], *, sites: int, workers: int
) -> None:
    """Runs both apps to the end, one processor core for each site at work.

    Raises:
        ConfigError: Ray is not installed.
        WardroundError: Whatever the server app raises.
    """
    resources: dict[str, Any] = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    if "RAY_ADDRESS" not in os.environ:
        resources["init_args"] = {"num_cpus": max(1, workers), "include_dashboard": False}
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_simulation(server_app, make_app(), sites, "ray", resources)
    except ImportError:
        raise ConfigError("--engine ray: Ray is missing; pip install 'wardround[sim]'") from None
    except RuntimeError as error:
        if isinstance(error.__cause__, WardroundError):
            raise error.__cause__ from None
        raise
