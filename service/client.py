"""The Python client, which is a package of its own: `secondpass_client`."""

from secondpass_client import *  # noqa: F403
from secondpass_client import __all__  # noqa: F401
