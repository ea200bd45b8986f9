"""TLS: the daemon's certificate."""

from __future__ import annotations

import ssl

from likd.config.settings import ConfigError
from likd.config.web_settings import PlaceSettings


def server_context(config: PlaceSettings) -> ssl.SSLContext | None:
    """The TLS context for `config`, None without TLS. Raises ConfigError."""
    if not config.tls_cert and not config.tls_key:
        return None
    if not config.tls_cert or not config.tls_key:
        raise ConfigError("--tls-cert and --tls-key must be given together")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{config.tls_cert}, {config.tls_key}: {error}") from None
    return context
