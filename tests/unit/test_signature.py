"""The signature of webhooks: the published vector, and nothing else passes."""

from hypothesis import given
from hypothesis import strategies as st

from core.whatsapp.signature import is_genuine, sign

BODY = b'{"object":"whatsapp_business_account","entry":[]}'
VECTOR = "sha256=dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756"


def test_the_vector_of_the_documentation() -> None:
    assert sign("test_app_secret", BODY) == VECTOR
    assert is_genuine(["test_app_secret"], BODY, VECTOR)
    assert is_genuine(["new", "test_app_secret"], BODY, f" {VECTOR} ")
    assert is_genuine(["test_app_secret", "new"], BODY, VECTOR)


def test_without_a_secret_or_a_header_nothing_is_genuine() -> None:
    assert not is_genuine([], BODY, VECTOR)
    assert not is_genuine(["test_app_secret"], BODY, None)
    assert not is_genuine(["test_app_secret"], BODY, "")


@given(st.binary(max_size=80), st.text(max_size=80), st.text(min_size=1, max_size=20))
def test_only_the_right_bytes_under_the_right_secret_pass(body: bytes, header: str, secret: str) -> None:
    assert is_genuine([secret], body, header) == (header.strip() == sign(secret, body))
    assert not is_genuine([secret], body + b" ", sign(secret, body))
