"""Where a PACS delivers what C-MOVE asked for."""

from __future__ import annotations

import ssl

from pynetdicom import evt
from pynetdicom.presentation import AllStoragePresentationContexts
from pynetdicom.transport import ThreadedAssociationServer

from wardround_client.archive.association import application_entity, guard, tls_context
from wardround_client.archive.dimse_contexts import TRANSFER_SYNTAXES
from wardround_client.archive.inbox import Inbox
from wardround_common.errors import ArchiveError
from wardround_common.site_config import Dimse


def listen(config: Dimse, inbox: Inbox) -> ThreadedAssociationServer:
    """Starts to receive into ``inbox``; with TLS, only from peers the authority has signed.

    Raises:
        ConfigError: Certificates or key cannot be used.
        ArchiveError: The address cannot be listened on.
    """
    entity = application_entity(config)
    entity.require_called_aet = True
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(context.abstract_syntax or "", list(TRANSFER_SYNTAXES))
    try:
        server = entity.start_server(
            (config.listen_host, config.listen_port),
            block=False,
            ssl_context=tls_context(config, ssl.Purpose.CLIENT_AUTH) if config.tls else None,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, guard, [config.timeout_s]),
                (evt.EVT_C_STORE, inbox.store),
            ],
        )
    except OSError as error:
        address = f"{config.listen_host}:{config.listen_port}"
        hint = "choose another listen_host or listen_port"
        raise ArchiveError(
            f"dimse: cannot listen on {address} ({error.strerror}); {hint}"
        ) from None
    assert server is not None  # noqa: S101  (block=False returns one)
    return server
