"""What the privacy scan looks for and puts in its place: `curate/rules/privacy/*.yaml`, checked.

The files are closed and typed like all configuration: an unknown key, a wrong type or a pattern that does not
compile is an error that names the file. Loading and compiling takes about 60 ms, once per process.
"""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import curate_kernels
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

FOLDER = Path(__file__).parent.parent / "rules" / "privacy"

CLOSED = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


class PrivacyRuleError(ValueError):
    """A rules file of the privacy scan that cannot be used: which, and what is wrong."""


class _Email(BaseModel):
    model_config = CLOSED
    top_level_domains: list[str]
    reserved_domains: list[str]
    mailboxes: list[str]
    password_placeholders: list[str]


class _Ip(BaseModel):
    model_config = CLOSED
    special: list[str]
    not_personal: list[str]
    small: int = Field(ge=0, le=255)
    few_digits: int = Field(ge=0, le=12)
    words: list[str]
    version_words: list[str]


class _Country(BaseModel):
    model_config = CLOSED
    codes: list[str]
    min: int
    max: int


class _Phone(BaseModel):
    model_config = CLOSED
    countries: list[_Country]
    words: list[str]
    toll_free: list[str]
    fictional: list[str]
    placeholders: list[str]


class _Contacts(BaseModel):
    model_config = CLOSED
    email: _Email
    ip: _Ip
    phone: _Phone


class _Issuer(BaseModel):
    model_config = CLOSED
    start: str = Field(alias="from")
    to: str
    lengths: list[int]


class _Card(BaseModel):
    model_config = CLOSED
    issuers: list[_Issuer]
    words: list[str]
    test_numbers: list[str]


class _Iban(BaseModel):
    model_config = CLOSED
    countries: dict[str, str]
    examples: list[str]


class _Payment(BaseModel):
    model_config = CLOSED
    card: _Card
    iban: _Iban


class _TokenRule(BaseModel):
    model_config = CLOSED
    name: str
    prefixes: list[str] = Field(min_length=1)
    pattern: str
    entropy: float = Field(ge=0, le=8)
    check: Literal["crc32", "jwt"] | None = None
    digits_before: bool = False
    pair: str | None = None
    source: str


class _Tokens(BaseModel):
    model_config = CLOSED
    placeholders: list[str]
    rules: list[_TokenRule]


class _Password(BaseModel):
    model_config = CLOSED
    names: list[str]
    key_names: list[str]
    not_names: list[str]
    min_length: int = Field(ge=1)
    min_entropy: float = Field(ge=0, le=8)
    key_min_length: int = Field(ge=1)
    key_min_entropy: float = Field(ge=0, le=8)
    placeholders: list[str]


class _Secrets(BaseModel):
    model_config = CLOSED
    token: _Tokens
    password: _Password


class _Emails(BaseModel):
    model_config = CLOSED
    names: list[str] = Field(min_length=1)
    surnames: list[str] = Field(min_length=1)
    domains: list[str] = Field(min_length=1)


class _PhoneNumbers(BaseModel):
    model_config = CLOSED
    areas: list[str] = Field(min_length=1)
    form: str


class _StandIns(BaseModel):
    model_config = CLOSED
    email: _Emails
    ipv4: list[str] = Field(min_length=1)
    ipv6: list[str] = Field(min_length=1)
    phone: _PhoneNumbers


class _Placeholders(BaseModel):
    model_config = CLOSED
    email: str
    phone: str
    ip: str
    iban: str
    card: str
    token: str
    password: str
    private_key: str


class _Replacements(BaseModel):
    model_config = CLOSED
    placeholders: _Placeholders
    stand_ins: _StandIns


@lru_cache(maxsize=1)
def scanner() -> curate_kernels.PrivacyScanner:
    """The scanner of the shipped rules, compiled once per process."""
    try:
        return curate_kernels.PrivacyScanner(rules())
    except ValueError as error:
        raise PrivacyRuleError(f"{FOLDER}: {error}") from error


def rules() -> dict[str, Any]:
    """The shipped rules as the kernel takes them."""
    contacts, payment, secrets = (
        _read("contacts", _Contacts),
        _read("payment", _Payment),
        _read("secrets", _Secrets),
    )
    found: dict[str, Any] = {
        **contacts.model_dump(),
        **payment.model_dump(by_alias=True),
        **secrets.model_dump(),
    }
    found["phone"]["countries"] = [
        {"code": code, "min": country.min, "max": country.max}
        for country in contacts.phone.countries
        for code in country.codes
    ]
    return found


@lru_cache(maxsize=1)
def placeholders() -> dict[str, str]:
    """What stands for a finding of each kind."""
    return dict(_read("replacements", _Replacements).placeholders.model_dump())


@lru_cache(maxsize=1)
def stand_ins() -> dict[str, pa.Array]:
    """The pool of stand-ins (`string`) of each detector that has one: email, ipv4, ipv6, phone."""
    given = _read("replacements", _Replacements).stand_ins
    email, phone = given.email, given.phone
    pools = {
        "email": [
            f"{name}{surname and '.'}{surname}@{domain}"
            for domain in email.domains
            for surname in email.surnames
            for name in email.names
        ],
        "ipv4": [str(host) for block in given.ipv4 for host in ipaddress.IPv4Network(block).hosts()],
        "ipv6": [str(host) for block in given.ipv6 for host in ipaddress.IPv6Network(block).hosts()],
        "phone": [
            phone.form.format(area=area, number=number) for area in phone.areas for number in range(100)
        ],
    }
    return {name: pa.array(pool, pa.string()) for name, pool in pools.items()}


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """A digest of the rules' files: what a unit of work depends on beside its policy."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.glob("*.yaml")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _read(name: str, model: type[Model]) -> Model:
    path = FOLDER / f"{name}.yaml"
    try:
        return model.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise PrivacyRuleError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PrivacyRuleError(f"{path}: {place}: {first['msg'].lower()}") from error
