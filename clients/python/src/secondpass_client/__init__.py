"""Python clients of the service: `SearchClient` and `AsyncSearchClient`.

Example:
    with SearchClient("http://127.0.0.1:8000") as client:
        result = client.search("catch several exceptions in one handler", top_k=3)
        for hit in result.hits:
            ...  # hit.id, hit.text, hit.confidence

Every error of a call is a `SearchError`; wrong arguments are a `ValueError`.
"""

from secondpass_client import details, errors, label_records, records
from secondpass_client.clients import AsyncSearchClient, SearchClient
from secondpass_client.details import *  # noqa: F403
from secondpass_client.errors import *  # noqa: F403
from secondpass_client.filters import Filters
from secondpass_client.label_records import *  # noqa: F403
from secondpass_client.records import *  # noqa: F403
from secondpass_client.searches import Boost, SearchFields, ShownFields

__all__ = ["AsyncSearchClient", "Boost", "Filters", "SearchClient", "SearchFields", "ShownFields"]
__all__ += details.__all__
__all__ += errors.__all__
__all__ += label_records.__all__
__all__ += records.__all__
