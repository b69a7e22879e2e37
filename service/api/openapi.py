"""The OpenAPI document: FastAPI's, made valid, complete and as strict as the server.

Adds what models and routes cannot declare: recursive schemas, headers of every answer, errors of
answers that are not JSON, examples of whole bodies, and limits that are settings.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI

from service.api.schemas import document_schemas, filter_schemas
from service.api.schemas.common import CODES, COMPONENT, REQUEST_ID, ErrorBody
from service.settings import Settings

JSON = "application/json"
Json = dict[str, Any]

IN_COLLECTION = "_in_collection"
"""Ends the id of each operation below `/collections/{name}`."""

DESCRIPTION = """
Two-stage search. A bi-encoder finds the passages nearest to the query, and a reranker orders
them. Each hit has a *confidence*: high, medium or low, from a probability that was calibrated on
labelled data.

`retrieval_score` is a cosine, `rerank_score` is a logit, and `probability` is calibrated. Do not
compare one with another. Every error, on every path, is `{"error": {"code", "message",
"request_id", "details"?}}`.
"""

_HEADERS = {
    "X-Request-ID": "The caller's id of the request if it is well formed, else a new one.",
    "Retry-After": "Seconds until another try may succeed.",
    "WWW-Authenticate": "`Bearer`.",
    "Accept-Encoding": "`gzip`, if the body has another coding.",
}
_OF_STATUS = {
    "401": ("WWW-Authenticate",),
    "415": ("Accept-Encoding",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}


Responses = dict[int | str, dict[str, Any]]


def failures(descriptions: Mapping[int, str]) -> Responses:
    """Error answers for a route's `responses`."""
    return {code: {"model": ErrorBody, "description": d} for code, d in descriptions.items()}


def headers(name: str, description: str, example: str) -> Json:
    """A header of an answer, for a route's `responses`."""
    schema = {"type": "string"}
    return {"headers": {name: {"description": description, "schema": schema, "example": example}}}


def example(value: Any) -> Json:
    """An example of an answer that no schema has, for a route's `responses`."""
    return {"content": {JSON: {"example": value}}}


SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, where the server asks for one.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    },
}


def security_of(scope: str | None) -> Json:
    """Either header, with a key that has the scope, for a route's `openapi_extra`."""
    return {"security": [{name: [scope] if scope else []} for name in SECURITY_SCHEMES]}


ERRORS = failures(
    {
        401: "The API key is missing or wrong.",
        403: "The API key lacks the scope, or may not use the collection or the document.",
        413: "The body is larger than the server accepts.",
        415: "The body is not declared to be JSON, or has a coding other than gzip.",
        421: "A server without keys does not know the name in `Host`.",
        422: "A field is wrong; `details` names each.",
        429: "The queue is full, or the API key asks too fast; see `Retry-After`.",
        431: "Request line and headers are too long.",
        500: "A fault of the server; the log has the `request_id`.",
        503: "Models and index are loading (see `Retry-After`), or the store failed.",
        504: "The time ran out before there was an answer.",
    }
)
"""Errors of every route that needs a key."""

FULL = failures({507: "The server's disk is full; nothing is lost."})
TIMED: Responses = {
    200: headers(
        "Server-Timing",
        "Milliseconds of each stage.",
        "normalize;dur=0.1, encode;dur=12.0, total;dur=12.9",
    )
}


def install(app: FastAPI, settings: Settings) -> None:
    """Let `app` serve the completed document."""
    made = app.openapi

    @cache
    def openapi() -> Json:
        return completed(made(), settings)

    app.openapi = openapi  # type: ignore[method-assign]


def completed(document: Json, settings: Settings) -> Json:
    """FastAPI's document, completed."""
    document["components"]["schemas"] |= filter_schemas.COMPONENTS | document_schemas.COMPONENTS
    document = _with_references(document)
    components = document["components"]
    schemas = components["schemas"]
    _set_limits(schemas, settings)
    components["securitySchemes"] = SECURITY_SCHEMES
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    opened = {"/metrics": settings.open_metrics, "/version": settings.open_docs}
    for path in (path for path, is_open in opened.items() if is_open):
        del document["paths"][path]["get"]["security"]
    for operation in _operations(document):
        _complete(operation, schemas)
    return document


def _operations(document: Json) -> Iterator[Json]:
    for operations in document["paths"].values():
        yield from operations.values()


def _reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _complete(operation: Json, schemas: Json) -> None:
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    for media in operation.get("requestBody", {}).get("content", {}).values():
        _add_example(media, schemas)
    for status, response in operation["responses"].items():
        if "content" in response:
            response["content"] = dict(_contents(int(status), response, schemas))
        for name in ("X-Request-ID", *_OF_STATUS.get(status, ())):
            reference = {"$ref": f"#/components/headers/{name}"}
            response.setdefault("headers", {}).setdefault(name, reference)


def _contents(status: int, response: Json, schemas: Json) -> Iterator[tuple[str, Json]]:
    """The media types of an answer, each with an example."""
    for kind, given in response["content"].items():
        media = given
        if "itemSchema" in given:  # a keyword of OpenAPI 3.2
            media = {"schema": {"type": "string"}, "example": given["example"]}
        if status >= 400:
            media.setdefault("example", _error_example(status, response["description"]))
            yield JSON, media
        else:
            _add_example(media, schemas)
            yield kind, media


def _without_null(schema: Json) -> Json:
    """A parameter cannot be `null`: that would be a string of four letters."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**kinds[0], **rest}


def _add_example(media: Json, schemas: Json) -> None:
    """Add the schema's own example, or one made from the examples of its fields."""
    reference = media.get("schema", {}).get("$ref")
    if "example" not in media and reference:
        media["example"] = _example(media["schema"], schemas)
        schemas[_name(reference)].setdefault("examples", [media["example"]])


def _example(schema: Json, schemas: Json) -> Any:
    own = [schema[key][0] for key in ("examples", "enum") if key in schema]
    own += [schema[key] for key in ("default", "const") if key in schema]
    if own:
        return own[0]
    if "$ref" in schema:
        return _example(schemas[_name(schema["$ref"])], schemas)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas) if "$ref" in schema["anyOf"][0] else None
    if "properties" in schema:
        return {name: _example(field, schemas) for name, field in schema["properties"].items()}
    if "items" in schema and {"$ref", "anyOf"} & set(schema["items"]):
        return [_example(schema["items"], schemas)]
    return [] if "items" in schema else False


def _name(reference: str) -> str:
    return reference.rpartition("/")[2]


def _error_example(status: int, description: str) -> Json:
    return {"error": {"code": CODES[status], "message": description, "request_id": REQUEST_ID}}


def _set_limits(schemas: Json, settings: Settings) -> None:
    """Add the limits that are settings."""
    queries = schemas["SearchBatchRequest"]["properties"]["queries"]
    queries["maxItems"] = settings.max_batch_queries
    for name in ("DocumentBody", "IdentifiedDocumentBody"):
        properties = schemas[name]["properties"]
        properties["text"]["maxLength"] = settings.max_document_chars
        for kind in properties["title"]["anyOf"]:
            if kind["type"] == "string":
                kind["maxLength"] = settings.max_title_chars


def _with_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    # FastAPI, too, leaves out a default of null: generated types would make the field required.
    kept = {
        key: _with_references(value)
        for key, value in node.items()
        if key != COMPONENT and (key, value) != ("default", None)
    }
    if COMPONENT not in node:
        return kept
    kept.pop("title", None)  # pydantic makes it from the name of the field
    return _reference(node[COMPONENT]) | kept
