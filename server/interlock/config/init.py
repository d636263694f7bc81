"""The files that `interlock init` writes: a commented start to change. It overwrites nothing."""

from __future__ import annotations

import os
from pathlib import Path

from interlock.config.places import CONFIG_NAME

POLICY_NAME = "policies/team.cedar"

CONFIG_TEXT = """\
# Interlock: what agents may reach, as whom, and within which limits.
# Every key is described in docs/configuration.md; an unknown one is an error. 'interlock doctor' checks all of it.
# Secrets are never written here, only where they are: "agent", {file = "~/.ssh/id_ed25519"}, {env = "NAME"}.

[server]
principal = "agent"                 # who a local client is that names nobody

# A first host to try things on: it runs inside this process and works in a scratch folder of yours.
[hosts.sandbox]
embedded = true

# A host of your own. Then: interlock hosts trust web1, interlock doctor.
# [hosts.web1]
# address = "192.0.2.10"
# user = "deploy"
# identities = ["agent"]
# labels = {env = "staging"}        # policies speak of labels; without env a host counts as production
# groups = ["web"]                  # then any:web reaches whichever member is healthy, to read
# workspace = ["/srv/app"]          # where agents are meant to work

# Or take over what you have.
# [inventory]
# openssh = "~/.ssh/config"
# ansible = ["inventory.ini"]
# hosts = ["web*", "!web9"]
# [inventory.labels]
# "web*" = {env = "staging"}

# What agents may ship, and how: docs/deploy.md begins with a first release. [server] artifacts names the folder.
# [apps.shop]
# hosts = ["web1"]
# path = "/srv/shop"                # releases/, shared/ and the link current lie here
# service = "shop"                  # restarted after each switch, by systemd
# [[apps.shop.checks]]
# kind = "http"
# target = "http://127.0.0.1:8080/health"

[principals.agent]
kind = "agent"
roles = ["operator"]                # "observer" only reads
hosts = ["*"]                       # names, "group:web", "label:env=staging" or "*"

[policy]
packs = ["baseline", "environments", "confidence", "deploy"]
files = ["policies/team.cedar"]

[limits]
budget_units_per_day = 1000         # risk units, counted by the server
approve_within_seconds = 900

# [redact]
# values = [{env = "DB_PASSWORD"}]  # cut out of everything that is kept or answered
"""

POLICY_TEXT = """\
// Your own rules, beside the shipped packs. The strictest decision wins: nothing here can loosen a pack.
// The comments above a rule are its tests. They run whenever it loads: interlock policy test

// match:      operator on env=prod: delete /srv/app/releases
// not_match:  operator on env=staging: delete /srv/app/releases
// not_match:  operator on env=prod: write /srv/app/config.yaml
// not_match:  operator on env=prod, approval=operator: delete /srv/app/releases
// expect ASK: operator on env=prod: delete /srv/app/releases
@id("team.production-deletes")
@title("In production nothing is deleted without an operator's approval")
@hint("Move it aside instead, or say in the intent why it has to go.")
@requires("approval:operator")
forbid (principal, action == Action::"delete", resource in Env::"prod")
unless { context.approvals.contains("operator") };
"""


def write_start(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the configuration (0600) and a policy; the files written, and those left as they were. Raises OSError."""
    written: list[Path] = []
    kept: list[Path] = []
    for name, text in ((CONFIG_NAME, CONFIG_TEXT), (POLICY_NAME, POLICY_TEXT)):
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            kept.append(path)
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    return written, kept
