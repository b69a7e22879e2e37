"""What keeps an answer from being late: the socket, and routes that need no other thread."""

import asyncio
import errno
import inspect
import socket

import pytest
from fastapi.dependencies.models import Dependant

from service.api.routes import search
from service.api.server import _listen
from service.errors import InvalidInputError


def test_the_end_of_an_answer_is_not_held_back_until_its_beginning_is_acknowledged() -> None:
    async def run() -> int:
        accepted = asyncio.get_running_loop().create_future()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = _listen("127.0.0.1", 0)
        async with await asyncio.start_server(serve, sock=listener):
            _reader, writer = await asyncio.open_connection(*listener.getsockname())
            no_delay = await accepted
            writer.close()
            return no_delay

    assert asyncio.run(run())


def test_an_address_of_a_kind_that_this_host_lacks_is_an_error_of_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_of_these(*_: object) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", none_of_these)
    with pytest.raises(InvalidInputError, match="cannot listen on ::1:0: Address family") as caught:
        _listen("::1", 0)
    assert caught.value.field == "port"


def test_a_search_goes_through_no_thread_but_those_of_the_models() -> None:
    def all_of(dependant: Dependant) -> list[Dependant]:
        return [dependant, *(one for part in dependant.dependencies for one in all_of(part))]

    assert {route.path for route in search.router.routes} == {"/search", "/search/batch"}
    for route in search.router.routes:
        for dependant in all_of(route.dependant):
            call = dependant.call
            assert inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(call.__call__)
