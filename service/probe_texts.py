"""Questions and passages on which the backends of a cross-encoder are compared."""

from collections.abc import Iterator

_TOPICS = {
    "Why are there two high tides a day?": (
        "The moon pulls harder on the side of the earth that faces it, and the water there rises.",
        "On the far side the pull is weaker than on the earth itself, so the sea bulges there as "
        "well.",
        "A harbour turns through both bulges within about twenty-five hours and sees two floods.",
        "When sun and moon stand in one line their pulls add up, and the spring tide is higher.",
    ),
    "How is bread dough kept from sticking to the bowl?": (
        "Flour the bowl lightly, or rub it with a few drops of oil before the dough goes in.",
        "Wet hands and a scraper let a baker fold even a soft dough without adding more flour.",
        "A dough that is kneaded long enough pulls itself off the sides and becomes smooth.",
        "Let the mixture rest for twenty minutes first; the flour then takes up the loose water.",
    ),
    "What should I do when my bicycle chain slips?": (
        "A worn chain stretches and climbs over the teeth, so measure it before anything else.",
        "Sprockets with hooked teeth have to go together with the chain that shaped them.",
        "Check the tension of the gear cable: half a turn of the barrel often stops the skipping.",
        "A stiff link jumps once every few turns; bend it sideways until it moves freely.",
    ),
    "When was the old library built?": (
        "The reading room opened in the spring of 1903, after four years of work by the river.",
        "Its architect had drawn a dome of glass, which the town council found too dear.",
        "During the war the books were moved to a salt mine and came back in 1946.",
        "Since the repair of the roof the upper galleries may be visited on Saturdays.",
    ),
    "Which plants grow well in a shady garden?": (
        "Ferns, hostas and lungwort like the damp ground below trees and need little sun.",
        "Ivy covers a north wall within a few years, though it should be kept off old mortar.",
        "Tomatoes and peppers want six hours of sunshine and fail behind a house.",
        "A thick layer of leaves in autumn keeps the soil of a wood garden loose and moist.",
    ),
    "Đạo hàm của hàm số y = x² + 3x là gì?": (
        "Đạo hàm của x² là 2x và đạo hàm của 3x là 3, vì vậy y' = 2x + 3.",
        "Nguyên hàm của 2x + 3 là x² + 3x + C, với C là một hằng số bất kỳ.",
        "Đồ thị của hàm số là một parabol quay bề lõm lên trên, cắt trục hoành tại 0 và −3.",
        "Giá trị nhỏ nhất của hàm số đạt được tại điểm mà đạo hàm bằng không.",
    ),
}


def _passages() -> Iterator[str]:
    """Of one sentence to eight: some on one topic, some that change it halfway."""
    topics = list(_TOPICS.values())
    for number, topic in enumerate(topics):
        other = topics[(number + 1) % len(topics)]
        yield topic[0]
        yield " ".join(topic[1:3])
        yield " ".join([*other, *topic])
        yield " ".join([*topic, *other[::-1]])


PROBES: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (query, tuple(_passages())) for query in list(_TOPICS)[::2]
)
"""(query, passages): each query with every passage, so that some answer it and most do not."""
