"""The page about webhooks: what was said, what was set aside, what is not ours, and recording it again."""

from core.statuses import Role
from tests.dashboard.conftest import Visit, said


def test_everything_is_told_with_what_followed(dashboard: Visit) -> None:
    at = dashboard(Role.MARKETER, "webhooks")

    tiles = {tile.label: tile.value for tile in at.metric}
    assert (tiles["Set aside"], tiles["Not sent by Kairan"], tiles["Unknown fields"]) == ("1", "1", "1")
    for words in ("autumn_sale en", "1 campaign paused", "Account: violation", "it ends too early", "wamid.NOT_OURS"):
        assert words in said(at)
    assert "group_lifecycle_update" in said(at) and "messages/text" not in said(at)

    at.toggle(key="only_unknown").set_value(False).run()
    assert "messages/text" in said(at) and "1,200" in said(at)


def test_events_are_found_by_importance_and_words(dashboard: Visit) -> None:
    at = dashboard(Role.ANALYST, "webhooks")

    at.segmented_control(key="severity").set_value("critical").run()
    assert "Account: violation" in said(at) and "1 campaign paused" not in said(at)
    at.text_input(key="event_search").set_value("nobody").run()
    assert "Nothing matches." in [info.value for info in at.info]


def test_a_replay_is_counted_first_and_needs_a_marketer(dashboard: Visit) -> None:
    at = dashboard(Role.COMPLIANCE, "webhooks")
    assert not {"count_replay", "retry_aside"} & {button.key for button in at.button}

    at = dashboard(Role.MARKETER, "webhooks")
    at.button(key="count_replay").click().run()
    assert at.button(key="do_replay").label == "Record 1 webhook again"
    at.button(key="do_replay").click().run()
    assert not at.exception and "They are being recorded" in said(at)
