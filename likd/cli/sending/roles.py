"""The names that servers give to the fields of their logs, and what each tells of a request."""

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
    """What a field of that name tells, and its rank among those that tell it, 0 first; None if it is of no use.

    Names are the same however they are written: `http_user_agent`, `cs(User-Agent)`, `request>headers>User-Agent`.
    """
    return _ROLES.get(re.sub(r"[^a-z0-9]", "", name.lower()))
