"""`/collections` and `/aliases`."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from service.api.auth import ApiCaller
from service.api.openapi import FULL, Responses, failures, headers
from service.api.route_rules import Route, Rules
from service.api.schemas.collection_schemas import (
    NAME_SCHEMA,
    AliasesBody,
    AliasRequest,
    CollectionBody,
    CollectionsBody,
    CopyBody,
    CopyRequest,
    CreateCollectionRequest,
)
from service.api.state import CallerDep, CollectionsDep
from service.engine.collection_admin import CollectionInfo, Collections

router = APIRouter(tags=["collections"], route_class=Route)


def _name(description: str, example: str) -> Any:
    return Path(description=description, examples=[example], json_schema_extra=NAME_SCHEMA)


NameDep = Annotated[str, _name("A collection or an alias.", "articles-2")]
OwnNameDep = Annotated[str, _name("A collection, not an alias.", "articles-2")]
AliasDep = Annotated[str, _name("An alias.", "default")]

_LOOKS = Rules(scope="search", narrowest="collections")
_CHANGES = Rules(narrowest="collections")

NOT_FOUND = failures({404: "There is no such collection or alias."})
CONFLICT = failures({409: "The current state does not allow it."})
MADE: Responses = {201: headers("Location", "Its path.", "/collections/articles-2")}


@router.get("/collections", summary="All collections")
@_LOOKS
async def list_collections(collections: CollectionsDep, caller: CallerDep) -> CollectionsBody:
    """All collections that the key may use, with their settings and figures."""
    infos = await asyncio.to_thread(collections.infos)
    own = [info for info in infos if caller.may_use(info.name, collections.catalog)]
    return CollectionsBody(collections=[described(info) for info in own])


@router.post(
    "/collections",
    status_code=201,
    summary="Create a collection",
    responses={**MADE, **CONFLICT, **FULL},
)
@Rules(narrowest="collections", gate="changes", field_depth=2)
async def create_collection(
    body: CreateCollectionRequest,
    collections: CollectionsDep,
    caller: CallerDep,
    request: Request,
    response: Response,
) -> CollectionBody:
    """Answer once its models are loaded; searches in other collections go on meanwhile."""
    caller.require_collection(body.name, collections.catalog)
    own = body.settings.model_dump(exclude_none=True)
    await asyncio.to_thread(collections.create, body.name, own)
    prefix = request.scope["root_path"]
    response.headers["Location"] = f"{prefix}/collections/{body.name}"
    return described(await asyncio.to_thread(collections.info, body.name))


@router.get("/collections/{name}", summary="One collection", responses=NOT_FOUND)
@_LOOKS
async def get_collection(name: NameDep, collections: CollectionsDep) -> CollectionBody:
    """Its settings, figures and problems, and the progress of a copy into it."""
    return described(await asyncio.to_thread(collections.info, name))


@router.delete(
    "/collections/{name}",
    status_code=204,
    summary="Delete a collection",
    responses={**NOT_FOUND, **CONFLICT},
)
@Rules(narrowest="collections", gate="changes")
async def delete_collection(name: OwnNameDep, collections: CollectionsDep) -> None:
    """Delete it for good, with all its documents. Running searches in it end; later ones get 404.

    409 for `main`, and while an alias leads to it.
    """
    await asyncio.to_thread(collections.drop, name)


@router.post(
    "/collections/{name}/copy",
    status_code=202,
    summary="Copy all documents of another collection",
    responses={**NOT_FOUND, **CONFLICT, **FULL},
)
@_CHANGES
async def copy_collection(
    name: NameDep, body: CopyRequest, collections: CollectionsDep, caller: CallerDep
) -> CopyBody:
    """Stage the documents of `from` here, to be encoded with this collection's model.

    The source does not change. `GET /collections/{name}` shows the progress; a copy goes on after a
    restart. It may miss what is written to the source meanwhile: copy again, which stages only what
    differs. With `mirror`, a copy deletes here what the source no longer has.
    """
    caller.require_collection(body.from_, collections.catalog)
    state = await asyncio.to_thread(collections.copy, name, body.from_, mirror=body.mirror)
    return CopyBody.model_validate(state.model_dump())


@router.get("/aliases", summary="All aliases")
@_LOOKS
async def list_aliases(collections: CollectionsDep, caller: CallerDep) -> AliasesBody:
    """All aliases that the key may use. Requests that name no collection use `default`."""
    return _aliases(collections, caller)


@router.put(
    "/aliases/{alias}",
    summary="Set or switch an alias",
    responses={**NOT_FOUND, **CONFLICT, **FULL},
)
@_CHANGES
async def put_alias(
    alias: AliasDep, body: AliasRequest, collections: CollectionsDep, caller: CallerDep
) -> AliasesBody:
    """Switch at once: each request sees either the old collection or the new one."""
    caller.require_name(alias)
    caller.require_collection(body.collection, collections.catalog)
    await asyncio.to_thread(collections.set_alias, alias, body.collection)
    return _aliases(collections, caller)


@router.delete(
    "/aliases/{alias}",
    status_code=204,
    summary="Delete an alias",
    responses={**NOT_FOUND, **CONFLICT},
)
@_CHANGES
async def delete_alias(alias: AliasDep, collections: CollectionsDep, caller: CallerDep) -> None:
    """Delete it; the collection stays. 409 for `default`, which can only be switched."""
    caller.require_name(alias)
    await asyncio.to_thread(collections.remove_alias, alias)


async def collection_in_path(
    name: Annotated[str, _name("A collection or an alias.", "default")],
) -> None:
    """Describe the path parameter of the paths under `/collections/{name}`."""


def _aliases(collections: Collections, caller: ApiCaller) -> AliasesBody:
    found = collections.aliases()
    return AliasesBody(
        aliases={a: name for a, name in found.items() if caller.may_use(name, collections.catalog)}
    )


def described(info: CollectionInfo) -> CollectionBody:
    """A collection for the wire."""
    return CollectionBody.model_validate(info, from_attributes=True)
