"""Token states of passages: made with their vectors, handed to the store, found by id."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from service.encoder.bi_encoder import BiEncoder
from service.errors import InferenceError, StoreDamagedError, StoreFullError
from service.models.folder import open_folder
from service.models.sources import prepare
from service.protocols import Reranker
from service.reranker.interaction import InteractionConfig, InteractionHead
from service.reranker.interaction_reranker import InteractionReranker
from service.reranker.open_cross_encoder import open_cross_encoder
from service.reranker.pair_tokens import PairTokenizer
from service.search.query import encode_queries
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.store.state_store import StateStore
from service.types import Document, EncodedPassage, IndexIdentity, PairScore, TokenStates
from service.write.ingestor import Ingestor
from service.write.passage_states import PassageStates, open_states
from service.write.staged import LONG_CHARS, STAGED_PASSAGES
from tests.fixtures.doubles import ScriptedReranker
from tests.fixtures.library import QUESTIONS
from tests.fixtures.small_models import write_small_encoder, write_small_reranker
from tests.fixtures.stores import now

TEXTS = [
    "Tomatoes want full sun.",
    "Tie the stem to a stake before the first truss is heavy.",
    "Compost needs air, moisture and a mix of green and brown.",
    "A tuple names several exceptions.",
    "sorted is stable.",
    "Files are closed by the with statement, whatever the block that it wraps may raise.",
    "Turn the heap every few weeks.",
    "The exception object is bound with the as keyword.",
]
DOCUMENTS = [Document(f"d{n}", text) for n, text in enumerate(TEXTS)]
QUERY = next(iter(QUESTIONS))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def encoder(base: Path) -> BiEncoder:
    sha256 = open_folder(base, "bi-encoder").sha256
    identity = IndexIdentity("small", sha256, 32, "query: ", "passage: ", 64, 1)
    return BiEncoder(base, identity, batch_tokens=512, device="cpu")


class Counting:
    """The encoder's transformer, which counts the texts whose states are made by it."""

    def __init__(self, encoder: BiEncoder) -> None:
        assert encoder.transformer is not None
        self._model, self.made = encoder.transformer, 0
        self.prefix_tokens = self._model.prefix_tokens

    def states(
        self, texts: Sequence[str], /, window: int, layers: Sequence[int]
    ) -> list[TokenStates]:
        self.made += len(texts)
        return self._model.states(texts, window, layers)


@pytest.fixture
def counting(encoder: BiEncoder) -> Counting:
    return Counting(encoder)


@pytest.fixture
def make(base: Path, encoder: BiEncoder, tmp_path: Path) -> Callable[..., InteractionReranker]:
    def make(
        counting: Counting, passage_tokens: int = 64, sha256: str = "a"
    ) -> InteractionReranker:
        torch.manual_seed(1)
        head = InteractionHead(
            InteractionConfig(
                base="small",
                base_weights_sha256=encoder.identity.weights_sha256,
                query_prefix="query: ",
                passage_prefix="passage: ",
                layers=(0, 1),
                hidden=32,
                dimension=8,
                passage_tokens=passage_tokens,
            )
        )
        head.save(tmp_path / "head")
        return InteractionReranker(
            tmp_path / "head", base, counting, model="head", weights_sha256=sha256, cache_bytes=0
        )

    return make


@pytest.fixture
def folder(tmp_path: Path, encoder: BiEncoder) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.store.set_identity(encoder.identity)
        yield folder


def followed(states: PassageStates) -> None:
    while states.follow():
        pass


def opened(folder: DataFolder, reranker: InteractionReranker, encoder: BiEncoder) -> PassageStates:
    states = open_states(Settings(), folder.main, reranker, encoder.identity)
    assert states is not None
    return states


PAIRS = [(QUERY, text) for text in TEXTS]


def ingesting(folder: DataFolder, encoder: BiEncoder, states: PassageStates | None) -> Ingestor:
    return Ingestor(folder.store, encoder, overlap=0, chunked=False, states=states)


def scored(
    folder: DataFolder, states: PassageStates, reranker: Reranker, encoder: BiEncoder
) -> list[PairScore]:
    """Scores of all passages in the order of their ids, as a search has them made."""
    (asked,) = encode_queries(encoder, [QUERY], reranker.layers(encoder.identity))
    passages = list(now(folder.store).passages(live(folder)).values())
    passages.sort(key=lambda passage: passage.id)
    stored = states.file.get(passages)
    given = [EncodedPassage(passage.text, stored.get(passage.id)) for passage in passages]
    return next(reranker.score(asked, [given]))


