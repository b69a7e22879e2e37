"""Labels and feedback: which hits of a query are relevant."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Literal, Required, TypedDict

from secondpass_client.archives import ZIP, Download
from secondpass_client.calls import Calls, given, turned_away
from secondpass_client.label_records import Calibration, LabelCounts, LabelledQuery, LabelPage

Judgement = Literal["relevant", "partly", "not_relevant"]
LabelSet = Literal["labels", "feedback"]
"""What people judged on purpose, or what an application's users did."""


class FeedbackHit(TypedDict, total=False):
    """What a user did with a hit: clicked it, judged it, or both. `rank` is where it was shown."""

    id: Required[str]
    clicked: bool
    judgement: Judgement
    rank: int


class LabelCalls(Calls):
    """The calls on labels."""

    async def label(
        self,
        query: str,
        judgements: Mapping[str, Judgement | None],
        *,
        collection: str | None = None,
    ) -> None:
        """Say which documents are relevant to a query, by id; None removes a label.

        Example:
            client.label("why does the sea rise", {"tides": "relevant", "moon": "partly"})
        """
        hits = [{"id": id_, "judgement": word} for id_, word in judgements.items()]
        path = self._path(collection, "labels")
        await self._send("POST", path, json={"query": query, "hits": hits})

    async def send_feedback(
        self,
        query: str,
        hits: Iterable[FeedbackHit],
        *,
        request_id: str | None = None,
        collection: str | None = None,
    ) -> None:
        """Tell what a user did with the hits of a search.

        With the search's `request_id` a repeated attempt counts no click twice.
        """
        body = {"query": query, "hits": list(hits), **given(request_id=request_id)}
        again = turned_away if request_id is None else None
        await self._send("POST", self._path(collection, "feedback"), json=body, again=again)

    async def labels(
        self, of: LabelSet = "labels", *, collection: str | None = None
    ) -> AsyncIterator[LabelledQuery]:
        """All labelled queries, oldest first."""
        cursor: str | None = None
        while True:
            params = given(cursor=cursor)
            page = await self._ask(LabelPage, "GET", self._path(collection, of), params=params)
            for query in page.queries:
                yield query
            if (cursor := page.cursor) is None:
                return

    async def label_counts(
        self, of: LabelSet = "labels", *, collection: str | None = None
    ) -> LabelCounts:
        """How many there are."""
        params = {"limit": 1}
        path = self._path(collection, of)
        return await self._ask(LabelCounts, "GET", path, part="counts", params=params)

    async def delete_labels(
        self,
        of: LabelSet = "labels",
        *,
        query_id: str | None = None,
        collection: str | None = None,
    ) -> int:
        """Delete all labels, or those of one query; returns how many judged hits that were."""
        path, params = self._path(collection, of), given(query_id=query_id)
        return await self._ask(
            int, "DELETE", path, part="deleted", params=params, again=turned_away
        )

    async def evaluate(self, of: LabelSet = "labels", *, collection: str | None = None) -> str:
        """Measure search by the labels; returns the id of a job, whose `result` is the report.

        Raises `ConflictError` if such a job is under way.

        Example:
            report = client.wait(client.evaluate()).result
        """
        return await self._start("evaluation", of, collection)

    async def calibrate(self, of: LabelSet = "labels", *, collection: str | None = None) -> str:
        """Fit the confidence to the labels; returns the id of a job.

        Searches use the new calibration as soon as the job is done. A job that failed says in its
        `reason` what the labels are too few for. Raises as `evaluate`.
        """
        return await self._start("calibration", of, collection)

    async def calibration(self, *, collection: str | None = None) -> Calibration:
        """What says how sure a hit is."""
        return await self._ask(Calibration, "GET", self._path(collection, "calibration"))

    async def restore_calibration(self, *, collection: str | None = None) -> Calibration:
        """Go back to the calibration before; called again, it undoes that.

        Raises `ConflictError` if there is none.
        """
        path = self._path(collection, "calibration", "restore")
        return await self._ask(Calibration, "POST", path, json={}, again=turned_away)

    async def _start(self, kind: str, of: LabelSet, collection: str | None) -> str:
        path, body = self._path(collection, kind), {"labels": of}
        return await self._ask(
            str, "POST", path, part="job_id", json=body, accepted=(202,), again=turned_away
        )

    async def export_labels(
        self, path: str | Path, of: LabelSet = "labels", *, collection: str | None = None
    ) -> None:
        """Write a zip of a BEIR folder to `path`, in constant memory; whole or not at all."""
        offload = self._wire.offload
        download = await offload(Download, Path(path), ZIP)
        try:
            archive = self._wire.stream(self._path(collection, of, "export"))
            async with aclosing(archive):
                async for piece in archive:
                    await offload(download.write, piece)
            await offload(download.keep)
        finally:
            await offload(download.close)
