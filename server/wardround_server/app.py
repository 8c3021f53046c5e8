"""The ServerApp: Flower's entry point to a run."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround_server.federation import RunOutcome, RunSettings, run_federation
from wardround_server.peers import Peers


def build_server_app(
    settings: RunSettings, *, poll_s: float, on_outcome: Callable[[RunOutcome], None]
) -> ServerApp:
    """Makes the ServerApp of one run.

    Args:
        settings: The run.
        poll_s: Pause between two looks for replies, seconds.
        on_outcome: Told how the run ended.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        members = {m.site: settings.study.member_key(m.site) for m in settings.study.members}
        peers = Peers(grid, members, poll_s=poll_s, on_event=settings.on_event)
        on_outcome(run_federation(peers, settings))

    return app
