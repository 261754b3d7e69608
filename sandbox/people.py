"""How people behave: traits that stay, and what becomes of one message.

Shares and delays are those of the profiles below, not of any provider document; error codes are from Meta's
"Error codes" page. A person can be pinned to an exact behaviour with `Pin`.
"""

from typing import Literal

import msgspec

from sandbox.config import ProfileName
from sandbox.dice import Dice, Draws
from sandbox.state import Message, Person


class Profile(msgspec.Struct, frozen=True):
    """Shares (0..1) of people and of messages, and delays in virtual seconds (medians of log-normals)."""

    # shares of people
    not_on_whatsapp: float = 0
    blocked: float = 0
    off_late: float = 0
    off_never: float = 0
    receipts_off: float = 0
    marketing_limited: float = 0
    experiment: float = 0
    hidden_phone: float = 0
    # shares of messages
    fails_after_sent: float = 0
    delivered_after_failed: float = 0
    skips_delivered: float = 0
    reads: float = 1
    taps: float = 0
    clicks: float = 0
    clicks_twice: float = 0
    bot_clicks: float = 0
    replies: float = 0
    stop_words: float = 0
    stops_in_app: float = 0
    reactions: float = 0
    # delays
    sent_s: float = 0
    delivered_s: float = 0
    delivered_sigma: float = 0
    late_s: float = 1
    read_s: float = 0
    read_sigma: float = 0
    act_low_s: float = 0
    act_high_s: float = 0
    longest_s: float = 60
    # transport
    duplicates: float = 0
    disorder: float = 0
    early: float = 0


PROFILES: dict[ProfileName, Profile] = {
    "quiet": Profile(),
    "demo": Profile(
        not_on_whatsapp=0.014, blocked=0.004, off_late=0.01, off_never=0.004, receipts_off=0.12,
        marketing_limited=0.006, experiment=0.002, hidden_phone=0,
        fails_after_sent=0.006, delivered_after_failed=0.05, skips_delivered=0.02, reads=0.78, taps=0.05, clicks=0.2,
        clicks_twice=0.1, bot_clicks=0.02, replies=0.03, stop_words=0.01, stops_in_app=0.003, reactions=0.01,
        sent_s=0.15, delivered_s=0.5, delivered_sigma=0.6, late_s=12, read_s=3.5, read_sigma=0.5, act_low_s=2,
        act_high_s=6, longest_s=12,
        duplicates=0.01, disorder=0.01, early=0.005,
    ),
    "realistic": Profile(
        not_on_whatsapp=0.02, blocked=0.008, off_late=0.04, off_never=0.01, receipts_off=0.15, marketing_limited=0.02,
        experiment=0.005, hidden_phone=0.01,
        fails_after_sent=0.004, delivered_after_failed=0.05, skips_delivered=0.02, reads=0.72, taps=0.03, clicks=0.08,
        clicks_twice=0.1, bot_clicks=0.02, replies=0.02, stop_words=0.006, stops_in_app=0.003, reactions=0.005,
        sent_s=0.4, delivered_s=2, delivered_sigma=1.5, late_s=6 * 3600, read_s=900, read_sigma=1.8, act_low_s=5,
        act_high_s=120, longest_s=7 * 86400,
        duplicates=0.003, disorder=0.01, early=0.002,
    ),
}  # fmt: skip

NAMES = (
    "Ana", "Asha", "Bruno", "Chloé", "Dana", "Emeka", "Fátima", "Gül", "Hana", "Iván", "José", "Kofi", "Łucja",
    "Mehmet", "Noa", "Oluwaseun", "Priya", "Raúl", "さくら", "Søren", "Thảo", "Uma", "Víctor", "Wei", "Ximena", "Yara",
    "Zoë", "محمد",
)  # fmt: skip

_STOP_WORDS = {
    "ES": ("BAJA", "Baja"), "MX": ("BAJA", "ALTO"), "AR": ("BAJA",), "CO": ("BAJA",), "PE": ("BAJA",), "CL": ("BAJA",),
    "BR": ("SAIR", "Sair", "PARAR"), "PT": ("SAIR",), "JP": ("停止",), "DE": ("STOPP", "Stop."), "AT": ("STOPP",),
    "CH": ("STOPP", "STOP"), "FR": ("STOP", "ARRET"), "IT": ("STOP", "Stop."), "NL": ("AFMELDEN",), "SE": ("STOPP",),
    "IN": ("रोकें", "STOP"), "EG": ("إيقاف",), "SA": ("إلغاء الاشتراك",), "ID": ("BERHENTI",), "MY": ("HENTI",),
    "CN": ("退订",), "TW": ("取消訂閱",), "KR": ("수신거부",), "TR": ("DURDUR", "İPTAL"), "VN": ("HỦY",),
    "TH": ("หยุด",), "RU": ("СТОП", "ОТПИСАТЬСЯ"), "UA": ("ВІДПИСАТИСЯ",), "PL": ("WYPISZ",), "CZ": ("ODHLÁSIT",),
    "RO": ("DEZABONARE",),
    "HU": ("LEIRATKOZÁS",), "PH": ("HINTO",), "KE": ("SITISHA",), "IL": ("הסר",), "GR": ("ΔΙΑΓΡΑΦΗ",),
    "BD": ("বন্ধ করুন",), "PK": ("بند کریں",),
}  # fmt: skip
_ANY_STOP = ("STOP", "Stop.", "stop", "STOP!")
_CHAT = (
    "Thanks!",
    "Gracias 😊",
    "Is this still available?",
    "Obrigada!",
    "What are your opening hours?",
    "Danke schön",
)
_REACTIONS = ("👍", "❤️", "😂", "🙏")


