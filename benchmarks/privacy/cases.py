"""Labelled texts for the privacy scan: what is to be found, and what only looks like it.

Secrets are made when this module is imported, from parts and a seeded generator, so that no file holds one
and none was ever valid; numbers with check digits are computed. Cases that the scan is known to miss or
to find wrongly stay in: the table in `docs/privacy.md` counts them.
"""

from __future__ import annotations

import base64
import random
import string
import zlib
from dataclasses import dataclass

ALNUM = string.ascii_letters + string.digits
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
HEX = "0123456789abcdef"
URL64 = ALNUM + "-_"


@dataclass(frozen=True)
class Case:
    """A text of `kind`: the values to be found in it (none: it is a temptation)."""

    kind: str
    text: str
    values: tuple[str, ...] = ()
    code: bool = False


def draw(length: int, alphabet: str = ALNUM, seed: int = 0) -> str:
    """Characters that look random and are the same at every run."""
    return "".join(random.Random(f"{length} {alphabet} {seed}").choices(alphabet, k=length))


def luhn(prefix: str, length: int, seed: int = 0) -> str:
    """A number of `length` digits after `prefix` whose check digit is right."""
    body = prefix + draw(length - len(prefix) - 1, string.digits, seed)
    doubled = [int(d) * (2 - i % 2) for i, d in enumerate(reversed(body))]
    return body + str(-sum(n - 9 if n > 9 else n for n in doubled) % 10)


