"""`/collections` and `/aliases`: what there is to search, and which name leads where."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.api.dependencies import CollectionsDep
from service.api.openapi import FULL, Responses, failures, headers
from service.api.routing import Route, Rules
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
from service.engine.open_collections import CollectionInfo

router = APIRouter(tags=["collections"], route_class=Route)

NameDep = Annotated[
    str,
    Path(
        description="A collection or an alias.",
        examples=["articles-2"],
        json_schema_extra=NAME_SCHEMA,
    ),
]
OwnNameDep = Annotated[
    str,
    Path(
        description="A collection; no alias.",
        examples=["articles-2"],
        json_schema_extra=NAME_SCHEMA,
    ),
]
AliasDep = Annotated[
    str, Path(description="An alias.", examples=["default"], json_schema_extra=NAME_SCHEMA)
]

NOT_FOUND = failures({404: "There is no such collection or alias."})
CONFLICT = failures({409: "What is there does not allow it."})
MADE: Responses = {201: headers("Location", "Its path.", "/collections/articles-2")}


@router.get("/collections", summary="All collections")
async def list_collections(collections: CollectionsDep) -> CollectionsBody:
    """Each with its settings and figures."""
    infos = await asyncio.to_thread(collections.infos)
    return CollectionsBody(collections=[described(info) for info in infos])


@router.post(
    "/collections",
    status_code=201,
    summary="Make a collection",
    responses={**MADE, **CONFLICT, **FULL},
)
@Rules(gate="changes", field_depth=2)
async def create_collection(
    body: CreateCollectionRequest,
    collections: CollectionsDep,
    request: Request,
    response: Response,
) -> CollectionBody:
    """Answers once its models are loaded; searches in the others go on meanwhile."""
    own = body.settings.model_dump(exclude_none=True)
    await asyncio.to_thread(collections.create, body.name, own)
    prefix = request.scope["root_path"]
    response.headers["Location"] = f"{prefix}/collections/{body.name}"
    return described(await asyncio.to_thread(collections.info, body.name))


@router.get("/collections/{name}", summary="One collection", responses=NOT_FOUND)
async def get_collection(name: NameDep, collections: CollectionsDep) -> CollectionBody:
    """Its settings, figures and problems, and how far a copy into it is."""
    return described(await asyncio.to_thread(collections.info, name))


@router.delete(
    "/collections/{name}",
    status_code=204,
    summary="Remove a collection",
    responses={**NOT_FOUND, **CONFLICT},
)
@Rules(gate="changes")
async def delete_collection(name: OwnNameDep, collections: CollectionsDep) -> None:
    """For good, with all its documents. Searches under way in it end; later ones get 404.

    409 for `main`, and as long as an alias leads to it.
    """
    await asyncio.to_thread(collections.drop, name)


@router.post(
    "/collections/{name}/copy",
    status_code=202,
    summary="Copy all documents of another collection",
    responses={**NOT_FOUND, **CONFLICT, **FULL},
)
async def copy_collection(
    name: NameDep, body: CopyRequest, collections: CollectionsDep
) -> CopyBody:
    """Stage the documents of `from` here, to be encoded with this collection's model.

    Changes nothing for the source. `GET /collections/{name}` shows how far it is; it goes on after
    a restart. What is written to the source meanwhile may be missed: copy again, which stages only
    what differs, and with `mirror` deletes here what is gone there.
    """
    state = await asyncio.to_thread(collections.copy, name, body.from_, mirror=body.mirror)
    return CopyBody.model_validate(state.model_dump())


@router.get("/aliases", summary="All aliases")
async def list_aliases(collections: CollectionsDep) -> AliasesBody:
    """`default` is the one of requests that name no collection."""
    return AliasesBody(aliases=collections.aliases())


@router.put(
    "/aliases/{alias}",
    summary="Set or switch an alias",
    responses={**NOT_FOUND, **CONFLICT, **FULL},
)
async def put_alias(
    alias: AliasDep, body: AliasRequest, collections: CollectionsDep
) -> AliasesBody:
    """At once and for good: each request sees the collection before or the one after."""
    await asyncio.to_thread(collections.set_alias, alias, body.collection)
    return AliasesBody(aliases=collections.aliases())


@router.delete(
    "/aliases/{alias}",
    status_code=204,
    summary="Remove an alias",
    responses={**NOT_FOUND, **CONFLICT},
)
async def delete_alias(alias: AliasDep, collections: CollectionsDep) -> None:
    """The collection stays. 409 for `default`, which can only be switched."""
    await asyncio.to_thread(collections.remove_alias, alias)


def described(info: CollectionInfo) -> CollectionBody:
    """A collection for the wire."""
    fields = {name: getattr(info, name) for name in info.__slots__}
    fields["encoder"] = asdict(info.encoder) if info.encoder else None
    fields["copy"] = info.copy.model_dump() if info.copy else None
    return CollectionBody.model_validate(fields)
