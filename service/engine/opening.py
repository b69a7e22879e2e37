"""The composition root: data folder, models and collections become an engine."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack

from pydantic import ValidationError

from service.confidence.judge import Judge
from service.engine.build import (
    build_answer_cache,
    build_judge,
    index_identity,
    limits,
    most_reranks,
)
from service.engine.bulk_jobs import Jobs
from service.engine.engine import Engine
from service.engine.live_collection import LiveCollection
from service.engine.model_pool import ModelPool
from service.errors import (
    IndexMismatchError,
    InvalidInputError,
    ModelError,
    SecondpassError,
    StoreError,
)
from service.index.generation import Generation, open_or_build
from service.index.live_index import LiveIndex
from service.scheduling.background import Background
from service.search.pair_model import PairModel
from service.search.retriever import Hybrid, Retriever
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.settings import Settings, settings_about
from service.store.catalog import DEFAULT, CollectionRecord, SettingValue
from service.store.data_folder import CollectionFolder, DataFolder
from service.text import language
from service.types import EncoderIdentity
from service.write.document_writes import Documents
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor
from service.write.passage_states import open_states

log = logging.getLogger(__name__)


def open_engine(
    settings: Settings,
    *,
    pairs: bool = True,
    jobs: bool = True,
    models: ModelPool | None = None,
) -> Engine:
    """Load models and collections and prove that they work.

    `pairs` False leaves out the pair model, and the answer cache with it; `jobs` False
    leaves bulk jobs as they are. A collection that cannot be opened is left out, and
    `Engine.unavailable` says why, unless it is the default one.

    Raises `StoreLockedError`, `IndexMismatchError`, `StoreError` or `ModelError`.
    """
    folder = DataFolder.open(settings.data_dir)
    folder.reserve.keep(settings.delete_reserve_bytes)
    engine = Engine(folder, models=models or ModelPool())
    try:
        language.load()
        encoder = engine.models.encoder(settings)
        engine.pair_model = engine.models.pair_model(settings, encoder) if pairs else None
        if engine.pair_model:
            engine.pair_model.encoder.encode_queries(["ready"])
        for name, record in folder.catalog.collections.items():
            _open_into(engine, name, record, settings)
        if jobs:
            engine.jobs = Jobs(
                settings.data_dir, engine.target, settings.document_limits, folder.reserve
            )
            engine.jobs.start()
    except BaseException:
        engine.close()
        raise
    return engine


def _open_into(engine: Engine, name: str, record: CollectionRecord, settings: Settings) -> None:
    """Let the engine have a collection of its folder; raises only where it is the default one."""
    folder = engine.folder
    try:
        own = settings_of(record.settings, settings)
        engine.put(
            open_collection(name, folder.collection(name), own, engine.models, engine.pair_model)
        )
    except Exception as error:  # whatever it is, the other collections are to be searched
        if name == folder.catalog.resolve(DEFAULT):
            raise
        unforeseen = None if isinstance(error, SecondpassError) else error
        log.error("the collection %r cannot be opened: %s", name, error, exc_info=unforeseen)
        engine.unavailable[name] = _reason(error)


def _reason(error: Exception) -> str:
    """In words that name none of the server's folders: the log has those."""
    if isinstance(error, IndexMismatchError):
        return "its vectors were made by another encoder; see the server's log"
    if isinstance(error, StoreError):
        return "its store cannot be used; see the server's log"
    if isinstance(error, InvalidInputError):
        return "its settings do not fit; see the server's log"
    if isinstance(error, ModelError):
        return "its models cannot be loaded; see the server's log"
    return "it cannot be opened; see the server's log"