def iban(country: str, bban: str) -> str:
    """An account with its check digits (ISO 7064 MOD 97-10)."""
    number = "".join(str(int(c, 36)) for c in bban + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{bban}"


def grouped(value: str, separator: str = " ") -> str:
    return separator.join(value[i : i + 4] for i in range(0, len(value), 4))


def with_crc(prefix: str, seed: int) -> str:
    """A token whose last six characters are the CRC-32 of the 30 before, in base 62 (GitHub, npm)."""
    body, rest, check = draw(30, ALNUM, seed), 0, ""
    rest = zlib.crc32(body.encode())
    while rest:
        rest, digit = divmod(rest, 62)
        check = BASE62[digit] + check
    return prefix + body + check.rjust(6, "0")


def jwt(seed: int) -> str:
    part = lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")  # noqa: E731
    return ".".join(
        [
            part('{"alg":"HS256","typ":"JWT"}'),
            part(f'{{"sub":"{draw(12, ALNUM, seed)}"}}'),
            draw(43, URL64, seed),
        ]
    )


def pem(label: str, seed: int, lines: int = 6, joint: str = "\n") -> str:
    dashes = "-" * 5
    body = joint.join(draw(64, ALNUM + "+/", seed + line) for line in range(lines))
    return f"{dashes}BEGIN {label}{dashes}{joint}{body}{joint}{dashes}END {label}{dashes}"


def _emails() -> list[Case]:
    true = {
        "Write to joe.bloggs@gmail.com for details.": "joe.bloggs@gmail.com",
        "Contact: Anna Müller <anna.mueller@uni-heidelberg.de>": "anna.mueller@uni-heidelberg.de",
        "mailto:info@stadtwerke-ulm.de?subject=Hi": "info@stadtwerke-ulm.de",
        "请联系liwei99@163.com谢谢": "liwei99@163.com",
        "E-mail:mary_smith+news@yahoo.co.uk.": "mary_smith+news@yahoo.co.uk",
        '"quoted":"pierre.dupont@orange.fr",': "pierre.dupont@orange.fr",
        "(o'brien@tcd.ie)": "o'brien@tcd.ie",
        "Send it to J.R@MIT.EDU today": "J.R@MIT.EDU",
        "müller@web.de schrieb": "müller@web.de",
        "[k.tanaka@kyoto-u.ac.jp]": "k.tanaka@kyoto-u.ac.jp",
        "* @author Dana Reyes <dana@reyes-labs.io>": "dana@reyes-labs.io",
        "one@alpha-beta.org.Next sentence": "one@alpha-beta.org",
        "user%routing@relay.net is odd": "user%routing@relay.net",
        "x@sub.sub2.deep.museum": "x@sub.sub2.deep.museum",
        "почта: ivanov-56@mail.ru": "ivanov-56@mail.ru",
        "a1b2c3@protonmail.com/": "a1b2c3@protonmail.com",
        "Hi joe at gmail dot com": "",
    }
    false = [
        "someone@example.com",
        "you@yourdomain.com",
        "test@mail.example.org",
        "@media screen and (max-width: 3em)",
        "git clone git@github.com:owner/project.git",
        "scp jdoe@build.server.net:/var/log/x .",
        "@app.route('/users')",
        "@user@mastodon.social follows you",
        "lodash@4.17.21",
        "icon@2x.png and icon@3x.jpg",
        "memcpy@GLIBC_2.14",
        "https://medium.com/@writer/a-story",
        "ssh://deploy@git.company.org/repo",
        "return this@Activity.name",
        "foo@bar",
        "@ 3 pm @home",
        "a.b@c.d",
        "\\usepackage{x}\\makeatletter\\foo@bar.sty",
        "noreply@service.com",
        "W@x.T + b",
        "user@localhost",
        "4711+octo@users.noreply.github.com",
        "https://jane:@host",
        "x @ y.com",
        "photos/12345678@N00/",
        "alice@@bob.com",
        ".@.com",
        "rose@valley",
    ]
    return [
        Case("email", text, (value,) if value else ("joe at gmail dot com",)) for text, value in true.items()
    ] + [Case("email", text) for text in false]


def _phones() -> list[Case]:
    true = {
        "Call +1 415 782 2671 now": "+1 415 782 2671",
        "(415) 782-2671": "(415) 782-2671",
        "fax 415-782-2671.": "415-782-2671",
        "Tel.: 030 901820 17": "030 901820 17",
        "+49 (0)30 9018-2017": "+49 (0)30 9018-2017",
        "+44 20 7183 8750": "+44 20 7183 8750",
        "Téléphone : 01 42 76 40 40": "01 42 76 40 40",
        "电话：010-65521114": "010-65521114",  # noqa: RUF001
        "+7 (495) 504-37-01": "+7 (495) 504-37-01",
        "тел. 8 (812) 449-35-77": "8 (812) 449-35-77",
        "tel:+33142764040": "+33142764040",
        "Mobile 0412 378 906": "0412 378 906",
        "+91 98450 12846 (India)": "+91 98450 12846",
        "phone: 0911/2310-4417": "0911/2310-4417",
        "1-212-639-9675": "1-212-639-9675",
        "WhatsApp +55 11 91847-2206": "+55 11 91847-2206",
        "+86 138 1052 4479": "+86 138 1052 4479",
        "Ring 212.639.9675": "212.639.9675",
        "Telefon +48 22 694 75 12": "+48 22 694 75 12",
        "+81-3-5253-4111": "+81-3-5253-4111",
    }
    false = [
        "pi is 3.14159265358979",
        "2019-04-12 10:22:31",
        "ISBN 978-3-16-148410-0",
        "ISBN 0-306-40615-2",
        "call 1-800-273-8255",
        "(415) 555-0132 in a film",
        "123-456-7890",
        "+1 234 567 8900 is counting? +12345678901",
        "52.520008, 13.404954",
        "DOI 10.1038/s41586-020-2649-2",
        "id 4157822671",
        "arXiv:2406.17557",
        "1914-1918 and 1939-1945",
        "12/04/2019 13/05/2020",
        "x = 415-782-2671-9",
        "order 415-782-26711",
        "part no. 555-1234",
        "phone: 2019-04-12",
        "10+33142764040",
        "SHA 0142764040abc",
        "192384576 is pandigital",
        "range 200-300-4000",
        "EAN 4006381333931",
        "+0100 is a zone",
        "le télougou dont 70 667 780 sont",
        "call f(22222222)",
        "1+1 212 639 9675",
        "patent 415-111-2671",
        "zip 94105-1804",
        "the telescope saw 1230456789 stars",
        "+49 000000000",
    ]
    return [Case("phone", text, (value,)) for text, value in true.items()] + [
        Case("phone", text) for text in false
    ]


def _ips() -> list[Case]:
    true = {
        "Connection from 81.2.69.142 closed": "81.2.69.142",
        "http://93.184.216.34/index": "93.184.216.34",
        "ip=142.250.74.46;": "142.250.74.46",
        "host 4.31.17.22 refused": "4.31.17.22",
        "[2a00:1450:4009:80b::200e]:443": "2a00:1450:4009:80b::200e",
        "peer 2600:1f18:24e6:b900:4c2:9a1e:77d2:1b3f": "2600:1f18:24e6:b900:4c2:9a1e:77d2:1b3f",
        "95.216.12.7:8080": "95.216.12.7",
        '"185.199.108.153"': "185.199.108.153",
        "from 203.57.88.9.": "203.57.88.9",
        "user@131.234.22.9": "131.234.22.9",
        "2001:67c:2e8:22::c100:68b is up": "2001:67c:2e8:22::c100:68b",
        "地址 128.6.4.194。": "128.6.4.194",
    }
    false = [
        "version 1.2.3.4",
        "v2.17.0.88",
        "192.168.1.1",
        "10.0.0.1",
        "127.0.0.1",
        "255.255.255.0",
        "8.8.8.8",
        "203.0.113.9",
        "2001:db8::1",
        "fe80::1",
        "::1",
        "Chrome/91.0.4472.124",
        "1.3.6.1.4.1.311",
        "Section 3.2.1.4",
        "256.100.1.1",
        "1.02.3.4",
        "std::dead::beef",
        "Firefox 103.0.50.134",
        "10.1109.5.771",
        "12:30:45:12",
        "00:1a:2b:3c:4d:5e",
        "lib-140.2.3.11-r1",
        "140.2.3.11-beta2",
        "4.2.2.1 Methods",
        "2020:01:02 10:11",
        "169.254.10.10",
        "100.64.3.2",
        "233.252.0.1",
        "version: 140.200.3.11",
        "a.140.200.3.11",
    ]
    return [Case("ip", text, (value,)) for text, value in true.items()] + [Case("ip", text) for text in false]


def _payments() -> list[Case]:
    visa, master, amex = luhn("4539", 16, 1), luhn("5412", 16, 2), luhn("3716", 15, 3)
    amex_written = f"{amex[:4]} {amex[4:10]} {amex[10:]}"
    wrong = visa[:-1] + str((int(visa[-1]) + 1) % 10)
    cards = [
        Case("card", f"Visa {grouped(visa)} exp 12/27", (grouped(visa),)),
        Case("card", f"{grouped(master, '-')}", (grouped(master, "-"),)),
        Case("card", f"card number: {visa}", (visa,)),
        Case("card", f"AmEx {amex_written}", (amex_written,)),
        Case("card", f"Kreditkarte {master}.", (master,)),
        Case("card", f"paid with {grouped(luhn('6011', 16, 4))} today", (grouped(luhn("6011", 16, 4)),)),
        Case("card", f"信用卡 {luhn('62', 16, 5)}", (luhn("62", 16, 5),)),
        Case("card", f"mastercard {luhn('2230', 16, 6)}", (luhn("2230", 16, 6),)),
        Case("card", f"no word near: {visa}", (visa,)),  # missed on purpose: one number in ten meets Luhn
        *(
            Case("card", text)
            for text in (
                f"card {grouped(wrong)}",
                f"542E 542F {grouped(visa)}\n5434 5435",  # a table of code points
                f"0000e50 2020 {grouped(visa)} 2f2f 6220",  # a hex dump
                f"Visa {wrong}",
                "card 4111 1111 1111 1111",
                f"id {visa}",
                f"0x{visa}",
                f"card {visa}99",
                "4242-4242-4242-4242",
                "2000 2001 2002 2003",
                f"x {grouped(visa)} 1234 5678",
                "card 1234 5678 9012 3452",
                f"3.{visa}",
                f"card 9{visa[1:]}",
                f"{visa}.77 EUR",
                f"8888 {grouped(visa)}",
                "card: 4006381333931",
            )
        ),
    ]
    german, british = iban("DE", "500105175407324931"), iban("GB", "BARC20658255779911")
    french, dutch = iban("FR", "30006000011234567890189"), iban("NL", "INGB0006824411")
    ibans = [
        Case("iban", f"IBAN: {grouped(german)}", (grouped(german),)),
        Case("iban", f"{german}", (german,)),
        Case("iban", f"pay to {british}, please", (british,)),
        Case("iban", f"Konto {grouped(british)}.", (grouped(british),)),
        Case("iban", f"({french})", (french,)),
        Case("iban", f"IBAN {grouped(dutch)} BIC INGBNL2A", (grouped(dutch),)),
        Case(
            "iban",
            f"{grouped(iban('ES', '21000418401234567891'))}",
            (grouped(iban("ES", "21000418401234567891")),),
        ),
        Case("iban", f"iban {iban('CH', '00762011623852958')}", (iban("CH", "00762011623852958"),)),
        *(
            Case("iban", text)
            for text in (
                "GB82 WEST 1234 5698 7654 32",
                "DE89370400440532013000",
                f"DE{(int(german[2:4]) + 1) % 100:02d}{german[4:]}",
                german[:-1],
                f"{german}7",
                f"X{german}",
                "RE12345678901234567890",
                "AB12 3456 7890 1234",
                "FR2019",
                german.lower(),
                "DE12 is a road",
                "SHA1 DE4450010517540732493A",
                "ISO13616 IT15",
                "PT50 km later",
            )
        ),
    ]
    return cards + ibans


def _tokens() -> list[Case]:
    upper = string.ascii_uppercase + "234567"
    aws, secret = "AK" + "IA" + draw(16, upper, 1), draw(40, ALNUM + "+/", 2)
    values = {
        "github": with_crc("gh" + "p_", 1),
        "oauth": with_crc("gh" + "o_", 2),
        "npm": with_crc("np" + "m_", 3),
        "fine": "github" + "_pat_" + draw(22, ALNUM, 4) + "_" + draw(59, ALNUM, 5),
        "gitlab": "gl" + "pat-" + draw(20, URL64, 26),
        "slack": "xo"
        + "xb-"
        + draw(12, string.digits, 7)
        + "-"
        + draw(13, string.digits, 8)
        + "-"
        + draw(24, ALNUM, 9),
        "stripe": "sk_" + "live_" + draw(24, ALNUM, 10),
        "google": "AI" + "za" + draw(35, ALNUM, 11),
        "oauth2": "ya" + "29." + draw(80, ALNUM, 12),
        "openai": "sk-" + "proj-" + draw(64, ALNUM, 13),
        "openai_old": "sk-" + draw(20, ALNUM, 14) + "T3Blbk" + "FJ" + draw(20, ALNUM, 15),
        "anthropic": "sk-" + "ant-api03-" + draw(93, ALNUM, 16) + "AA",
        "hf": "h" + "f_" + draw(34, string.ascii_letters, 17),
        "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + draw(140, ALNUM, 18),
        "sendgrid": "S" + "G." + draw(22, ALNUM, 19) + "." + draw(43, ALNUM, 20),
        "twilio": "S" + "K" + draw(32, HEX, 21),
        "do": "dop" + "_v1_" + draw(64, HEX, 22),
        "square": "sq0" + "atp-" + draw(22, ALNUM, 23),
        "telegram": draw(9, "123456789", 24) + ":A" + "A" + draw(33, ALNUM, 25),
        "jwt": jwt(1),
        "docker": "dckr" + "_pat_" + draw(27, ALNUM, 26),
        "vault": "hv" + "s." + draw(90, ALNUM, 27),
        "shopify": "shp" + "at_" + draw(32, HEX, 28),
        "databricks": "da" + "pi" + draw(32, HEX, 29),
    }
    wrappers = [
        "token = '{}'",
        "curl -H 'Authorization: Bearer {}' x",
        "export KEY={}\n",
        '{{"key": "{}"}}',
        "see {} above",
        "({})",
    ]
    true = [
        Case("token", wrappers[index % len(wrappers)].format(value), (value,))
        for index, value in enumerate(values.values())
    ]
    hook = f"T{draw(8, upper, 31)}/B{draw(8, upper, 32)}/{draw(24, ALNUM, 33)}"
    azure = draw(86, ALNUM + "+/", 30) + "=="
    true += [
        Case("token", f"AWS_ACCESS_KEY_ID={aws}\nAWS_SECRET_ACCESS_KEY={secret}\n", (aws, secret)),
        Case("token", f"aws_secret_access_key = {secret}", (secret,)),
        Case("token", f'"{aws}", "{secret}"', (aws, secret)),
        Case("token", f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={azure};", (azure,)),
        Case("token", f"https://hooks.slack.com/services/{hook}", (hook,)),
    ]
    github = values["github"]
    last = "A" if github[-1] != "A" else "B"
    false = [
        "AK" + "IAIOSFODNN7EXAMPLE",
        "gh" + "p_" + "x" * 36,
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
        github[:-1] + last,
        "sk_" + "test_" + draw(24, ALNUM, 40),
        "ghp_short",
        "hf_transformers_are_great_models_ok",
        "AKIA is a town",
        "npm_config_registry",
        "xoxb-your-token-here",
        "SG.1",
        "eyJhbGciOi",
        f"data:image/png;base64,{draw(40, ALNUM, 41)}eyJ{draw(30, ALNUM, 42)}.",
        draw(64, HEX, 43),
        "pypi-publish",
        "sk-learn and sk-proj-ect",
        "x" + aws,
        aws + "Z",
        "dapi_endpoint_for_all_the_tests_here",
        "hf_hub_download(repo_id)",
        "SKU12345",
        "glpat-" + "x" * 20,
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "123456789:AAbbreviated",
        "AIzaSyExample",
        "ya29.short",
        "sha512-" + draw(86, ALNUM + "+/", 44) + "==",
        "$" + "{AWS_SECRET_ACCESS_KEY}",
        "aws_secret_access_key = <your secret>",
    ]
    return true + [Case("token", text) for text in false]


def _private_keys() -> list[Case]:
    dashes = "-" * 5
    rsa, ec = pem("RSA PRIVATE KEY", 50), pem("EC PRIVATE KEY", 60, 3)
    ssh, escaped = pem("OPENSSH PRIVATE KEY", 70), pem("PRIVATE KEY", 80, 6, "\\n")
    pgp, plain = pem("PGP PRIVATE KEY BLOCK", 90), pem("PRIVATE KEY", 100)
    return [
        Case("private_key", f"key:\n{rsa}\n", (rsa,)),
        Case("private_key", ec, (ec,)),
        Case("private_key", f"{ssh}\nend", (ssh,)),
        Case("private_key", f'{{"private_key": "{escaped}\\n"}}', (escaped,)),
        Case("private_key", pgp, (pgp,)),
        Case("private_key", f"KEY = '''{plain}'''", (plain,)),
        *(
            Case("private_key", text)
            for text in (
                pem("CERTIFICATE", 110),
                pem("PUBLIC KEY", 120),
                f"{dashes}BEGIN PRIVATE KEY{dashes}",
                f"{dashes}BEGIN RSA PRIVATE KEY{dashes}\n...\n{dashes}END RSA PRIVATE KEY{dashes}",
                "a private key begins with BEGIN",
                f"{dashes}BEGIN PRIVATE KEY{dashes}\n<your key, base64>\n{dashes}END PRIVATE KEY{dashes}",
                f"{dashes}BEGIN PRIVATE KEY{dashes}\n{'A' * 64}\n{'A' * 64}\n{dashes}END PRIVATE KEY{dashes}",
                pem("CERTIFICATE REQUEST", 130),
                "assert pem.startswith('-----BEGIN RSA PRIVATE KEY-----')",
            )
        ),
    ]


def _passwords() -> list[Case]:
    strong, key = "x8K" + "q!2mZ" + "pR", draw(32, ALNUM, 200)
    true = [
        (f'password = "{strong}"', strong),
        (f"db_passwd: '{strong}'", strong),
        (f'"Password": "{strong}",', strong),
        (f"API_KEY={key}\n", key),
        (f'api_key: "{key}"', key),
        (f"client_secret => '{key}'", key),
        (f'const authToken = "{key}";', key),
        (f'password: str = "{strong}"', strong),
        (f"export DB_PASSWORD={strong}\n", strong),
        (f"postgres://admin:{strong}@db.corp.net/x", strong),
        (f'options["password"] = "{strong}"', strong),
        (f'if (pwd == null) pwd = "{strong}";', strong),
        (f"secret_key = b'{key}'", key),
        (f"$config[\"smtp_password\"] = '{strong}';", strong),
        ('password = "sunshine"', "sunshine"),  # a word: missed on purpose
    ]
    false = [
        'password = "changeme"',
        'password = "********"',
        'password = "${DB_PASSWORD}"',
        "password = os.environ['PASSWORD']",
        'password = ""',
        'api_key = "your_api_key_here_12345"',
        'password_hash = "5f4dcc3b5aa765d61d8327deb882cf99"',
        'secret = "d41d8cd98f00b204e9800998ecf8427e"',
        'client_secret = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"',
        'password = "{{ vault }}"',
        'passwordLabel = "Enter 8 to 20 Characters"',
        'token = "access_token"',
        'label_password: "P4ssw0rd-Field!x"',
        'password == "x8Kq!2mZpR"',
        'secret_path = "/run/secrets/Db1.key"',
        'integrity = "sha512-Abc123Def456Ghi789"',
        'password = getpass("Pass 123: ")',
        'private_key = "~/.ssh/id_ed25519"',
        'apikey: "xxxxxxxxXXXX1234"',
        'password = "user_password_2"',
        "color: #a1B2c3D4",
        'credentials_url = "https://a1.b2/C3d4E5f6G7"',
        "http://localhost:8080@x",
        "https://user:$PASS@host.com",
        'password: "$2"',
        'passwordRegex = "^(?=.*[A-Z])(?=.*[0-9]).{8,}$"',
        'secret = "AES256-GCM-SHA384"',
    ]
    return [Case("password", text, (value,), True) for text, value in true] + [
        Case("password", text, (), True) for text in false
    ]


def cases() -> list[Case]:
    """All labelled texts."""
    return [*_emails(), *_phones(), *_ips(), *_payments(), *_tokens(), *_private_keys(), *_passwords()]
