"""Token states of passages: made with their vectors, followed by id, found by text."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from service.encoder.bi_encoder import BiEncoder
from service.errors import InferenceError, StoreDamagedError
from service.index.data_folder import DataFolder
from service.index.state_store import StateStore
from service.models.folder import open_folder
from service.models.sources import prepare
from service.pipeline.ingest import Ingestor
from service.pipeline.passage_states import PassageStates, open_states
from service.reranker.interaction import InteractionConfig, InteractionHead
from service.reranker.interaction_reranker import InteractionReranker
from service.reranker.opening import open_cross_encoder
from service.reranker.pair_tokens import PairTokenizer
from service.settings import Settings
from service.types import Document, IndexIdentity, TokenStates
from tests.fixtures.library import QUESTIONS
from tests.fixtures.small_models import write_small_encoder, write_small_reranker

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


def test_what_is_ingested_is_reranked_without_a_pass(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting)
    plain = reranker.score(PAIRS)
    states = opened(folder, reranker, encoder)
    Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False).ingest(DOCUMENTS)
    counting.made = 0
    followed(states)
    found = states.reranker.score(PAIRS)
    assert counting.made == 0  # nor for the query, which is remembered
    assert [f.logit for f in found] == pytest.approx([p.logit for p in plain], abs=0.002)
    assert [f.truncated for f in found] == [p.truncated for p in plain]
    states.close()


def test_states_that_are_on_their_way_to_the_disk_are_read_already(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reranker = make(counting)
    plain = reranker.score(PAIRS)
    states = opened(folder, reranker, encoder)
    Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False).ingest(DOCUMENTS)
    counting.made = 0
    put, during = StateStore.put, []

    def slow(store: StateStore, rows: object) -> None:
        during.append([found.logit for found in states.reranker.score(PAIRS)])
        put(store, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(StateStore, "put", slow)
    before = [found.logit for found in states.reranker.score(PAIRS)]
    followed(states)
    assert counting.made == 0
    for logits in (before, *during):
        assert logits == pytest.approx([p.logit for p in plain], abs=0.002)
    states.close()


def test_vectors_are_the_encoders_own(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    texts = [d.text for d in DOCUMENTS] * 3
    kept = states.encoder(encoder).encode_passages(texts)
    assert np.abs(kept - encoder.encode_passages(texts)).max() < 1e-6
    states.close()


def test_a_query_is_read_once(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting)
    plain = make(counting).score(PAIRS)
    states = opened(folder, reranker, encoder)
    reranker.pack_texts(TEXTS)
    found = states.encoder(encoder).encode_queries([QUERY, TEXTS[0]])
    assert np.abs(found - encoder.encode_queries([QUERY, TEXTS[0]])).max() < 1e-6
    counting.made = 0
    scores = states.reranker.score(PAIRS)
    assert counting.made == len(PAIRS)  # none for the query
    assert [s.logit for s in scores] == pytest.approx([p.logit for p in plain], abs=0.002)
    states.close()


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
    states.reranker.score(PAIRS)
    assert counting.made == len(DOCUMENTS) + 1  # the query
    states.close()
    again = opened(folder, make(counting), encoder)
    followed(again)
    assert counting.made == len(DOCUMENTS) + 1
    again.close()
    other = opened(folder, make(counting, sha256="b"), encoder)
    followed(other)
    assert counting.made == 2 * len(DOCUMENTS) + 1
    other.close()


def test_removed_and_changed_documents_lose_their_states(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    ingestor = Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False)
    ingestor.ingest(DOCUMENTS)
    followed(states)
    folder.store.delete([DOCUMENTS[0].id])
    ingestor.ingest([Document(DOCUMENTS[1].id, "Something else entirely.")])
    followed(states)
    assert live(folder) == kept(folder)
    assert len(live(folder)) == len(DOCUMENTS) - 1
    states.close()


def test_an_encoder_of_other_weights_leaves_none(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting)
    other = IndexIdentity("other", "0" * 64, 32, "query: ", "passage: ", 64, 1)
    states = open_states(Settings(), folder.main, reranker, other)
    assert states is not None
    assert states.encoder(encoder) is encoder
    states.close()
    assert open_states(Settings(passage_states=False), folder.main, reranker, other) is None
    assert open_states(Settings(), folder.main, None, other) is None


def test_a_passage_that_the_reranker_cuts_elsewhere_is_read_again(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    reranker = make(counting, passage_tokens=24)
    plain = reranker.score(PAIRS)
    assert any(score.truncated for score in plain)
    states = opened(folder, reranker, encoder)
    Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False).ingest(DOCUMENTS)
    followed(states)
    assert [s.logit for s in states.reranker.score(PAIRS)] == pytest.approx(
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
    whole = reranker.pack_texts

    def broken(texts: Sequence[str]) -> list[bytes]:
        if many[5].text in texts:
            raise InferenceError("not finite")
        return whole(texts)

    reranker.pack_texts = broken  # type: ignore[method-assign]
    states = opened(folder, reranker, encoder)
    followed(states)
    assert caplog.text.count("no token states") == 1
    states.close()
    assert len(kept(folder)) == len(many) - 1


def test_an_ingest_without_a_server_makes_no_second_pass(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    Ingestor(folder.store, encoder, overlap=0, chunked=False).ingest(DOCUMENTS[:3])
    states = opened(folder, make(counting), encoder)
    ingestor = Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False)
    ingestor.ingest(DOCUMENTS[3:])
    states.offer({"of no passage": b"states"})
    states.keep_offered()
    assert counting.made == 0
    assert not states._offered
    states.close()
    assert kept(folder) == live(folder)[3:]


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
    states.close()
    assert kept(folder) == live(folder)
    assert len(live(folder)) == 24


def test_states_that_are_lost_while_in_use_are_made_again(
    folder: DataFolder,
    encoder: BiEncoder,
    counting: Counting,
    make: Callable[..., InteractionReranker],
) -> None:
    states = opened(folder, make(counting), encoder)
    Ingestor(folder.store, states.encoder(encoder), overlap=0, chunked=False).ingest(DOCUMENTS)
    followed(states)
    states._states._make_again(StoreDamagedError("a page is damaged"))
    followed(states)
    states.close()
    assert kept(folder) == live(folder)


def live(folder: DataFolder) -> list[int]:
    with folder.store.view() as view:
        return view.allowed({}).tolist()


def kept(folder: DataFolder) -> list[int]:
    store = StateStore(folder.path / "states.db", "a")
    try:
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
    pairs = [(QUERY, text) for text in TEXTS if len(text) < 70]  # that are one passage each
    plain = open_cross_encoder(settings, model).score(pairs)

    tokenised: list[str] = []
    encode = PairTokenizer._encode

    def counted(self: PairTokenizer, texts: Sequence[str]) -> list[np.ndarray]:
        tokenised.extend(texts)
        return encode(self, texts)

    reranker = open_cross_encoder(settings, model)
    states = open_states(settings, folder.main, reranker, encoder.identity)
    assert states is not None
    assert states.encoder(encoder) is encoder  # it has nothing that this reranker reads
    Ingestor(folder.store, encoder, overlap=0).ingest(DOCUMENTS)
    followed(states)
    monkeypatch.setattr(PairTokenizer, "_encode", counted)
    assert states.reranker.score(pairs) == plain
    assert tokenised == [QUERY]
    states.close()
