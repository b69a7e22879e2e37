from pathlib import Path

import pytest

from secondpass_client import AsyncSearchClient, SearchClient
from service.settings import Settings
from service.store.key_file import KeyFile
from tests.fixtures.hash_server import running

