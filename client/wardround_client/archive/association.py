"""Associations with a PACS: TLS, bounds on what a peer may send, errors in our words."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket

from wardround_client.archive.pacs import TransientError
from wardround_client.archive.secret_file import require_private
from wardround_client.archive.store import MAXIMUM_INSTANCE_BYTES
from wardround_common.errors import ArchiveError, ConfigError
from wardround_common.site_config import Dimse

MAXIMUM_PDU_BYTES = 1 << 17
_SLACK_BYTES = 1 << 20  # commands, headers and PDUs of peers that exceed what was agreed

# Its lines quote identifiers, and its threads outlive any `with quiet()`. It would compose them
# even where nobody reads them, and pydicom then warns on stderr, quoting values that are odd.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


def application_entity(config: Dimse) -> ApplicationEntity:
    """Our side of associations, with the site's title and time limits."""
    entity = ApplicationEntity(config.calling_ae)
    entity.acse_timeout = config.timeout_s
    entity.connection_timeout = config.timeout_s
    entity.dimse_timeout = config.timeout_s
    entity.network_timeout = config.timeout_s
    entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
    return entity


def guard(event: Event, timeout_s: float, most_bytes: int | None = None) -> None:
    """Handles EVT_CONN_OPEN: bounds the time and size of what the peer may send.

    ``most_bytes`` is that of one message; the largest instance's where None.
    pynetdicom reads whatever length a peer announces into memory, and waits for it forever.
    """
    connection: Any = event.assoc.dul.socket  # its parts are optional to the type checker only
    connection.socket.settimeout(timeout_s)
    # A request is sent in two pieces; without this the second waits 40 ms for an acknowledgement.
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bounds = _Bounds(connection, most_bytes)
    connection.recv = bounds.receive
    event.assoc.bind(evt.EVT_DIMSE_RECV, bounds.begin_message)


def leave_answers_to_caller(event: Event) -> None:
    """Handles EVT_CONN_OPEN of our own associations: their thread takes no message.

    pynetdicom 3.0 pauses that thread before a request, but may go on while it is between its
    check and the queue; an answer it takes then is lost, and a C-FIND silently misses a match.
    """
    messages: Any = event.assoc.dimse
    take = messages.get_msg
    messages.get_msg = lambda block=False: take(block=True) if block else (None, None)


class _Bounds:
    """Reads for one connection, and counts the bytes of the message that is arriving."""

    def __init__(self, connection: AssociationSocket, most_bytes: int | None) -> None:
        self._connection = connection
        self._most = MAXIMUM_INSTANCE_BYTES if most_bytes is None else most_bytes
        self._received = 0

    def begin_message(self, event: Event) -> None:
        """Handles EVT_DIMSE_RECV: the message is complete."""
        del event
        self._received = 0

    def receive(self, size: int) -> bytearray:
        """Reads ``size`` bytes, fewer if the peer closes.

        Raises:
            OSError: The peer sends too much; pynetdicom then closes the connection.
        """
        self._received += size
        if size > MAXIMUM_PDU_BYTES + _SLACK_BYTES:
            raise OSError("PDU too large")
        if self._received > self._most + _SLACK_BYTES:
            raise OSError("message too large")
        _acknowledge_at_once(self._connection.socket)
        data = bytearray(size)
        view = memoryview(data)
        done = 0
        while done < size:
            open_socket = self._connection.socket
            count = open_socket.recv_into(view[done:]) if open_socket else 0
            if not count:
                return data[:done]
            done += count
        return data


