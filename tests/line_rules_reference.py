"""The published line rules in plain Python, written from their definitions, to compare with.

C4: Raffel et al. 2020, section 2.2, in the order of datatrove 0.10's `C4QualityFilter`. RefinedWeb: the line
modifiers of DCLM's `dclm_baseline_refinedweb.yaml`, in their order (baselines/mappers/modifiers.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

CITATION = re.compile(r"\[(?:\d*|edit|citation needed)\]")
POLICIES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)


def c4_verdict(line: str, punctuation: bool) -> tuple[str, str]:
    """What happens to a stripped line (`kept`, or the check that cuts it), and the line without citations."""
    words = line.split()
    if max(map(len, words), default=0) > 1000:
        return "long_word", line
    line = CITATION.sub("", line)
    if punctuation and (line[-1:] not in tuple(".?!\"'") or line[-3:] == "..."):
        return "line_end", line
    if len(words) < 3:
        return "few_words", line
    if "javascript" in line.lower():
        return "javascript", line
    if any(phrase in line.lower() for phrase in POLICIES):
        return "policy", line
    return "kept", line


def c4_text(text: str, punctuation: bool = True) -> str:
    verdicts = [c4_verdict(line.strip(), punctuation) for line in text.splitlines()]
    return "\n".join(line for verdict, line in verdicts if verdict == "kept").strip()


def c4_drops(text: str, punctuation: bool = True) -> tuple[bool, bool]:
    """Whether a line that got as far as the check has lorem ipsum, and whether one has a curly bracket."""
    lorem = curly = False
    for raw in text.splitlines():
        verdict, line = c4_verdict(raw.strip(), punctuation)
        if verdict in ("kept", "policy", "javascript"):
            lorem |= "lorem ipsum" in line.lower()
            curly |= "{" in line and verdict != "javascript"
    return lorem, curly


COUNTER = re.compile(
    r"^\W*\d[\d.,]*[kmb]?\s+(?:likes|shares|comments|retweets|reposts|quotes|bookmarks"
    r"|upvotes|downvotes|downloads|views|followers)\W*$"
)


def _share(line: str, is_kind: Callable[[str], bool]) -> float:
    return sum(map(is_kind, line)) / len(line) if line else 0.0


def _without(text: str, unwanted: Callable[[str], bool]) -> str:
    return "\n".join(line for line in text.split("\n") if not unwanted(line))


def _phrase_out(text: str, pattern: str) -> str:
    def lines() -> Iterable[str]:
        for line in text.split("\n"):
            if len(line.split()) > 10:
                yield line
                continue
            left = re.sub(pattern, "", line, flags=re.IGNORECASE)
            if left.strip() or not line:
                yield left

    return "\n".join(lines()).strip()


def refinedweb_text(text: str) -> str:
    text = _without(text, lambda line: _share(line, str.isupper) > 0.5).strip()
    text = _without(text, lambda line: _share(line, str.isdigit) > 0.999999).strip()
    text = _without(text, lambda line: bool(COUNTER.search(line.lower()))).strip()
    text = _without(text, lambda line: line != "" and len(line.split()) < 2)
    text = _phrase_out(text, r"\s?items in cart")
    text = _phrase_out(text, r"\s?read more...$")  # the dots stand for any character there
    return _phrase_out(text, r"^sign-in\s?")


def words(text: str) -> int:
    return sum(word[0].isalnum() for word in text.split())
