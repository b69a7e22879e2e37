"""The collection, or the collections, that a search names."""

from collections.abc import Sequence

from fastapi import Request

from service.api.state import Asked, asked, caller_in, engine, request_id, server_state
from service.errors import InvalidInputError
from service.search.collection_sources import SeveralCollections

FIELD = "collections"


async def searched(
    request: Request, names: Sequence[str] | None
) -> tuple[Asked, SeveralCollections | None]:
    """Who asks what of which collection; of several, the first one's searcher does the work.

    Raises as `asked` for each, and `InvalidInputError` where their models differ.
    """
    if names is None:
        return await asked(request), None
    if "name" in request.path_params:
        raise InvalidInputError(f"{FIELD} can only be named in POST /search", FIELD)
    state, caller = await server_state(request), caller_in(request)
    opened = await engine(state)
    for name in names:
        caller.require_collection(name, opened.folder.catalog)
    found = {name: opened.collection(name) for name in names}
    if len({collection.name for collection in found.values()}) < len(names):
        raise InvalidInputError(f"{FIELD} names a collection twice", FIELD)
    state.keys.charge(caller.key, len(names) - 1)
    request.state.collection = ",".join(collection.name for collection in found.values())
    source = SeveralCollections({name: one.searcher.source for name, one in found.items()})
    return Asked(await request_id(request), found[names[0]], state, caller), source
