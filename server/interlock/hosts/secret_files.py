"""Files that a search leaves unread: those whose names are secret by convention. It looks at no disk.

`words` are options of GNU grep, so that such files are not even opened; `is_secret` asks the full table of paths
about what was found all the same, and about Interlock's own trees.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from interlock_policies.facts import HostFacts
from interlock_policies.paths import PathClass, classify

LEFT_OUT = "files named like secrets (.env, keys, credentials, histories …) and Interlock's own were not searched"

_ENDINGS = ("json", "yaml", "yml", "toml", "ini", "env", "txt")
FOLDERS = (".ssh", ".gnupg", ".password-store", ".aws", ".azure", ".kube", "gcloud")
FILES = (
    ".env",
    ".env.*",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "*.ppk",
    "*.ovpn",
    "*.keytab",
    "*[._-]key.pem",
    "privkey*.pem",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_ecdsa_sk",
    "id_ed25519_sk",
    "id_xmss",
    ".netrc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".npmrc",
    ".pypirc",
    ".vault-token",
    ".htpasswd",
    ".*_history",
    *(f"{name}.{ending}" for name in ("credentials", "secret", "secrets") for ending in _ENDINGS),
    "application_default_credentials.json",
    "service[-_]account*.json",
)
# Templates of the above, which hold no secret.
HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")


def words(glob: str = "") -> list[str]:
    """Options for grep. `glob`: what the search itself includes, "" = everything; the last option that matches wins."""
    harmless = [name for name in HARMLESS if not glob or fnmatchcase(name, glob)]
    return [
        *([f"--include={glob}"] if glob else []),
        *(f"--exclude={name}" for name in FILES),
        *(f"--include={name}" for name in harmless),
        *(f"--exclude-dir={name}" for name in FOLDERS),
    ]


def is_secret(path: str, facts: HostFacts) -> bool:
    """Whether this path is a secret by its name or place on this host, or lies in one of Interlock's own trees."""
    return bool(classify(path, facts) & {PathClass.SECRET, PathClass.INTERLOCK})
