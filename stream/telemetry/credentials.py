"""Which settings to look at when Wootric gives no token. Pure."""

CLIENT = "WOOTRIC__CLIENT_ID and WOOTRIC__CLIENT_SECRET"
LOGIN = "WOOTRIC__USERNAME and WOOTRIC__PASSWORD"
PLACE = "WOOTRIC__API_URL and the region in WOOTRIC__ACCOUNT_TOKEN"

_OF_A_GRANT = frozenset({"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"})
_NOT_THERE = frozenset({301, 302, 307, 308, 404, 405})


def look_at(error: str, status: int, *, by_client: bool) -> str:
    """Return the settings that may be wrong, by the refusal's word and status.

    ``by_client`` says that a client asked, not a login.
    """
    asked_with = CLIENT if by_client else f"{LOGIN}, and that they belong to WOOTRIC__ACCOUNT_TOKEN"
    if error in _OF_A_GRANT:
        return asked_with
    if status in _NOT_THERE:
        return PLACE
    return f"{asked_with}; {PLACE}"
