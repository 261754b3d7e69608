"""Phone numbers as Cloud API reads them: accepted spellings, country codes, and how a `wa_id` differs from the input.

Meta documents that a number without `+` may get the business number's own country code, and that Brazilian and
Mexican prefixes may be altered ("WhatsApp phone number formats"). Calling codes are those of ITU-T E.164.
"""

import re
from functools import lru_cache

_SPELLING = re.compile(r"\+?[\d\s\-()]+", re.ASCII)
_NOT_DIGIT = re.compile(r"\D", re.ASCII)

# ISO 3166 code: calling codes. +1 is told apart by area code below; +7 is Kazakhstan when a 6 or 7 follows.
_COUNTRIES = (
    "EG 20|SS 211|MA 212|DZ 213|TN 216|LY 218|GM 220|SN 221|MR 222|ML 223|GN 224|CI 225|BF 226|NE 227|TG 228|BJ 229|"
    "MU 230|LR 231|SL 232|GH 233|NG 234|TD 235|CF 236|CM 237|CV 238|ST 239|GQ 240|GA 241|CG 242|CD 243|AO 244|GW 245|"
    "IO 246|SC 248|SD 249|RW 250|ET 251|SO 252|DJ 253|KE 254|TZ 255|UG 256|BI 257|MZ 258|ZM 260|MG 261|RE 262|ZW 263|"
    "NA 264|MW 265|LS 266|BW 267|SZ 268|KM 269|ZA 27|SH 290|ER 291|AW 297|FO 298|GL 299|GR 30|NL 31|BE 32|FR 33|ES 34|"
    "GI 350|PT 351|LU 352|IE 353|IS 354|AL 355|MT 356|CY 357|FI 358|BG 359|HU 36|LT 370|LV 371|EE 372|MD 373|AM 374|"
    "BY 375|AD 376|MC 377|SM 378|VA 379|UA 380|RS 381|ME 382|XK 383|HR 385|SI 386|BA 387|MK 389|IT 39|RO 40|CH 41|"
    "CZ 420|SK 421|LI 423|AT 43|GB 44|DK 45|SE 46|NO 47|PL 48|DE 49|FK 500|BZ 501|GT 502|SV 503|HN 504|NI 505|CR 506|"
    "PA 507|PM 508|HT 509|PE 51|MX 52|CU 53|AR 54|BR 55|CL 56|CO 57|VE 58|GP 590|BO 591|GY 592|EC 593|GF 594|PY 595|"
    "MQ 596|SR 597|UY 598|CW 599|MY 60|AU 61|ID 62|PH 63|NZ 64|SG 65|TH 66|TL 670|NF 672|BN 673|NR 674|PG 675|TO 676|"
    "SB 677|VU 678|FJ 679|PW 680|WF 681|CK 682|NU 683|WS 685|KI 686|NC 687|TV 688|PF 689|TK 690|FM 691|MH 692|RU 7|"
    "JP 81|KR 82|VN 84|KP 850|HK 852|MO 853|KH 855|LA 856|CN 86|BD 880|TW 886|TR 90|IN 91|PK 92|AF 93|LK 94|MM 95|"
    "MV 960|LB 961|JO 962|SY 963|IQ 964|KW 965|SA 966|YE 967|OM 968|PS 970|AE 971|IL 972|BH 973|QA 974|BT 975|MN 976|"
    "NP 977|IR 98|TJ 992|TM 993|AZ 994|GE 995|KG 996|UZ 998|US 1"
)
COUNTRY_BY_CALLING_CODE = {code: iso for iso, code in (entry.split() for entry in _COUNTRIES.split("|"))}

# Area codes under +1 that are not of the United States: Canada, then the other members of the numbering plan.
_CANADA = (
    "204 226 236 249 250 257 263 289 306 343 354 365 367 368 382 387 403 416 418 428 431 437 438 450 460 468 474 506"
    " 514 519 548 579 581 584 587 600 604 613 622 633 639 644 647 655 672 677 683 688 705 709 742 753 778 780 782 807"
    " 819 825 867 873 879 902 905 942"
)
_CARIBBEAN = "242 246 264 268 284 345 441 473 649 658 664 721 758 767 784 809 829 849 868 869 876"


def digits_of(phone: str) -> str | None:
    """The digits of a phone number in an accepted spelling (`+`, digits, spaces, hyphens, parentheses), else None."""
    return _NOT_DIGIT.sub("", phone) if _SPELLING.fullmatch(phone) else None


def calling_code(digits: str) -> str:
    """The country calling code at the start of an international number; empty when there is none."""
    for length in (1, 2, 3):
        if digits[:length] in COUNTRY_BY_CALLING_CODE:
            return digits[:length]
    return ""


@lru_cache(maxsize=8192)
def country(digits: str) -> str:
    """ISO 3166 code of an international number, "ZZ" when unknown. The Caribbean members of +1 count as "ZZ"."""
    code = calling_code(digits)
    if code == "1":
        area = digits[1:4]
        return "CA" if area in _CANADA.split() else "ZZ" if area in _CARIBBEAN.split() else "US"
    if code == "7" and digits[1:2] in ("6", "7"):
        return "KZ"
    return COUNTRY_BY_CALLING_CODE.get(code, "ZZ")


def international(phone: str, business_digits: str) -> str | None:
    """The digits Cloud API dials for `to`, or None when the spelling or length (7 to 15 digits) is wrong.

    Without `+`, a number that does not begin with the business number's calling code gets it prepended.
    """
    if phone.startswith("+") and phone[1:].isascii() and phone[1:].isdigit():
        digits = phone[1:]
    else:
        found = digits_of(phone)
        if found is None:
            return None
        digits = found
        home = calling_code(business_digits)
        if not phone.lstrip().startswith("+") and not digits.startswith(home):
            digits = home + digits
    return digits if 7 <= len(digits) <= 15 and digits[0] != "0" else None


def wa_id_of(digits: str) -> str:
    """The WhatsApp id of an international number: usually the number itself.

    Brazil loses the ninth digit of a mobile number, Mexico gains a `1` after `52`, Argentina a `9` after `54`.
    """
    if len(digits) == 13 and digits.startswith("55") and digits[4] == "9" and digits[5] in "6789":
        return digits[:4] + digits[5:]
    if len(digits) == 12 and digits.startswith("52"):
        return "521" + digits[2:]
    if len(digits) == 12 and digits.startswith("54"):
        return "549" + digits[2:]
    return digits
