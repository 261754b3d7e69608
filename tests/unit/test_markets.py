"""Markets of a rate card: every country belongs to one, and a name or a region finds its countries."""

from core.whatsapp import markets

REGIONS = (
    "Rest of Africa",
    "Rest of Asia Pacific",
    "Rest of Central & Eastern Europe",
    "Rest of Western Europe",
    "Rest of Latin America",
    "Rest of Middle East",
    "North America",
)


def test_names_codes_and_regions_in_any_spelling() -> None:
    assert markets.countries("DE") == markets.countries("Germany") == markets.countries(" de ") == ("DE",)
    assert markets.countries("Türkiye") == markets.countries("Turkey") == ("TR",)
    assert markets.countries("North America") == ("US", "CA")
    assert "KE" in markets.countries("REST_OF_AFRICA") and "GR" in markets.countries("Rest of C. & E. Europe")
    assert markets.countries("Atlantis") == markets.countries("Other") == ()
    assert markets.is_other("Other") and markets.is_region("Rest of Africa") and not markets.is_region("Germany")


def test_no_country_is_in_two_regions() -> None:
    listed = [country for region in REGIONS for country in markets.countries(region)]
    assert len(listed) == len(set(listed)) > 100
    assert set(listed) <= markets.every_country()
