"""Scripts of characters as SentencePiece tells them apart: a piece holds one script, so "F1" and "a," are two pieces.

Katakana and Hiragana count as Han (Japanese words mix them), and so does U+30FC.  Marks that inherit their script take
that of the character before them; at the start of a piece they, and U+2581, take any.  A character that is in no script
is Common.  The scripts are asked of the package `regex`, whose Unicode may be newer than SentencePiece's own.
Source: IsValidSentencePiece of SentencePiece's trainer_interface.cc.
"""

from __future__ import annotations

from collections.abc import Iterable

ANY, COMMON, HAN = 0, 1, 2
"""ANY: a character that fits every script.  The other scripts are numbered from 3 on."""
SPACE, LONG_VOWEL = "\u2581", "\u30fc"
_AS_HAN = ("Han", "Hiragana", "Katakana")
_OTHERS = """
Latin Cyrillic Greek Arabic Hebrew Devanagari Hangul Thai Bengali Tamil Telugu Gujarati Kannada Malayalam Gurmukhi
Armenian Georgian Ethiopic Khmer Lao Myanmar Sinhala Tibetan Mongolian Bopomofo Braille Cherokee Canadian_Aboriginal
Coptic Gothic Ogham Runic Syriac Thaana Yi Oriya Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak
Bhaiksuki Brahmi Buginese Buhid Carian Caucasian_Albanian Chakma Cham Cuneiform Cypriot Deseret Duployan
Egyptian_Hieroglyphs Elbasan Glagolitic Grantha Hanunoo Hatran Imperial_Aramaic Inscriptional_Pahlavi
Inscriptional_Parthian Javanese Kaithi Kayah_Li Kharoshthi Khojki Khudawadi Lepcha Limbu Linear_A Linear_B Lisu Lycian
Lydian Mahajani Mandaic Manichaean Marchen Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi
Mro Multani Nabataean New_Tai_Lue Newa Nko Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian
Old_South_Arabian Old_Turkic Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang
Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sora_Sompeng Sundanese Syloti_Nagri Tagalog Tagbanwa Tai_Le
Tai_Tham Tai_Viet Takri Tangut Tifinagh Tirhuta Ugaritic Vai Warang_Citi
"""


def scripts_of(characters: Iterable[str]) -> dict[str, int]:
    """The script of each character, as a number."""
    import regex

    every = "".join(dict.fromkeys(characters))
    found = dict.fromkeys(every, COMMON)
    for number, names in enumerate((_AS_HAN, *((name,) for name in _OTHERS.split())), HAN):
        for name in names:
            found.update(dict.fromkeys(regex.findall(rf"\p{{Script={name}}}", every), number))
    found.update(dict.fromkeys(regex.findall(r"\p{Script=Inherited}", every), ANY))
    found.update({c: number for c, number in ((SPACE, ANY), (LONG_VOWEL, HAN)) if c in found})
    return found