def settings_of(own: Mapping[str, SettingValue], settings: Settings) -> Settings:
    """The server's settings with what the collection has of its own.

    Where the collection has another encoder, what the server's settings say about theirs does not
    apply. Raises `InvalidInputError` where they do not fit.
    """
    if unknown := sorted(own.keys() - Settings.model_fields.keys()):
        raise InvalidInputError(f"there is no setting {unknown[0]!r}", f"settings.{unknown[0]}")
    values = settings.model_dump()
    if own.get("encoder", settings.encoder) != settings.encoder:
        values |= dict.fromkeys(settings_about("encoder"))
    try:
        return Settings.model_validate({**values, **own})
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        field = str(found["loc"][0]) if found["loc"] else "passage_overlap"
        message = found["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"{field}: {message}", f"settings.{field}") from error


def open_collection(
    name: str,
    folder: CollectionFolder,
    settings: Settings,
    pool: ModelPool,
    pair_model: PairModel | None = None,
) -> LiveCollection:
    """Load what one collection needs, prove it, and start its threads."""
    encoder = pool.encoder(settings)
    reranker = pool.reranker(settings, encoder)
    judge = build_judge(settings, encoder, reranker)
    generation = build_index(settings, folder, encoder.identity)
    with folder.store.view() as store:
        index = LiveIndex(generation, store)
    retriever = Retriever(
        folder.store,
        index,
        passages_per_document=settings.passages_per_document,
        mode=settings.search_mode,
        hybrid=Hybrid(settings.hybrid_fusion, settings.hybrid_weight),
    )
    retriever.find(encoder.encode_queries(["ready"]), 1, {})  # output that is not finite raises
    if reranker:
        reranker.score_pairs([("ready", "ready")])
    with ExitStack() as opened:  # closes what a later step leaves behind by raising
        states = open_states(settings, folder, reranker, encoder.identity)
        if states:
            opened.callback(states.close)
        searcher = Searcher(
            encoder,
            retriever,
            SecondStage(
                reranker,
                judge,
                most_reranks(settings, reranker, states_kept=states is not None),
                (encoder.identity.query_prefix, encoder.identity.passage_prefix),
                states.file.get if states else None,
            ),
            limits(settings),
            build_answer_cache(settings, pair_model, retriever),
        )
        opened.callback(searcher.close)
        # Twins, so that no search waits for a batch of passages.
        ingestor, jobs_ingestor = (
            Ingestor(
                folder.store,
                twin,
                overlap=settings.passage_overlap,
                background=Background(),
                states=states,
            )
            for twin in (pool.twin(encoder, of) for of in ("indexer", "bulk jobs"))
        )
        if states:
            states.idle = lambda: searcher.in_flight == 0
        indexer = Indexer(
            folder,
            index,
            ingestor,
            index_identity(settings, encoder.identity),
            hnsw_threshold=settings.hnsw_threshold,
            states=states,
        )
        documents, notes = Documents(folder.store, indexer), _notes(name, generation, judge)
        indexer.start()  # the last that can fail: nothing would stop it
        opened.pop_all()
    return LiveCollection(name, folder, searcher, documents, indexer, jobs_ingestor, notes)


def build_index(
    settings: Settings,
    folder: CollectionFolder,
    encoder: EncoderIdentity,
    *,
    complete: bool = False,
) -> Generation:
    """The folder's index for this encoder: the one on the disk, or a new one where it must be.

    Raises `IndexMismatchError` where the stored vectors are another model's.
    """
    return open_or_build(
        folder.store,
        folder.generations,
        index_identity(settings, encoder),
        hnsw_threshold=settings.hnsw_threshold,
        complete=complete,
    )


def _notes(name: str, generation: Generation, judge: Judge) -> list[str]:
    notes = []
    if generation.rebuilt_because:
        # The log says which file: a note is for anybody who asks `/readyz`.
        reason = "it was damaged" if generation.damaged else generation.rebuilt_because
        notes.append(f"the index was rebuilt from the store: {reason}")
    if judge.name is None:
        notes.append("no calibration fits these models: every hit is uncalibrated")
    elif judge.reranker_weights_sha256 is not None and not judge.knows_reranker:
        notes.append(
            "no calibration fits this reranker or its share: reranked hits are uncalibrated"
        )
    elif judge.knows_reranker and not judge.fits_depth:
        notes.append(
            "the calibration was fitted at another rerank_depth: hits in a fused order are "
            "uncalibrated"
        )
    for note in notes:
        log.warning("collection %s: %s", name, note)
    return notes
