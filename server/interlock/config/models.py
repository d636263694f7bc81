"""The shape of `interlock.toml`: every section and key with its type, bounds, default and meaning. It reads no file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from interlock.config.app_sections import APPS_MAX, AppSection
from interlock.config.bounds import LimitsSection
from interlock.config.references import Reference
from interlock.config.section import Section
from interlock.settings import HostSettings, HttpSettings, Settings

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
ADDRESS_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._:%-]{0,254}$|^::[0-9a-fA-F:.]{0,40}$"
LOGIN_PATTERN = r"^([A-Za-z0-9_][A-Za-z0-9._@-]{0,63})?$"
ENTRIES_MAX = 10_000

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:/@+-]{1,128}$")]
Text = Annotated[str, StringConstraints(max_length=1_024, pattern=r"^[^\x00-\x1f\x7f]*$")]
RemotePath = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^/[^\x00-\x1f\x7f]*$")]
MaskedPlace = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^(/|~/|~$)[^\x00-\x1f\x7f]*$")]
LocalPath = Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=r"^[^\x00-\x1f\x7f]+$")]
Address = Annotated[str, StringConstraints(pattern=ADDRESS_PATTERN)]
Login = Annotated[str, StringConstraints(pattern=LOGIN_PATTERN)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Labels = dict[Word, Word]
OneOrMore = Annotated[list[LocalPath], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]

_HOST = HostSettings("", "")
_HTTP = HttpSettings()
_SETTINGS = Settings(Path())


class ServerSection(Section):
    """The table [server]."""

    state_dir: LocalPath | None = Field(
        default=None, description="Folder of store, keys, socket and output; 0700. Default: $XDG_STATE_HOME/interlock."
    )
    principal: Name | None = Field(
        default=None, description="Principal of a local client that names none. Default: the only one there is."
    )
    artifacts: LocalPath | None = Field(
        default=None, description="Folder of artifacts that can be deployed; only its owner may write there."
    )


class HostSection(Section):
    """The table [hosts.NAME]."""

    address: Address | None = Field(
        default=None, description="Host name or IP address. Required unless it is imported."
    )
    port: Port | None = Field(default=None, description="Port of its SSH server. Default: 22.")
    user: Login | None = Field(default=None, description="Login name. Default: the name of the server's own user.")
    identities: list[Reference] | None = Field(
        default=None,
        max_length=16,
        description="Private keys, by reference, tried in this order. Default: the ssh-agent.",
    )
    known_hosts: LocalPath | None = Field(
        default=None,
        description="known_hosts file of this host, instead of the one that 'interlock hosts trust' writes.",
    )
    jump: Text | None = Field(default=None, description="Jump host: a host of this file, or user@address:port.")
    become: Login | None = Field(
        default=None, description="User to become with sudo -n, which must not need a password."
    )
    labels: Labels = Field(default_factory=dict, max_length=64, description='What policies speak of: {env = "prod"}.')
    groups: list[Name] = Field(default_factory=list, max_length=64, description="Groups this host belongs to.")
    cwd: RemotePath | None = Field(default=None, description="Where commands start. Default: the login's home.")
    workspace: list[RemotePath] = Field(
        default_factory=list, max_length=64, description="Trees in which agents are meant to work."
    )
    protected: list[RemotePath] = Field(
        default_factory=list, max_length=64, description="Trees that no tool may ever read or change."
    )
    shell: RemotePath = Field(default=_HOST.shell, description="The bash that commands run under.")
    path: Text = Field(default=_HOST.path, description="PATH of every command.")
    sessions_max: int = Field(
        default=_HOST.sessions_max,
        ge=1,
        le=100,
        description="SSH sessions at once; keep it below the host's MaxSessions.",
    )
    containment: Literal["staged", "confined", "none"] = Field(
        default="staged", description="The strongest containment that is used there, as far as the host can."
    )
    masked: list[MaskedPlace] = Field(
        default_factory=list,
        max_length=64,
        description="Places that no tool reads and no contained command sees, beside the usual ones of credentials; "
        "~ is the login's home, and *, ? and [] stand for names.",
    )
    embedded: bool = Field(
        default=False, description="The sandbox inside this process instead of a host; then without an address."
    )


class PrincipalSection(Section):
    """The table [principals.NAME]."""

    kind: Literal["agent", "human"] = Field("agent", description="Who calls.")
    roles: list[Name] = Field(
        default_factory=list, max_length=32, description='"observer" reads, "operator" changes, or a team\'s own.'
    )
    hosts: list[Text] = Field(
        default_factory=list,
        max_length=1_000,
        description='Hosts it may see: names, "group:NAME", "label:key=value" or "*".',
    )
    autonomy: int = Field(
        default=0, ge=0, le=4, description="How far it may go alone, 0 to 4; what that means is policy."
    )


class PolicySection(Section):
    """The table [policy]."""

    packs: list[Name] = Field(
        default=list(_SETTINGS.packs),
        max_length=64,
        description="Shipped rule packs that hold.",
    )
    files: list[LocalPath] = Field(
        default_factory=list, max_length=64, description="Cedar files, or folders of them, of the team's own."
    )
    elicit_roles: list[Name] = Field(
        default_factory=list,
        max_length=32,
        description="Approval roles for which a form in the client is enough; an agent may be able to answer it.",
    )


class HttpSection(Section):
    """The table [http]."""

    listen: Address = Field(
        default=_HTTP.listen, description="Address to serve on. Beyond loopback TLS and tokens are demanded."
    )
    port: Port = Field(default=_HTTP.port, description="Port to serve on.")
    tls_certificate: LocalPath | None = Field(default=None, description="Certificate chain, PEM.")
    tls_key: LocalPath | None = Field(default=None, description="Its private key, PEM; readable by its owner only.")
    hosts: list[Text] = Field(
        default_factory=list, max_length=64, description="Host headers that are served, beside the loopback names."
    )
    origins: list[Text] = Field(default_factory=list, max_length=64, description="Origins of browsers that are served.")
    tokens: bool = Field(default=_HTTP.tokens, description="Whether a bearer token is demanded; off only on loopback.")


class TelemetrySection(Section):
    """The table [telemetry]."""

    otlp_endpoint: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s@]{1,1000})?$")] = Field(
        default="", description="OTLP endpoint (HTTP) that spans derived from the record go to; empty: none."
    )


class RedactSection(Section):
    """The table [redact]."""

    values: list[Reference] = Field(
        default_factory=list,
        max_length=1_000,
        description="Secrets, by reference, that are cut out of all that is kept.",
    )


class InventorySection(Section):
    """The table [inventory]."""

    openssh: OneOrMore = Field(
        default_factory=list, description="OpenSSH client configuration(s) to import hosts from."
    )
    ansible: OneOrMore = Field(default_factory=list, description="Ansible inventories (INI or YAML) to import from.")
    hosts: list[Text] = Field(
        default=["*"],
        max_length=1_000,
        description='Which of their hosts to import: patterns with *, ? and !; the last "!" wins.',
    )
    labels: dict[Text, Labels] = Field(
        default_factory=dict,
        description='Labels for imported hosts, by pattern or "group:NAME"; the first that gives a key wins.',
    )
    label_vars: list[Name] = Field(
        default=["env", "role", "region", "zone", "tier", "team", "app"],
        max_length=64,
        description="Ansible variables that become labels. No other variable is taken over: it may hold a secret.",
    )


class ConfigFile(Section):
    """The whole file."""

    server: ServerSection = ServerSection()
    hosts: dict[Name, HostSection] = Field(default_factory=dict, max_length=ENTRIES_MAX)
    principals: dict[Name, PrincipalSection] = Field(default_factory=dict, max_length=ENTRIES_MAX)
    limits: LimitsSection = LimitsSection()
    policy: PolicySection = PolicySection()
    http: HttpSection = HttpSection()
    telemetry: TelemetrySection = TelemetrySection()
    redact: RedactSection = RedactSection()
    inventory: InventorySection = InventorySection()
    apps: dict[Name, AppSection] = Field(default_factory=dict, max_length=APPS_MAX)
