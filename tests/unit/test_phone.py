"""Numbers are read as they are written, and every spelling of one account is one."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.phone import PhoneError, PhoneFault, equivalents, mask, match_key, parse

BRAZILIAN = st.from_regex(r"\A\+55[1-9][1-9]9[6-9][0-9]{7}\Z")
MEXICAN = st.from_regex(r"\A\+52[2-9][0-9]{9}\Z")
ARGENTINIAN = st.from_regex(r"\A\+549[1-8][0-9]{9}\Z")
IVORIAN = st.from_regex(r"\A\+22507[04-9][7-9][0-9]{6}\Z")
ORDINARY = st.from_regex(r"\A\+(8190|4479|4915|336|9198)[1-9][0-9]{7}\Z")


@pytest.mark.parametrize(
    ("raw", "region", "e164", "country", "zone"),
    [
        ("+819012345678", "US", "+819012345678", "JP", "Asia/Tokyo"),
        ("０９０－１２３４－５６７８", "JP", "+819012345678", "JP", "Asia/Tokyo"),
        ("090 1234 5678", "JP", "+819012345678", "JP", "Asia/Tokyo"),
        ("tel:+81-90-1234-5678", "US", "+819012345678", "JP", "Asia/Tokyo"),
        ("81-90-1234-5678", "JP", "+819012345678", "JP", "Asia/Tokyo"),
        ("81-90-1234-5678", "US", "+819012345678", "JP", "Asia/Tokyo"),
        ("819012345678.0", "JP", "+819012345678", "JP", "Asia/Tokyo"),
        ("+44 (0)20 7946 0958", "GB", "+442079460958", "GB", "Europe/London"),
        ("0044 20 7946 0958", "DE", "+442079460958", "GB", "Europe/London"),
        ("551187654321", "BR", "+5511987654321", "BR", "America/Sao_Paulo"),
        ("+52 1 55 1234 5678", "MX", "+525512345678", "MX", "America/Mexico_City"),
        ("044 55 1234 5678", "MX", "+525512345678", "MX", "America/Mexico_City"),
        ("011 15 2345-6789", "AR", "+5491123456789", "AR", "America/Buenos_Aires"),
        ("+22507123456", "CI", "+2250707123456", "CI", "Africa/Abidjan"),
        ("+22997123456", "BJ", "+2290197123456", "BJ", "Africa/Porto-Novo"),
        ("+61412345678", "US", "+61412345678", "AU", "Australia/Sydney"),
        ("+15550001111", "JP", "+15550001111", "US", "America/New_York"),
    ],
)
def test_a_number_is_read_however_it_is_written(raw: str, region: str, e164: str, country: str, zone: str) -> None:
    phone = parse(raw, region=region)

    assert (phone.e164, phone.country, phone.time_zone) == (e164, country, zone)
    assert phone.match_key == match_key(phone.e164)


@pytest.mark.parametrize(
    ("raw", "region", "fault"),
    [
        ("", "US", PhoneFault.EMPTY),
        (" \t", "US", PhoneFault.EMPTY),
        ("8.1901E+11", "JP", PhoneFault.DAMAGED_BY_SPREADSHEET),
        ("8,19012E+11", "JP", PhoneFault.DAMAGED_BY_SPREADSHEET),
        ("hello", "US", PhoneFault.NOT_A_NUMBER),
        ("1-800-FLOWERS", "US", PhoneFault.NOT_A_NUMBER),
        ("ー", "JP", PhoneFault.NOT_A_NUMBER),
        ("12", "US", PhoneFault.TOO_SHORT),
        ("253-0000", "US", PhoneFault.TOO_SHORT),
        ("+8190123456789012", "JP", PhoneFault.TOO_LONG),
        ("+999123456789", "US", PhoneFault.UNKNOWN_COUNTRY),
        ("+80012345678", "US", PhoneFault.UNKNOWN_COUNTRY),
    ],
)
def test_what_is_no_number_is_refused_with_its_reason_and_never_repeated(
    raw: str, region: str, fault: PhoneFault
) -> None:
    with pytest.raises(PhoneError) as refused:
        parse(raw, region=region)

    assert refused.value.fault is fault
    assert not raw.strip() or raw not in f"{refused.value} {refused.value.facts}"


@pytest.mark.parametrize(
    "forms",
    [
        {"+5511987654321", "+551187654321"},
        {"+525512345678", "+5215512345678"},
        {"+541123456789", "+5491123456789"},
        {"+2250707123456", "+22507123456"},
        {"+2290197123456", "+22997123456"},
    ],
)
def test_all_spellings_of_one_account_share_one_key(forms: set[str]) -> None:
    keys = {match_key(form) for form in forms} | {match_key(form.removeprefix("+")) for form in forms}

    assert len(keys) == 1
    assert all(equivalents(form) == forms for form in forms)


def test_a_brazilian_landline_is_no_mobile() -> None:
    assert match_key("+551132345678") == "+551132345678"


@given(st.one_of(BRAZILIAN, MEXICAN, ARGENTINIAN, IVORIAN, ORDINARY))
def test_equivalence_is_an_equivalence(number: str) -> None:
    forms = equivalents(number)

    assert number in forms
    assert match_key(number) in forms
    assert all(equivalents(form) == forms and match_key(form) == match_key(number) for form in forms)


@given(st.one_of(BRAZILIAN, MEXICAN, ARGENTINIAN, ORDINARY), st.sampled_from(["E164", "INTERNATIONAL", "RFC3966"]))
def test_a_number_written_out_is_read_back(number: str, style: str) -> None:
    try:
        first = parse(number, region="ZZ")
    except PhoneError:
        return
    text = phonenumbers.format_number(phonenumbers.parse(first.e164), getattr(phonenumbers.PhoneNumberFormat, style))

    assert parse(text, region="ZZ") == first
    assert {parse(form, region="ZZ").match_key for form in equivalents(first.e164)} == {first.match_key}


PLAIN = st.one_of(
    st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z"),
    st.from_regex(r"\A\+(81|49|33|91|43|972|351|886)[0-9]{6,11}\Z"),
    ORDINARY,
)


@given(PLAIN)
def test_a_plain_number_is_what_libphonenumber_says(number: str) -> None:
    """Digits that are complete are read by a shorter way; the space sends the same number the long way."""
    assert outcome(number) == outcome(f"{number[:3]} {number[3:]}")


def outcome(number: str) -> object:
    try:
        return parse(number, region="ZZ")
    except PhoneError as refused:
        return refused.fault


@given(st.text(max_size=20))
def test_any_text_is_a_number_or_a_reason(raw: str) -> None:
    try:
        assert parse(raw, region="JP").e164.startswith("+")
    except PhoneError as refused:
        assert refused.fault in PhoneFault


@pytest.mark.parametrize(
    ("number", "masked"),
    [("+551198887777", "+55 … 77"), ("+15550001111", "+1 … 11"), ("551198887777", "… 77"), ("+8190", "…"), ("", "…")],
)
def test_a_masked_number_shows_its_country_and_two_digits(number: str, masked: str) -> None:
    assert mask(number) == masked