def test_what_is_ingested_is_reranked_without_a_pass(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting)
    plain = reranker.score_pairs(PAIRS)
    states = opened(folder, reranker, encoder)
    ingesting(folder, encoder, states).ingest(DOCUMENTS)
    counting.made = 0
    followed(states)
    found = scored(folder, states, reranker, encoder)
    assert counting.made == 0
    assert [f.logit for f in found] == pytest.approx([p.logit for p in plain], abs=0.002)
    assert [f.truncated for f in found] == [p.truncated for p in plain]
    states.close()


def test_passages_are_never_seen_between_their_vectors_and_their_states(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = opened(folder, make(counting), encoder)
    put = StateStore.put

    def slow(store: StateStore, rows: object) -> None:
        assert len(live(folder)) == len(DOCUMENTS)
        assert not following.wait(0.2), "it would make these states once more"
        put(store, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(StateStore, "put", slow)
    following = threading.Event()
    thread = threading.Thread(target=lambda: (followed(states), following.set()))
    write = ingesting(folder, encoder, states)
    monkeypatch.setattr(
        folder.store, "put", lambda *given, put=folder.store.put: (put(*given), thread.start())[0]
    )
    write.ingest(DOCUMENTS)
    thread.join()
    assert counting.made == 0
    assert kept(folder, states) == live(folder)


def test_vectors_are_the_encoders_own(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    texts = [d.text for d in DOCUMENTS] * 3
    vectors, packed = states.encode(encoder, texts)
    assert np.abs(vectors - encoder.encode_passages(texts)).max() < 1e-6
    assert packed[: len(TEXTS)] == packed[len(TEXTS) : 2 * len(TEXTS)]
    assert None not in packed
    states.close()


def test_a_query_is_read_once(
    encoder: BiEncoder, counting: Counting, make: Callable[..., InteractionReranker]
) -> None:
    reranker = make(counting)
    plain = reranker.score_pairs(PAIRS)
    asked, other = encode_queries(encoder, [QUERY, TEXTS[0]], reranker.layers(encoder.identity))
    alone = encode_queries(encoder, [QUERY, TEXTS[0]])
    for with_states, without in zip((asked, other), alone, strict=True):
        assert np.abs(with_states.vectors - without.vectors).max() < 1e-6
    counting.made = 0
    passages = [EncodedPassage(text) for text in TEXTS]
    slices = reranker.score(asked, [passages[:3], passages[3:]])
    scores = [score for part in slices for score in part]
    assert counting.made == len(PAIRS)  # none for the query
    assert [s.logit for s in scores] == pytest.approx([p.logit for p in plain], abs=0.002)
    counting.made = 0
    list(reranker.score(alone[0], [passages[:3], passages[3:]]))
    assert counting.made == len(PAIRS) + 1  # without its states, once for all slices


def test_passages_that_are_older_than_the_file_get_states_too(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    Ingestor(folder.store, encoder, overlap=0, chunked=False).ingest(DOCUMENTS)
    states = opened(folder, make(counting), encoder)
    busy = [True, True, False]
    states.idle = lambda: not (busy.pop(0) if busy else False)
    assert states.follow()
    assert counting.made == 0  # a search was under way
    followed(states)
    assert counting.made == len(DOCUMENTS)
    states.close()
    again = opened(folder, make(counting), encoder)
    followed(again)
    assert counting.made == len(DOCUMENTS)
    again.close()
    other = opened(folder, make(counting, sha256="b"), encoder)
    followed(other)
    assert counting.made == 2 * len(DOCUMENTS)
    other.close()


def test_removed_and_changed_documents_lose_their_states(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    ingestor = ingesting(folder, encoder, states)
    ingestor.ingest(DOCUMENTS)
    followed(states)
    folder.store.delete([DOCUMENTS[0].id])
    ingestor.ingest([Document(DOCUMENTS[1].id, "Something else entirely.")])
    followed(states)
    assert live(folder) == kept(folder, states)
    assert len(live(folder)) == len(DOCUMENTS) - 1


def test_an_encoder_of_other_weights_leaves_none(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting)
    other = IndexIdentity("other", "0" * 64, 32, "query: ", "passage: ", 64, 1)
    assert reranker.layers(encoder.identity) == (0, 1)
    assert reranker.layers(other) == ()
    states = open_states(Settings(), folder.main, reranker, other)
    assert states is not None
    assert states.encode(encoder, TEXTS)[1] == [None] * len(TEXTS)
    states.close()
    assert open_states(Settings(passage_states=False), folder.main, reranker, other) is None
    assert open_states(Settings(), folder.main, None, other) is None
    assert open_states(Settings(), folder.main, ScriptedReranker(len), other) is None


def test_a_passage_that_the_reranker_cuts_elsewhere_is_read_again(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting, passage_tokens=24)
    plain = reranker.score_pairs(PAIRS)
    assert any(score.truncated for score in plain)
    states = opened(folder, reranker, encoder)
    ingesting(folder, encoder, states).ingest(DOCUMENTS)
    followed(states)
    assert [s.logit for s in scored(folder, states, reranker, encoder)] == pytest.approx(
        [s.logit for s in plain], abs=0.002
    )
    states.close()


def test_passages_that_cannot_be_encoded_hold_up_no_other(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    many = [Document(f"m{n}", f"{text} {n}") for n in range(3) for text in TEXTS]
    many = [Document(f"{d.id}-{i}", d.text) for i, d in enumerate(many)]
    Ingestor(folder.store, encoder, overlap=0, chunked=False).ingest(many)
    reranker = make(counting)
    whole = reranker.pack

    def broken(texts: Sequence[str]) -> list[bytes]:
        if many[5].text in texts:
            raise InferenceError("not finite")
        return whole(texts)

    reranker.pack = broken  # type: ignore[method-assign]
    states = opened(folder, reranker, encoder)
    followed(states)
    assert caplog.text.count("no token states") == 1
    assert len(kept(folder, states)) == len(many) - 1


def test_an_ingest_without_a_server_makes_no_second_pass(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    ingesting(folder, encoder, None).ingest(DOCUMENTS[:3])
    states = opened(folder, make(counting), encoder)
    ingesting(folder, encoder, states).ingest(DOCUMENTS[3:])
    assert counting.made == 0
    assert kept(folder, states) == live(folder)[3:]


def test_a_long_document_has_the_states_of_all_its_slices(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    text = " ".join(f"{TEXTS[n % len(TEXTS)]} It is rule {n}." for n in range(200))
    assert len(text) > LONG_CHARS
    folder.store.stage([Document("long", text), Document("short", TEXTS[0])])
    ingestor = Ingestor(folder.store, encoder, overlap=0, states=states)
    while ingestor.index_staged():
        pass
    assert counting.made == 0
    assert len(live(folder)) > 2 * STAGED_PASSAGES
    assert kept(folder, states) == live(folder)


def test_states_that_cannot_be_written_cost_no_document(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    states = opened(folder, make(counting), encoder)
    followed(states)
    with monkeypatch.context() as broken:
        broken.setattr(StateStore, "put", Mock(side_effect=StoreFullError("the disk is full")))
        for document in DOCUMENTS[:2]:
            ingesting(folder, encoder, states).ingest([document])
    assert caplog.text.count("the disk is full") == 1
    followed(states)
    assert counting.made == 2
    ingesting(folder, encoder, states).ingest(DOCUMENTS[2:])
    followed(states)
    assert counting.made == 2, "states are stored with their vectors again"
    assert kept(folder, states) == live(folder)


def test_passages_that_went_hold_up_no_other(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    many = [Document(f"m{n:02}", f"{TEXTS[n % 8]} {n}") for n in range(40)]
    Ingestor(folder.store, encoder, overlap=0, chunked=False).ingest(many)
    states = opened(folder, make(counting), encoder)
    assert states.follow()
    folder.store.delete([d.id for d in many[8:24]])  # the next on the list
    followed(states)
    assert kept(folder, states) == live(folder)
    assert len(live(folder)) == 24


def test_states_that_are_lost_while_in_use_are_made_again(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    ingesting(folder, encoder, states).ingest(DOCUMENTS)
    followed(states)
    states.file._make_again(StoreDamagedError("a page is damaged"))
    followed(states)
    assert kept(folder, states) == live(folder)


def live(folder: DataFolder) -> list[int]:
    with folder.store.view() as view:
        return view.allowed({}).tolist()


def kept(folder: DataFolder, states: PassageStates) -> list[int]:
    """Passages with states, once the file is closed."""
    states.close()
    with folder.store.view() as view:
        store = StateStore(folder.path / "states.db", f"a of {view.id}")
    try:
        assert not store.losses
        return store.passages().tolist()
    finally:
        store.close()


def test_of_a_cross_encoder_the_token_ids_are_kept(
    folder: DataFolder,
    encoder: BiEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = write_small_reranker(tmp_path / "cross")
    settings = Settings(cache_dir=tmp_path / "cache", device="cpu", rerank_backend="torch")
    model = prepare(str(written), "cross-encoder", cache_dir=settings.cache_dir, offline=True)
    plain = open_cross_encoder(settings, model).score_pairs(PAIRS)

    tokenised: list[str] = []
    encode = PairTokenizer._encode

    def counted(self: PairTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
        tokenised.extend(texts)
        return encode(self, texts)

    reranker = open_cross_encoder(settings, model)
    states = open_states(settings, folder.main, reranker, encoder.identity)
    assert states is not None
    ingesting(folder, encoder, states).ingest(DOCUMENTS)
    followed(states)
    monkeypatch.setattr(PairTokenizer, "_encode", counted)
    assert scored(folder, states, reranker, encoder) == plain
    assert tokenised == [QUERY]
    states.close()
