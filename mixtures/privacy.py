"""The key `privacy` of a mixture: what is done with personal data and secrets, per kind and domain.

Kinds and detectors are explained in `docs/privacy.md`; the actions are

* `replace`: a stand-in that looks real and belongs to nobody (kinds that have one: email, ip, phone);
* `redact`: a typed placeholder such as `<EMAIL>`;
* `drop`: the document fails the rule `privacy.<kind>`;
* `keep`: counted, nothing else;
* `off`: not looked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True)

Action = Literal["redact", "drop", "keep", "off"]
Replaceable = Literal["replace", "redact", "drop", "keep", "off"]

KINDS = ("email", "phone", "ip", "iban", "card", "token", "password", "private_key")


def _without_stand_in(value: object) -> object:
    if value == "replace":
        words = "'replace' is for email, ip and phone; this kind has no stand-ins: 'redact' it"
        raise PydanticCustomError("action", "{words}", {"words": words})
    return value


Redactable = Annotated[Action, BeforeValidator(_without_stand_in)]


class PrivacyOverride(BaseModel):
    """What one domain does otherwise; a kind left out is handled as everywhere."""

    model_config = CLOSED
    email: Replaceable | None = None
    phone: Replaceable | None = None
    ip: Replaceable | None = None
    iban: Redactable | None = None
    card: Redactable | None = None
    token: Redactable | None = None
    password: Redactable | None = None
    private_key: Redactable | None = None


class Privacy(BaseModel):
    """The action for each kind. The defaults are FineWeb's for e-mail and IP; secrets are taken out."""

    model_config = CLOSED
    email: Replaceable = "replace"
    phone: Replaceable = "redact"
    ip: Replaceable = "replace"
    iban: Redactable = "redact"
    card: Redactable = "redact"
    token: Redactable = "redact"
    password: Redactable = "redact"
    private_key: Redactable = "redact"
    domains: dict[Annotated[str, Field(min_length=1)], PrivacyOverride] = {}

    def actions(self, domain: str) -> dict[str, str]:
        """Kind to action for the documents of `domain`."""
        override = self.domains.get(domain, PrivacyOverride())
        return {kind: getattr(override, kind) or getattr(self, kind) for kind in KINDS}
