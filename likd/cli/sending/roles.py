"""The names that servers give to the fields of their logs, and what each says about a request."""

from __future__ import annotations

import re
from functools import lru_cache

_NAMES = {
    "request": "request requestline",
    "method": "requestmethod method csmethod httpmethod verb",
    "uri": "requesturi requestpath originalurl",
    "path": "uri path csuristem url uripath",
    "query": "args querystring csuriquery query requestquery",
    "status": "status downstreamstatus scstatus statuscode responsestatus responsecode",
    "host": "xhostheader httphost requestheadershost host requesthost cshost vhost",
    "server": "servername server virtualhost domain",
    "scheme": "httpxforwardedproto xforwardedproto scheme requestscheme csprotocol csurischeme",
    "port": "serverport sport",
    "agent": "httpuseragent useragent agent requestheadersuseragent requestuseragent csuseragent",
    "range": "httprange requestheadersrange requestrange csrange range",
    "time": "timelocal timeiso8601 msec ts startutc time timestamp startlocal starttime",
    "date": "date",
    "purpose": "httpsecpurpose httppurpose httpxpurpose httpxmoz"
    " requestheaderssecpurpose requestheaderspurpose requestheadersxpurpose requestheadersxmoz"
    " requestsecpurpose requestpurpose requestxpurpose requestxmoz"
    " cssecpurpose cspurpose csxpurpose csxmoz secpurpose purpose",
}
_ROLES = {name: (role, rank) for role, names in _NAMES.items() for rank, name in enumerate(names.split())}


@lru_cache(4096)
def role_of(name: str) -> tuple[str, int] | None:
    """The role of a field with that name, and its rank among fields with that role, 0 first; None if it has none.

    Spelling does not matter: `http_user_agent`, `cs(User-Agent)` and `request>headers>User-Agent` are the same.
    """
    return _ROLES.get(re.sub(r"[^a-z0-9]", "", name.lower()))