class Pin(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An exact behaviour for one person; what is left out (null) follows the profile.

    Traits: `on_whatsapp`, `blocked` (only `sent`), `phone_off` ("late" or "never"), `read_receipts`,
    `marketing_limited` (131049 until unpinned), `experiment` (130472), `hidden_phone` (only a BSUID in webhooks).
    Per message: `fails` (an error code, by webhook), `fails_after_sent`, `delivered_after_failed`, `skips_delivered`,
    `reads`, delays in virtual seconds, `taps` (index of a quick reply among all buttons), `clicks` (how often),
    `bot_clicks`, `replies` (the text to write), `opts_out` (writes a stop word of the own language), `stops_in_app`,
    `reacts` (an emoji).
    """

    name: str | None = None
    on_whatsapp: bool | None = None
    blocked: bool | None = None
    phone_off: Literal["late", "never", "no"] | None = None
    read_receipts: bool | None = None
    marketing_limited: bool | None = None
    experiment: bool | None = None
    hidden_phone: bool | None = None
    fails: int | None = None
    fails_after_sent: bool | None = None
    delivered_after_failed: bool | None = None
    skips_delivered: bool | None = None
    reads: bool | None = None
    delivered_after_s: float | None = None
    read_after_s: float | None = None
    act_after_s: float | None = None
    taps: int | None = None
    clicks: int | None = None
    bot_clicks: bool | None = None
    replies: str | None = None
    stops_in_app: bool | None = None
    reacts: str | None = None
    opts_out: bool | None = None


class Traits(msgspec.Struct, frozen=True, gc=False):
    """What stays the same about a person."""

    on_whatsapp: bool = True
    blocked: bool = False
    phone_off: Literal["late", "never", "no"] = "no"
    read_receipts: bool = True
    marketing_limited: bool = False
    experiment: bool = False
    hidden_phone: bool = False


class Plan(msgspec.Struct, frozen=True, gc=False):
    """What will become of one message; delays in virtual seconds, each from the step before. None: it never happens.

    `read_s` counts from delivery even when the `delivered` status is skipped.
    """

    sent_s: float = 0
    fails_after_sent: int | None = None
    delivered_after_failed: bool = False
    delivered_s: float | None = 0
    skips_delivered: bool = False
    read_s: float | None = 0
    act_s: float = 0
    tap: int | None = None
    clicks: int = 0
    bot_clicks: bool = False
    reply: str | None = None
    stops_in_app: bool = False
    reaction: str | None = None


_PLAIN_TRAITS, _PLAIN_PLAN = Traits(), Plan()


class People:
    """Decides who people are and what they do, from the seed alone."""

    def __init__(self, dice: Dice, profile: Profile) -> None:
        self._dice, self._profile = dice, profile
        self._plain = profile == PROFILES["quiet"]
        self._known_traits: dict[Traits, Traits] = {}  # people share the few combinations there are

    def name(self, person: Person) -> str:
        """The profile name shown in webhooks."""
        if person.pin is not None and person.pin.name is not None:
            return person.pin.name
        return NAMES[hash_of(person.wa_id) % len(NAMES)]

    def traits(self, person: Person) -> Traits:
        """Who the person is: drawn once from the seed, overridden by a pin."""
        if person.traits is None:
            drawn = _PLAIN_TRAITS if self._plain and person.pin is None else self._drawn_traits(person)
            person.traits = self._known_traits.setdefault(drawn, drawn)
        return person.traits

    def _drawn_traits(self, person: Person) -> Traits:
        share, draws = self._profile, self._dice.draws(person.wa_id, "traits")
        off = draws.uniform()
        traits = Traits(
            on_whatsapp=not draws.happens(share.not_on_whatsapp),
            blocked=draws.happens(share.blocked),
            phone_off="late" if off < share.off_late else "never" if off < share.off_late + share.off_never else "no",
            read_receipts=not draws.happens(share.receipts_off),
            marketing_limited=draws.happens(share.marketing_limited),
            experiment=draws.happens(share.experiment),
            hidden_phone=draws.happens(share.hidden_phone),
        )
        return traits if person.pin is None else _overridden(traits, person.pin)

    def plan(self, message: Message) -> Plan:
        """What becomes of an accepted message that nothing refuses: the n-th message to a person has one fate."""
        person = message.person
        if self._plain and person.pin is None:
            return _PLAIN_PLAN
        traits = self.traits(person)
        plan = self._drawn_plan(message, traits, self._dice.draws(person.wa_id, "plan", message.ordinal))
        if person.pin is None:
            return plan
        pinned = _pinned(plan, person.pin, traits)
        return msgspec.structs.replace(pinned, reply=self.stop_word(person)) if person.pin.opts_out else pinned

    def _drawn_plan(self, message: Message, traits: Traits, draws: Draws) -> Plan:
        share, longest = self._profile, self._profile.longest_s
        late = min(longest, draws.lognormal(share.late_s, 0.3))
        delivered = min(longest, draws.lognormal(share.delivered_s, share.delivered_sigma))
        read = min(longest, draws.lognormal(share.read_s, share.read_sigma))
        act, fails, reads = draws.between(share.act_low_s, share.act_high_s), draws.uniform(), draws.uniform()
        skips, late_delivery = draws.happens(share.skips_delivered), draws.happens(share.delivered_after_failed)
        bot, reacts, in_app = (draws.happens(p) for p in (share.bot_clicks, share.reactions, share.stops_in_app))
        action, twice = draws.uniform(), draws.happens(share.clicks_twice)
        word, chat, emoji = self._stop_word(message.person, draws), draws.pick(_CHAT), draws.pick(_REACTIONS)
        delivered_s = {"no": delivered, "late": late, "never": None}[traits.phone_off]
        tap, clicks, reply = None, 0, None
        if action < share.clicks:
            clicks = 2 if twice else 1
        elif action < share.clicks + share.taps:
            tap = -1  # any quick reply: which one exists is known only when it happens
        elif action < share.clicks + share.taps + share.stop_words:
            reply = word
        elif action < share.clicks + share.taps + share.stop_words + share.replies:
            reply = chat
        return Plan(
            sent_s=share.sent_s * (0.5 + draws.uniform()),
            fails_after_sent=131000 if fails < share.fails_after_sent else None,
            delivered_after_failed=late_delivery,
            delivered_s=None if traits.blocked else delivered_s,
            skips_delivered=skips and traits.read_receipts and reads < share.reads,
            read_s=read if traits.read_receipts and reads < share.reads else None,
            act_s=act,
            tap=tap,
            clicks=clicks,
            bot_clicks=bot,
            reply=reply,
            stops_in_app=in_app,
            reaction=emoji if reacts else None,
        )

    def _stop_word(self, person: Person, draws: Draws) -> str:
        return draws.pick(_STOP_WORDS.get(person.country, _ANY_STOP))

    def stop_word(self, person: Person) -> str:
        """A stop word in the language of the person's country, the same for the same person."""
        return self._stop_word(person, self._dice.draws(person.wa_id, "stop word"))


def hash_of(text: str) -> int:
    """A small number that depends only on the text, unlike `hash()`."""
    value = 0
    for byte in text.encode():
        value = (value * 131 + byte) & 0xFFFFFFFF
    return value


def _overridden(traits: Traits, pin: Pin) -> Traits:
    changes = {name: value for name in Traits.__struct_fields__ if (value := getattr(pin, name)) is not None}
    return msgspec.structs.replace(traits, **changes) if changes else traits


def _pinned(plan: Plan, pin: Pin, traits: Traits) -> Plan:
    changes: dict[str, object] = {}
    if pin.delivered_after_s is not None and plan.delivered_s is not None:
        changes["delivered_s"] = pin.delivered_after_s
    if pin.reads is not None or pin.read_after_s is not None or pin.read_receipts is not None:
        reads = (plan.read_s is not None if pin.reads is None else pin.reads) and traits.read_receipts
        after = pin.read_after_s if pin.read_after_s is not None else plan.read_s or 0.0
        changes["read_s"] = after if reads else None
    if pin.fails_after_sent is not None:
        changes["fails_after_sent"] = (pin.fails or 131000) if pin.fails_after_sent else None
    same = {
        "delivered_after_failed": pin.delivered_after_failed,
        "skips_delivered": pin.skips_delivered,
        "act_s": pin.act_after_s,
        "tap": pin.taps,
        "clicks": pin.clicks,
        "bot_clicks": pin.bot_clicks,
        "reply": pin.replies,
        "stops_in_app": pin.stops_in_app,
        "reaction": pin.reacts,
    }
    changes |= {name: value for name, value in same.items() if value is not None}
    return msgspec.structs.replace(plan, **changes)
