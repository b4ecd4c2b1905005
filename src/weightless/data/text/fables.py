"""Fables: seeded synthetic stories from a small grammar, whose entropy per byte is known exactly.

No model can score fewer bits per byte on them than `entropy_bits_per_byte()` in the long run: a provable floor.
Document i of a seed is a function of (seed, i) alone.  A story is one document: the end of a story is part of its
probability, so it is <|endoftext|> (0 bytes, but a token to predict) that carries those bits.
Names are made of syllables and come back later, so the floor is reached only by copying from the context.

    entropy_bits_per_byte() = H(story) / L(story)      ratio of the exact means, see grammar.py
    log2_probability(document)                         exact, by reading the derivation off the text
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from weightless.base.random import rng_for
from weightless.data.text.grammar import Alternatives, Grammar
from weightless.data.text.source import Opener, Source, read_once

DEFAULT_BYTES = 8_000_000

_WORDS = {
    "kind": "badger bear beetle boar cat crab crow deer dog donkey duck eagle falcon fox frog goat goose hare "
    "hawk hen heron horse lark lion lizard lynx magpie mole mouse newt otter owl ox pig pony rabbit ram "
    "rat raven robin seal sheep shrew snail spider stag stork swan tern toad trout turtle viper vole wasp "
    "weasel whale wolf wren yak zebra quail",
    "trait": "bold brave brisk calm cold cross deaf dull fair fat fond frail glad good grave grim happy "
    "harsh jolly keen kind lame lazy lean loud lucky mad meek merry mild mute neat noble "
    "plain poor proud quick quiet rash rich sad shy silly slow sly small stern stout sweet tall timid",
    "thing": "acorn apple arrow axe ball bean bell bone book boot bowl bread broom cape chain cloak coin comb cork "
    "crown cup dish drum egg fig flute fork gem glove hat hook horn jar jewel jug key kite "
    "lamp map melon nail net nut oar onion pan pear pen pie pin plum pot purse rake ring rope sail "
    "saw seed shell shoe skull sock spade spoon stick stone stool sword twig vase veil wand "
    "wheel whip wick wig yarn",
    "look": "bent black blue brass brown burnt clean damp dark dim dirty dry dusty fine flat full "
    "glass green grey heavy hot huge large light lost muddy new pale pink red rough round "
    "rusty salty sharp shiny soft tiny torn warm wet white wide wild",
    "site": "abbey alder arch bank barn bay beach bog brook camp cave cliff creek dam den dune elm farm fence "
    "ferry field ford fort gate glen grove hedge hill hut inn kiln lake lane ledge marsh maze mill mine "
    "moor nest oak path pier pine pond reef ridge river road rock ruin shed shore swamp tower vale wall "
    "well yard",
    "verb": "bought broke buried burnt caught chose drew dug_up filled found got hid kept kicked lifted liked "
    "made mended missed moved needed opened owned picked pulled pushed raised saw sold spied stole struck "
    "threw took turned used wanted washed wore",
    "when": "All_day At_dawn At_dusk At_last At_noon At_once By_chance Early Every_day In_autumn In_fear "
    "In_secret In_spring In_time In_vain Late Next_day Often On_Friday On_Monday On_Sunday Once Only_then "
    "Soon Then Twice",
    "where": "above behind below beside by inside near outside under",
    "reply": "Alas Beware Certainly Dream_on Enough Fine Gladly Hardly Hush Maybe Never Nonsense Of_course "
    "Patience Quite_so Really Thank_you Very_well Wait_here We_agree What_luck Who_knows Why_not Yes "
    "You_fool",
    "speech": "cried hissed lied roared said sang sighed yelled",
    "moral": "all_that_glitters_is_not_gold better_late_than_never deeds_count_more_than_words envy_eats_itself "
    "fear_has_big_eyes greed_ends_in_hunger haste_makes_waste kindness_is_never_lost look_before_you_leap "
    "many_hands_make_light_work no_gift_is_too_small old_friends_are_best pride_comes_before_a_fall "
    "slow_and_steady_wins_the_race trust_is_won_slowly united_we_stand",
    "first": "B Ch D Fl Gr H J K L M N P Qu R Sh Tr V W Y Z",
    "vowel": "a e i o u",
    "middle": "b d f g k ll m n p r s t v z x w",
}


def _listed(words: str) -> Alternatives:
    """Words of a list (underscores stand for spaces), the earlier ones more frequent: weight 1 / (rank + n)."""
    texts = [word.replace("_", " ") for word in words.split()]
    return [(1.0 / (rank + len(texts)), text) for rank, text in enumerate(texts)]


_RULES: dict[str, Alternatives] = {
    "story": [(1, "{hero=name} the {kind} of {home=name} was {trait} and {trait}.{scenes}")],
    "scenes": [(7, " {scene}{scenes}"), (1, "\nSo {moral}.\n")],
    "scene": [(1, "{when}{event}")],
    "event": [
        (6, " {=hero} {verb} a {gift=gift}.{outcome}"),
        (3, ", {where} the {site}, {friend=name}, a {trait} {kind}, came to {=home}.{talk}"),
        (6, ": {name}, {name}, {name}, {friend=name} and {name} {verb} {hundreds} {look} {thing}s.{party}"),
    ],
    "gift": [(1, "{look} {thing}")],
    "outcome": [
        (3, " It was {where} a {look} {site}."),
        (2, " But {friend=name} the {kind} {verb} the {=gift}!"),
        (2, " It cost {tens} {thing}s."),
    ],
    "talk": [
        (3, ' "{reply}," {speech} {=hero}. "{reply}," {speech} {=friend}.'),
        (3, " They {verb} a {look} {thing}."),
        (2, " Then {=friend} {verb} {tens} {look} {thing}s."),
    ],
    "party": [
        (1, " They sold {tens} to {=friend}."),
        (3, " But {name}, {name} and {name} {verb} the rest."),
    ],
    "name": [(1, "{first}{vowel}{middle}{vowel}")],
    "hundreds": [(1, "{digit}{any_digit}{any_digit}")],
    "tens": [(1, "{digit}{any_digit}")],
    "digit": [(1, digit) for digit in "123456789"],
    "any_digit": [(1, digit) for digit in "0123456789"],
}


@cache
def grammar() -> Grammar:
    """The grammar of the fables, proved unambiguous when it is built."""
    return Grammar({**_RULES, **{name: _listed(words) for name, words in _WORDS.items()}}, "story")


def entropy_bits_per_byte() -> float:
    """The floor: exact mean bits of a story over its exact mean bytes."""
    return grammar().entropy_bits() / grammar().mean_bytes()


def log2_probability(document: bytes) -> float:
    """log2 of the probability that a story is this one; -inf for what is no fable."""
    return grammar().log2_probability(document)


def document(seed: int, number: int) -> bytes:
    """Story `number` of a seed."""
    return grammar().sample(rng_for(seed, "fables", number).random)


def documents(seed: int = 0, n_bytes: int = DEFAULT_BYTES) -> Iterator[bytes]:
    """Stories 0, 1, 2, ... of a seed until `n_bytes` are reached."""
    number = 0
    while n_bytes > 0:
        story = document(seed, number)
        yield story
        n_bytes -= len(story)
        number += 1


def source(seed: int = 0, n_bytes: int = DEFAULT_BYTES) -> Source:
    """The fables as a Source."""
    description = {
        "kind": "fables",
        "seed": seed,
        "requested_bytes": n_bytes,
        "entropy_bits_per_byte": round(entropy_bits_per_byte(), 6),
    }
    return Source("fables", description, read_once(lambda: documents(seed, n_bytes)))


OPENER = Opener("fables", lambda _name, _field: source())
