"""The proxies that the environment names: http_proxy, https_proxy, all_proxy, no_proxy, in either case."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_AROUND = "no_proxy"


def for_aria2(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with proxies as aria2 knows them: lower case only, and no ``*`` for no proxy at all."""
    named = (name for name in (*_PROXIES, _AROUND) if name.upper() in environment)
    known = {**{name: environment[name.upper()] for name in named}, **environment}
    if "*" in (host.strip() for host in known.get(_AROUND, "").split(",")):
        return {name: value for name, value in known.items() if name.lower() not in _PROXIES}
    return known


def through(address: str) -> str:
    """`` through the proxy HOST:PORT`` where an address is asked for through one, without its password."""
    parts, proxies = urlsplit(address), getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass_environment(parts.hostname or "", proxies):
        return ""
    return f" through the proxy {urlsplit(proxy).netloc.rpartition('@')[2] or proxy}"
