"""Text that looks like an answer, one token a word; and the kinds of text that no answer looks like."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from random import Random
from typing import NamedTuple

_KINDS = {
    "A": "small large old new quiet open early late simple strong warm cold bright narrow common careful honest "
    "useful recent steady gentle local public modern heavy light famous hidden daily final",
    "N": "river market teacher window letter garden street picture question answer village station engine doctor "
    "morning kitchen forest number paper machine library bridge family winter story island road student table "
    "harbour farmer museum journey signal lesson mountain bottle ticket newspaper season captain valley orchard",
    "V": "finds keeps follows shows carries leaves reaches watches opens changes covers joins meets passes draws "
    "builds moves brings holds needs remembers describes improves explains protects repairs visits supports",
    "P": "near behind under above beside after before without around beyond toward against",
    "D": "often rarely soon always quickly slowly sometimes usually finally quietly clearly perhaps",
    "C": "and but while because until although",
}
# Content words fill the capitals; the rest stands as it is.
_PATTERNS = (
    "the A N V the N P the A N",
    "D the N V a A N and the N V it",
    "a N P the N V the A N C the N V a N",
    "the N of the N V D P the A N",
    "in the A N the N V the N C nobody V the N",
    "every N V a A N P the N",
    "D a A N V the N of a N",
)
_CHINESE = (
    "我们 今天 天气 很好 学生 图书馆 看书 城市 早上 非常 安静 老师 问题 回答 "
    "山上 河边 朋友 一起 走路 因为 时间 工作 学习 家里 晚上"
)
_CYRILLIC = (
    "сегодня погода хорошая учитель читает новую книгу возле реки город утром очень тихий старый мост ведёт через "
    "лес дорога зимой долгая каждый вечер друзья пьют горячий чай дома"
)
_MARKERS = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>")


class Text(NamedTuple):
    """Tokens that give the text when they are put together as they are."""

    reasoning: list[str]
    content: list[str]


def write(rng: Random, tokens: int, reasoning_tokens: int, lies: Collection[str], prompt: str) -> Text:
    """Return an answer that nothing has cut.

    Args:
        rng: Decides the text; the same state gives the same text.
        tokens: Length of the content, in tokens. Echoing answers are as long as what they echo, empty ones have none.
        reasoning_tokens: Length of the reasoning.
        lies: Names in `LIES`; those about text count.
        prompt: What to echo.
    """
    reasoning = _spaced(_prose(rng, reasoning_tokens))
    if "empty" in lies:
        return Text(reasoning, [])
    if "echo" in lies:
        content = _spaced(prompt.split())
    elif "loop" in lies:
        phrase = _prose(rng, 6)
        content = _spaced([phrase[i % len(phrase)] for i in range(tokens)])
    elif "wrong_script" in lies:
        content = _foreign(rng, tokens)
    else:
        content = _spaced(_prose(rng, tokens))
    if "special_tokens" in lies:
        content = [_MARKERS[i // 8 % 4] if i % 8 == 3 or i == len(content) - 1 else t for i, t in enumerate(content)]
    if "unclosed_reasoning" in lies and content:
        content[0] = "<think>"
    return Text(reasoning, content)


def _prose(rng: Random, count: int) -> list[str]:
    """Return `count` words of English-looking sentences; the last one ends with a full stop."""
    words: list[str] = []
    while len(words) < count:
        sentence = list(_sentence(rng))
        words += [sentence[0].capitalize(), *sentence[1:-1], sentence[-1] + "."]
    del words[count:]
    if words and not words[-1].endswith("."):
        words[-1] += "."
    return words


def _sentence(rng: Random) -> Iterator[str]:
    for word in rng.choice(_PATTERNS).split():
        yield rng.choice(_KINDS[word].split()) if word in _KINDS else word


def _foreign(rng: Random, count: int) -> list[str]:
    if rng.random() < 0.5:
        words = [rng.choice(_CHINESE.split()) for _ in range(count)]
        return [word + "。" if i % 9 == 8 else word for i, word in enumerate(words)]
    return _spaced([rng.choice(_CYRILLIC.split()) for _ in range(count)])


def _spaced(words: list[str]) -> list[str]:
    return [word if i == 0 else " " + word for i, word in enumerate(words)]
