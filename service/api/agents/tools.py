"""The tools that agents call: `search` and `fetch`."""

from functools import partial

from service.api.agents.token_budget import Answer, excerpt_tokens, fetch_answer, search_answer
from service.api.document_requests import sentence
from service.api.schemas.agent_schemas import FetchArguments, SearchArguments
from service.api.state import Asked
from service.documents.rows import check_id
from service.errors import InvalidInputError, NotFoundError
from service.scheduling.gate import Deadline
from service.search.excerpts import Excerpter
from service.search.query import Query
from service.store.filter_grammar import both


async def search(wanted: SearchArguments, asked: Asked) -> Answer:
    """The documents that answer the query best, each by an excerpt."""
    searcher = asked.collection.searcher
    excerpter, deadline = Excerpter(searcher), _deadline(asked)
    filters = both(asked.caller.within, wanted.filters)
    query = Query(wanted.query, top_k=wanted.top_k, filters=filters)
    result = await searcher.search(query)
    asked.state.metrics.observe_search(result)
    prepare, count = partial(searcher.preparing.run, deadline), excerpter.count
    rooms = await prepare(partial(excerpt_tokens, result, wanted.max_tokens, count))
    excerpts = await excerpter.cut(wanted.query, result.hits, rooms, deadline)
    return await prepare(partial(search_answer, result, excerpts, wanted.max_tokens, count))


async def fetch(wanted: FetchArguments, asked: Asked) -> Answer:
    """A document's text, or a part of it."""
    collection, deadline = asked.collection, _deadline(asked)
    with asked.state.reads.permit():
        with sentence():
            id_ = check_id(wanted.id)
        stored = await collection.documents.get(id_, deadline, asked.caller.within)
        if stored is None:
            raise NotFoundError("there is no document with this id")
        if wanted.start > (size := len(stored.document.text)):
            raise InvalidInputError(f"start: the document has {size} characters", "start")
        count = Excerpter(collection.searcher).count
        answer = partial(fetch_answer, stored, wanted.start, wanted.max_tokens, count)
        return await collection.searcher.preparing.run(deadline, answer)


def _deadline(asked: Asked) -> Deadline:
    return Deadline(asked.state.settings.timeout_ms / 1000)
