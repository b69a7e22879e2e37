"""Who may reach a server without keys, and under which names."""

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.api.auth import require_keys_or_loopback
from service.errors import InvalidInputError, StoreError
from service.settings import Settings
from service.store.key_file import hash_key
from tests.cli.test_commands import secondpass

KEYS = frozenset({hash_key("right")})


def status(name: str, **given: object) -> int:
    def load() -> None:
        raise StoreError("nothing is loaded here")

    app = create_app(Settings(**given), load)  # type: ignore[arg-type]
    with TestClient(app) as client:
        answer = client.get("/livez", headers={"Host": name})
    if answer.status_code != 200:
        assert answer.json()["error"]["code"] == "misdirected_request"
        assert answer.headers["X-Request-ID"] == answer.json()["error"]["request_id"]
    return answer.status_code


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8000", "LOCALHOST.", "search.localhost", "127.0.0.1", "[::1]",
        "127.1.2.3:80", "[::1]:8000", "192.168.1.5:8000", "[fe80::1]",
    ],
)  # fmt: skip
def test_loopback_names_and_addresses_are_answered(host: str) -> None:
    assert status(host, allowed_hosts=frozenset()) == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example", "rebound.example:8000", "localhost.rebound.example", "127.0.0.1.nip.io",
        "notlocalhost", "localhost@rebound.example", "[::1].rebound.example", "[::1", "a:b:c",
        "127.0.0.1:80:80",
    ],
)  # fmt: skip
def test_another_name_is_refused_where_no_keys_are_set(host: str) -> None:
    assert status(host, allowed_hosts=frozenset()) == 421


def test_the_operators_names_are_answered() -> None:
    assert status("search", allowed_hosts="search, search.example") == 200
    assert status("SEARCH.example:443", allowed_hosts="search, search.example") == 200
    assert status("other.example", allowed_hosts="search, search.example") == 421
    assert status("other.example", allowed_hosts="*") == 200
    assert status("here.example", host="here.example", allowed_hosts="") == 200
    assert status("other.example", api_key_hashes=KEYS, allowed_hosts="") == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "2001:db8::1"])
def test_an_address_that_others_reach_needs_keys_or_a_word(host: str) -> None:
    with pytest.raises(InvalidInputError, match="--allow-anonymous") as caught:
        require_keys_or_loopback(Settings(host=host))
    assert caught.value.field == "host"
    require_keys_or_loopback(Settings(host=host, allow_anonymous=True))
    require_keys_or_loopback(Settings(host=host, api_key_hashes=KEYS))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_loopback_needs_neither(host: str) -> None:
    require_keys_or_loopback(Settings(host=host))


def test_the_command_refuses_before_anything_is_loaded() -> None:
    done = secondpass("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "--allow-anonymous" in done.stderr
    assert "secondpass key" in done.stderr
