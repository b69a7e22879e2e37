"""The blocking client has what the asynchronous one has, and never waits on an event loop."""

import asyncio
import inspect
from typing import Any

import httpx
import pytest

import secondpass_client
from secondpass_client import AsyncSearchClient, SearchClient, UnexpectedAnswerError
from secondpass_client.wire import run
from service import client as within_the_service


def methods(kind: type) -> dict[str, Any]:
    """The public methods, without those that close a client."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: method for name, method in found if name.strip("_") == name}


def test_both_have_the_same_methods_with_the_same_parameters() -> None:
    blocking, asynchronous = methods(SearchClient), methods(AsyncSearchClient)
    assert blocking.keys() - {"close"} == asynchronous.keys() - {"aclose"}
    for name in blocking.keys() - {"close", "bulk"}:
        parameters, others = (
            inspect.signature(kind[name]).parameters for kind in (blocking, asynchronous)
        )
        assert parameters == others
        assert blocking[name].__doc__ == asynchronous[name].__doc__
        assert not inspect.iscoroutinefunction(blocking[name])


def test_a_blocking_call_works_where_an_event_loop_runs() -> None:
    async def ask() -> bool:
        transport = httpx.MockTransport(lambda _: httpx.Response(204))
        with SearchClient("http://search", transport=transport) as client:
            client.delete_document("a")
        return True

    assert asyncio.run(ask())


def test_a_call_that_would_have_to_wait_is_a_mistake_of_the_client() -> None:
    waiting = asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="has waited"):
        run(waiting)


@pytest.mark.parametrize("answer", ["{}", "[]", '{"jobs": [{}]}', '{"jobs": null}'])
def test_an_answer_without_the_part_that_was_asked_for_is_an_error(answer: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=answer))
    client = SearchClient("http://search", transport=transport)
    with client, pytest.raises(UnexpectedAnswerError):
        client.jobs()


def test_events_may_be_cut_anywhere_and_must_be_jobs() -> None:
    job = b'{"job_id":"j","collection":"m","state":"done","done":1,"refused":0,"total":1}'
    sent = b": ping\r\n\r\nevent: job\ndata: " + job.replace(b'"m"', '"\u2028é"'.encode()) + b"\n\n"

    class Pieces(httpx.SyncByteStream):
        def __init__(self, content: bytes) -> None:
            self._content = content

        def __iter__(self) -> Any:
            return (self._content[at : at + 1] for at in range(len(self._content)))

    def client(content: bytes) -> SearchClient:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Pieces(content)))
        return SearchClient("http://search", transport=transport)

    assert client(sent).wait("j").collection == "\u2028é"
    with pytest.raises(UnexpectedAnswerError):
        client(b'data: {"job_id": 1}\n\n').wait("j")


def test_the_service_hands_the_client_on() -> None:
    assert within_the_service.__all__ == secondpass_client.__all__
    for name in secondpass_client.__all__:
        assert getattr(within_the_service, name) is getattr(secondpass_client, name)
