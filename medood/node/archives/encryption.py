"""TLS contexts, and logins from the environment."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field

from medood.core.errors import MedoodError
from medood.core.shield import kind_of
from medood.node.config import Tls


@dataclass(frozen=True)
class Login:
    """Bearer token, or user and password; never shown."""

    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For a server. Raises MedoodError when a file cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """For a client that checks the server's certificate and its name. Raises MedoodError when a file cannot be used."""
    context = ssl.create_default_context() if tls.ca is None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _loaded(context, tls)


def login(name: str | None) -> Login | None:
    """What NAME_TOKEN, or NAME_USER and NAME_PASSWORD, say. Raises MedoodError when they say nothing."""
    if name is None:
        return None
    token, user, password = (os.environ.get(f"{name}_{word}", "") for word in ("TOKEN", "USER", "PASSWORD"))
    if not token and not (user and password):
        raise MedoodError(f"credentials: {name}: set the environment variable {name}_TOKEN, or {name}_USER and {name}_PASSWORD.")
    return Login(token) if token else Login("", user, password)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    wanted = {"ca": tls.ca, "certificate": tls.certificate, "key": tls.key}
    try:
        if tls.ca:
            context.load_verify_locations(tls.ca)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except (OSError, ValueError) as error:
        files = ", ".join(f"{name} {path}" for name, path in wanted.items() if path)
        raise MedoodError(
            f"tls: {files}: a file is missing, is no PEM file, or key and certificate do not match ({kind_of(error)})."
        ) from None
    return context


def _no_password() -> str:
    """Instead of asking on the terminal, where nobody sits."""
    raise ValueError("the key is locked by a password")
