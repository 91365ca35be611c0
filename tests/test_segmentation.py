# ruff: noqa: RUF001 (the full-width comma is meant)
"""Words of scripts without spaces: counts beside those of a segmenter with a dictionary."""

from __future__ import annotations

import curate_kernels
import pyarrow as pa
import pytest

from curate.stages.rules import load_rules

#: Article 1 of the Universal Declaration of Human Rights (United Nations), which nothing was fitted to; words
#: by the segmenter named, marks of punctuation not counted, and by ours.
ARTICLE_1 = [
    (
        "zh",
        "jieba 0.42",
        21,
        22,
        "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    ),
    (
        "ja",
        "MeCab with unidic-lite 1.0.8",
        48,
        52,
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており"
        "、互いに同胞の精神をもって行動しなければならない。",
    ),
    (
        "th",
        "PyThaiNLP 5.4 newmm",
        24,
        25,
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิ"
        "ทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แ"
        "ห่งภราดรภาพ",
    ),
    (
        "lo",
        "LaoNLP 1.3",
        35,
        34,
        "ມະນຸດເກີດມາມີສິດເສລີພາບ ແລະ ສະເໝີໜ້າກັນໃນທາງກຽດຕິສັກ ແລະ ທາງ"
        "ສິດດ້ວຍມະນຸດມີສະຕິສຳປັດຊັນຍະ(ຮູ້ດີຮູ້ຊົ່ວ)ແລະມີມະໂນທຳຈຶ່ງຕ້ອ"
        "ງປະພຶດຕົນຕໍ່ກັນໃນທາງພີ່ນ້ອງ.",
    ),
    (
        "km",
        "khmercut 0.2",
        36,
        36,
        "មនុស្សទាំងអស់កើតមកមានសេរីភាព និងភាពស្មើៗគ្នាក្នុងសិទ្ធិ និងស"
        "េចក្ដីថ្លៃថ្នូរ។ មនុស្សគ្រប់រូបសុទ្ធតែមានវិចារណញ្ញាណនិងសតិសម"
        "្បជញ្ញៈ ហើយគប្បីប្រព្រឹត្ដចំពោះគ្នាទៅវិញទៅមក ក្នុងស្មារតីរាប"
        "់អានគ្នាជាបងប្អូន។",
    ),
    (
        "my",
        "pyidaungsu 0.1.4",
        53,
        49,
        "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီ"
        "လွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ "
        "ဖြစ်သည်။ ထိုသူတို့၌ ပိုင်းခြား ဝေဖန်တတ်သော ဉာဏ်နှင့် ကျင့်ဝတ"
        "် သိတတ်သော စိတ်တို့ရှိကြ၍ ထိုသူတို့သည် အချင်းချင်း မေတ္တာထား"
        "၍ ဆက်ဆံကျင့်သုံးသင့်၏။",
    ),
]


def signals(text: str) -> dict[str, float]:
    return curate_kernels.signals(pa.array([text], pa.large_string())).to_pylist()[0]


@pytest.mark.parametrize(
    ("language", "segmenter", "theirs", "ours", "text"), ARTICLE_1, ids=[row[0] for row in ARTICLE_1]
)
def test_words_are_about_as_many_as_a_dictionary_finds(
    language: str, segmenter: str, theirs: int, ours: int, text: str
) -> None:
    row = signals(text)
    assert row["word_count"] == ours
    assert row["mean_word_length"] * ours <= len(text)
    assert theirs / 1.15 < ours < theirs * 1.15, (language, segmenter)


@pytest.mark.parametrize("language", ["th", "lo", "km", "my"])
def test_words_of_these_languages_are_within_gophers_bounds_and_held_to_them(language: str) -> None:
    text = next(row[4] for row in ARTICLE_1 if row[0] == language)
    rules = {rule.signal: rule for rule in load_rules(["gopher_quality"])[0].rules}
    rule = rules["mean_word_length"]
    assert (rule.min, rule.max) == (3, 10)
    assert 3 < signals(text)["mean_word_length"] < 10
    assert language not in rule.scope.except_languages


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我在北京的大学", 5),  # 我 在 北京 的 大学: function characters alone, the rest in twos
        ("使用浏览器", 2),  # 使用 浏览器: an odd number ends in a word of three
        ("本を読みました", 5),  # 本 を 読み まし た
        ("カタカナの本", 3),  # katakana by run, a particle alone
        ("ภาษาไทย123", 2),  # digits are no part of a word
        ("ของการ", 2),
        ("ក\u200bខ\u200bគ", 3),  # what an author has set apart stays apart
        ("မြန်မာ", 1),
    ],
)
def test_golden(text: str, words: int) -> None:
    assert signals(text)["word_count"] == words
