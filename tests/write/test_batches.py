"""Documents that are read while others are stored."""

from service.types import Document
from service.write.batches import LOT_CHARS, UnderWay, lots


def test_what_is_stored_is_under_way_no_more_unless_a_later_version_was_read() -> None:
    first, later, other = Document("a", "1"), Document("a", "2"), Document("b", "1")
    under_way = UnderWay()
    for document in (first, other, later):
        under_way.add(document)
    under_way.remove([first, other])
    assert under_way.content_hashes([first, other]) == {"a": later.content_hash}
    under_way.remove([later])
    assert under_way.content_hashes([first, other]) == {}


def test_a_lot_ends_where_its_texts_are_long_and_before_an_id_that_it_has() -> None:
    first, second, again = Document("a", "x" * LOT_CHARS), Document("b", "1"), Document("b", "2")
    assert list(lots([first, second, again], 10)) == [[first], [second], [again]]
