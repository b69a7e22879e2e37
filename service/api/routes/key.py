"""`/key`: what the caller's key may do."""

from fastapi import APIRouter

from service.api.route_rules import Route, Rules
from service.api.schemas.key_schemas import CallerKeyBody, KeyBody, KeyLimitsBody
from service.api.state import CallerDep

router = APIRouter(tags=["keys"], route_class=Route)


@router.get("/key", summary="What may this key do?")
@Rules(scope=None, narrowest="documents")
async def get_key(caller: CallerDep) -> CallerKeyBody:
    """Name, rights and limits of the key that the request has. A server without keys has none."""
    if (key := caller.key) is None:
        return CallerKeyBody(key=None)
    return CallerKeyBody(
        key=KeyBody(
            name=key.name,
            scopes=list(key.scopes),
            collections=None if key.collections is None else list(key.collections),
            filtered=key.filters is not None,
            expires=key.expires,
            limits=KeyLimitsBody(**key.limits.model_dump()),
        )
    )
