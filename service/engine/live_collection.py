"""One collection that is open: searched, written to and indexed at the same time."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass, field

from service.confidence.calibration import Calibration
from service.confidence.judge import Judge
from service.engine.build import index_identity, limits
from service.engine.calibrations import Calibrations
from service.engine.model_pool import ModelPool
from service.engine.passage_backend import note_backend, other_backend
from service.index.generation import Generation, open_or_build
from service.index.live_index import LiveIndex
from service.protocols import Encoder, Reranker
from service.scheduling.background import Background
from service.search.answer_cache import AnswerCache
from service.search.pair_model import PairModel
from service.search.retriever import Hybrid, Retriever
from service.search.searcher import Searcher
from service.search.second_stage import SLOW_RERANKS, SecondStage
from service.settings import DECIDING, Settings
from service.store.data_folder import CALIBRATION_FILE, CollectionFolder
from service.types import EncoderIdentity
from service.write.document_writes import Documents
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor
from service.write.passage_states import PassageStates, open_states

log = logging.getLogger(__name__)


@dataclass(slots=True)
class LiveCollection:
    """Store, index and models of one collection. `notes` are for the operator.

    `ingestor` and `jobs_encoder` are for jobs, which one thread runs; the indexer has others.
    """

    name: str
    folder: CollectionFolder
    searcher: Searcher
    documents: Documents
    indexer: Indexer
    ingestor: Ingestor
    jobs_encoder: Encoder
    calibrations: Calibrations
    notes: list[str] = field(default_factory=list)

    def use_calibration(self, artifact: Calibration | None) -> None:
        """Judge hits by this artifact from now on, or by the one before if it is None.

        Searches under way keep theirs. Raises as `Calibrations.keep` and `Calibrations.restore`.
        """
        if artifact is None:
            self.calibrations.restore()
        else:
            self.calibrations.keep(artifact)
        self.searcher.use_judge(self.calibrations.judge())

    def check(self) -> str:
        """`ok`, or what is wrong with the index. Raises `StoreError` if the store is damaged."""
        self.folder.store.check()
        with self.searcher.retriever.index.view(self.folder.store) as (store, index):
            stored, found = store.counts.passages, len(index)
        if not self.indexer.is_index_whole():
            self.indexer.wake()  # the compactor builds the next generation
            return "files of the index are gone; it is built again"
        return "ok" if found == stored else "index and store differ; restart"

    def close(self) -> None:
        """Stop the threads; the folder stays open."""
        self.documents.close()
        self.searcher.close()
        self.indexer.close()


def open_collection(
    name: str,
    folder: CollectionFolder,
    settings: Settings,
    pool: ModelPool,
    pair_model: PairModel | None = None,
) -> LiveCollection:
    """Load the models of one collection, check that they work, and start its threads."""
    encoder = pool.encoder(settings)
    reranker = pool.reranker(settings)
    path = folder.path / CALIBRATION_FILE
    calibrations = Calibrations(path, settings, encoder.identity, reranker)
    judge = calibrations.judge()
    generation = build_index(settings, folder, encoder.identity)
    retriever = _retriever(settings, folder, generation)
    retriever.find(encoder.encode_queries(["ready"]), 1, {})  # raises unless output is finite
    if reranker:
        reranker.score_pairs([("ready", "ready")])
    with ExitStack() as undo:
        states = open_states(settings, folder, reranker, encoder.identity)
        if states:
            undo.callback(states.close)
        stage = _second_stage(settings, encoder, reranker, judge, states)
        answers = build_answer_cache(settings, pair_model, retriever, stage)
        searcher = Searcher(encoder, retriever, stage, limits(settings), answers)
        undo.callback(searcher.close)
        # Twins of the encoder, so that no search waits for a batch of passages.
        twins = encoder.twin("indexer"), encoder.twin("bulk jobs")
        ingestor, jobs_ingestor = (_ingestor(settings, folder, twin, states) for twin in twins)
        if states:
            states.idle = lambda: searcher.in_flight == 0
        indexer = Indexer(
            folder,
            retriever.index,
            ingestor,
            index_identity(settings, encoder.identity),
            hnsw_threshold=settings.hnsw_threshold,
            states=states,
        )
        backend = other_backend(folder.store, encoder)
        notes = _notes(name, generation, calibrations, backend)
        note_backend(folder.store, encoder)
        documents = Documents(folder.store, indexer)
        indexer.start()  # last, because nothing would stop it if a later step failed
        undo.pop_all()
    return LiveCollection(
        name, folder, searcher, documents, indexer, jobs_ingestor, twins[1], calibrations, notes
    )


def build_index(
    settings: Settings,
    folder: CollectionFolder,
    encoder: EncoderIdentity,
    *,
    complete: bool = False,
) -> Generation:
    """The index for this encoder: the one on the disk, or a new one if that does not fit.

    Raises `IndexMismatchError` if the stored vectors are another model's.
    """
    return open_or_build(
        folder.store,
        folder.generations,
        index_identity(settings, encoder),
        hnsw_threshold=settings.hnsw_threshold,
        complete=complete,
    )


def build_answer_cache(
    settings: Settings, pair_model: PairModel | None, retriever: Retriever, stage: SecondStage
) -> AnswerCache | None:
    """The answer cache for these stages; None if the settings turn it off."""
    if pair_model is None or not settings.answer_cache:
        return None
    decided = settings.model_dump_json(include=set(DECIDING))
    return AnswerCache(
        pair_model,
        size=settings.answer_cache,
        ttl_s=settings.answer_cache_ttl_s,
        version=lambda: f"{retriever.version} {stage.judge.name} {decided}",
    )


def most_reranks(settings: Settings, reranker: Reranker | None, *, states_kept: bool) -> int:
    """How many searches may rerank or wait to rerank at a time."""
    if settings.max_reranks is not None:
        return settings.max_reranks
    quick = states_kept and reranker is not None and reranker.reads == "states"
    return settings.max_queue if quick else SLOW_RERANKS


def _retriever(settings: Settings, folder: CollectionFolder, generation: Generation) -> Retriever:
    with folder.store.view() as store:
        index = LiveIndex(generation, store)
    return Retriever(
        folder.store,
        index,
        passages_per_document=settings.passages_per_document,
        mode=settings.search_mode,
        hybrid=Hybrid(settings.hybrid_fusion, settings.hybrid_weight),
    )


def _second_stage(
    settings: Settings,
    encoder: Encoder,
    reranker: Reranker | None,
    judge: Judge,
    states: PassageStates | None,
) -> SecondStage:
    return SecondStage(
        reranker,
        judge,
        most_reranks(settings, reranker, states_kept=states is not None),
        encoder.identity.prefixes,
        states.file.get if states else None,
    )


def _ingestor(
    settings: Settings, folder: CollectionFolder, encoder: Encoder, states: PassageStates | None
) -> Ingestor:
    return Ingestor(
        folder.store,
        encoder,
        overlap=settings.passage_overlap,
        background=Background(),
        states=states,
    )


def _notes(
    name: str, generation: Generation, calibrations: Calibrations, other_backend: str | None
) -> list[str]:
    judge = calibrations.judge()
    notes = [note for note in (other_backend, calibrations.note) if note]
    if generation.rebuilt_because and len(generation.index):  # an empty one tells nothing
        # The log names the file; notes are for anyone who asks `/readyz`.
        reason = "it was damaged" if generation.damaged else generation.rebuilt_because
        notes.append(f"the index was rebuilt from the store: {reason}")
    if judge.name is None:
        notes.append("no calibration fits these models: every hit is uncalibrated")
    elif judge.reranker_weights_sha256 is not None and not judge.knows_reranker:
        notes.append(
            "no calibration fits this reranker, its variant or its share: reranked hits are "
            "uncalibrated"
        )
    elif judge.knows_reranker and not judge.fits_depth:
        notes.append(
            "the calibration was fitted at another rerank_depth: hits in a fused order are "
            "uncalibrated"
        )
    for note in notes:
        log.warning("collection %s: %s", name, note)
    return notes