def _acknowledge_at_once(connection: socket.socket | None) -> None:
    """Tells Linux not to delay the next acknowledgement; many a PACS waits for it (40 ms)."""
    if connection is not None and hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Dialler:
    """Opens associations with one PACS.

    Raises:
        ConfigError: Certificates or key cannot be used.
    """

    def __init__(self, config: Dimse) -> None:
        self._config = config
        self._entity = application_entity(config)
        self._tls = tls_context(config, ssl.Purpose.SERVER_AUTH) if config.tls else None
        self._opened: list[tuple[Association, socket.socket]] = []
        self.shown = f"dimse {config.host}:{config.port}"

    def associate(
        self,
        contexts: Sequence[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[tuple[evt.EventType, object]] = (),
        most_bytes: int | None = None,
    ) -> Association:
        """Opens an association; ``most_bytes`` bounds a message, as for `guard`.

        Raises:
            TransientError: Nobody answers.
            ArchiveError: The PACS, or its certificate, is refused, or it refuses us.
        """
        self.close_ended()
        self._probe()
        bound = [
            (evt.EVT_CONN_OPEN, self._remember),
            (evt.EVT_CONN_OPEN, guard, [self._config.timeout_s, most_bytes]),
            (evt.EVT_CONN_OPEN, leave_answers_to_caller),
            *handlers,
        ]
        try:
            association = self._entity.associate(
                self._config.host,
                self._config.port,
                contexts=list(contexts),
                ae_title=self._config.called_ae,
                max_pdu=MAXIMUM_PDU_BYTES,
                ext_neg=list(roles),
                tls_args=(self._tls, self._config.host) if self._tls else None,
                evt_handlers=bound,  # type: ignore[arg-type]
            )
        except OSError:  # the name no longer has an address
            raise TransientError(f"{self.shown}: got no connection; check host") from None
        if not association.is_established:
            self.close_ended()
            self._explain(association)
        return association

    def _explain(self, association: Association) -> None:
        """Raises the error that says why no association came about."""
        if association.is_rejected:
            self._explain_rejection(association)
        hint = "check that port is its DICOM port, and tls, certificate_file and key_file"
        raise TransientError(f"{self.shown}: the PACS closed the connection at once; {hint}")

    def _explain_rejection(self, association: Association) -> None:
        answer = association.acceptor.primitive
        source, diagnostic = (answer.result_source, answer.diagnostic) if answer else (0, 0)
        if source == 1 and diagnostic == 3:
            hint = f"calling_ae {self._config.calling_ae} is unknown there; have it entered"
            raise ArchiveError(f"{self.shown}: the PACS refused us, {hint}")
        if source == 1 and diagnostic == 7:
            hint = f"called_ae {self._config.called_ae} is not its title; check it"
            raise ArchiveError(f"{self.shown}: the PACS refused us, {hint}")
        if source == 3:
            raise TransientError(f"{self.shown}: the PACS is busy; try later")
        raise ArchiveError(f"{self.shown}: the PACS refused us; have calling_ae entered there")

    def _probe(self) -> None:
        """Connects by the standard library first, which says what is wrong; pynetdicom does not."""
        address = (self._config.host, self._config.port)
        try:
            plain = socket.create_connection(address, self._config.timeout_s)
        except OSError:
            hint = "check host, port and firewall"
            raise TransientError(f"{self.shown}: got no connection; {hint}") from None
        with plain:
            if self._tls is not None:
                self._shake_hands(plain, self._tls)

    def _shake_hands(self, plain: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            tls.wrap_socket(plain, server_hostname=self._config.host).close()
        except ssl.SSLCertVerificationError as error:
            named = error.verify_code in (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_
            other = "is for another host; use the name that it was made for"
            unknown = "is not trusted; set ca_file to the authority that signed it"
            problem = other if named else unknown
            raise ArchiveError(f"{self.shown}: the PACS's certificate {problem}") from None
        except OSError:
            hint = "check that this port speaks TLS, and certificate_file"
            raise ArchiveError(f"{self.shown}: TLS failed; {hint}") from None

    def _remember(self, event: Event) -> None:
        """Handles EVT_CONN_OPEN: pynetdicom forgets to close what the peer closed first."""
        connection: Any = event.assoc.dul.socket
        self._opened.append((event.assoc, connection.socket))

    def close_ended(self) -> None:
        """Closes the sockets of associations that have ended."""
        for association, connection in self._opened:
            if not association.is_established:
                connection.close()
        self._opened = [pair for pair in self._opened if pair[0].is_established]


def tls_context(config: Dimse, purpose: ssl.Purpose) -> ssl.SSLContext:
    """TLS with the peer's certificate verified, on either side of a connection.

    Raises:
        ConfigError: Certificates or key cannot be used.
    """
    cafile = None if config.ca_file is None else str(config.ca_file)
    try:
        context = ssl.create_default_context(purpose, cafile=cafile)
    except (OSError, ValueError):
        hint = "expected certificates as PEM; check the path"
        raise ConfigError(f"dimse.ca_file: {cafile} cannot be used; {hint}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    if config.certificate_file is not None and config.key_file is not None:
        _load_own(context, config.certificate_file, config.key_file)
    return context


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    require_private(key, "dimse.key_file")
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError):
        hint = "expected a PEM certificate and its key without passphrase"
        name = f"dimse.certificate_file: {certificate}"
        raise ConfigError(f"{name} and key_file cannot be used together; {hint}") from None
