"""The standard library's web client, without its redirects: proxies from the environment, and who is trusted."""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request
from pathlib import Path

from audition.store.transfer.fault import Fault
from audition.text import one_line

PORTS = {"http": 80, "https": 443}
# Where systems keep the certificates that they trust, for a Python that was built without knowing it.
_CA_FILES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)


def opener(scheme: str) -> urllib.request.OpenerDirector:
    """Return a client for a scheme that follows no redirect and raises for no status."""
    proxies = urllib.request.getproxies()
    if "all" in proxies:
        proxies.setdefault(scheme, proxies["all"])
    client = urllib.request.OpenerDirector()
    client.add_handler(_Proxies(proxies))
    client.add_handler(urllib.request.HTTPHandler())
    if scheme == "https":
        client.add_handler(urllib.request.HTTPSHandler(context=_trust()))
    return client


class _Proxies(urllib.request.ProxyHandler):
    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> object:
        scheme = proxy.partition("://")[0].lower() if "://" in proxy else "http"
        if scheme not in PORTS and not urllib.request.proxy_bypass(req.host or ""):
            why = f"the proxy is a {one_line(scheme, 20)}:// one, which is not supported"
            raise Fault(why, code="no_network", fix="set https_proxy to an http:// proxy", lasting=True)
        return super().proxy_open(req, proxy, type)


def _trust() -> ssl.SSLContext:
    """Return who is trusted: what SSL_CERT_FILE or SSL_CERT_DIR names, else what the system trusts."""
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        if sys.platform in ("win32", "darwin"):
            try:
                import truststore
            except ModuleNotFoundError:
                pass
            else:
                return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        paths = ssl.get_default_verify_paths()
        if not paths.cafile and not paths.capath:
            known = next((file for file in _CA_FILES if Path(file).is_file()), None)
            return ssl.create_default_context(cafile=known)
    return ssl.create_default_context()
