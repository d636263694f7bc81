-- The tables, one named block a schema version. A block is never edited once released: the next version is a new block.
-- Times are seconds since the epoch (UTC). JSON columns hold JSON text. STRICT: a wrong type is an error, not a surprise.

-- name: version_1

-- One row a call. seq and outcome_seq are the audit records of its admission and its end, which cover it: a row that was
-- edited by hand no longer gives their digests. A dispatched row IS the concurrency lease of its host and principal.
-- A held call holds no lease; one whose held layer is being landed is dispatched again, with the answer it had when held.
-- holds_key: its idempotency key is taken by it.
CREATE TABLE calls (
    seq INTEGER PRIMARY KEY,
    call_id TEXT NOT NULL UNIQUE,
    principal TEXT NOT NULL,
    session TEXT NOT NULL,
    tool TEXT NOT NULL,
    host TEXT NOT NULL,
    environment TEXT NOT NULL,
    intent TEXT NOT NULL,
    arguments TEXT NOT NULL,
    arguments_exact INTEGER NOT NULL,
    digest TEXT NOT NULL,
    effects TEXT NOT NULL,
    verdict TEXT NOT NULL,
    rules TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    cost_units INTEGER NOT NULL,
    day TEXT NOT NULL,
    changes INTEGER NOT NULL,
    first_attempt_valid INTEGER NOT NULL,
    idempotency_key TEXT NOT NULL,
    holds_key INTEGER NOT NULL,
    traceparent TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    created REAL NOT NULL,
    dispatched REAL,
    life TEXT NOT NULL,
    state TEXT NOT NULL,
    code TEXT NOT NULL DEFAULT '',
    charged_units INTEGER NOT NULL,
    settled REAL,
    envelope TEXT,
    spans TEXT NOT NULL DEFAULT '[]',
    spans_added TEXT NOT NULL DEFAULT '[]',
    attempts TEXT NOT NULL DEFAULT '[]',
    validity REAL,
    success REAL,
    side_effects REAL,
    result_digest TEXT NOT NULL DEFAULT '',
    outcome_seq INTEGER
) STRICT;
CREATE UNIQUE INDEX calls_by_key ON calls (principal, idempotency_key) WHERE holds_key = 1;
CREATE INDEX calls_running_host ON calls (host) WHERE life = 'dispatched';
CREATE INDEX calls_running_principal ON calls (principal) WHERE life = 'dispatched';
CREATE INDEX calls_unknown ON calls (seq) WHERE life = 'unknown';
CREATE INDEX calls_ended ON calls (outcome_seq) WHERE outcome_seq IS NOT NULL;

-- Whose last call of a tool in a session ended invalid.
CREATE TABLE invalid_attempts (
    principal TEXT NOT NULL,
    session TEXT NOT NULL,
    tool TEXT NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (principal, session, tool)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    approval_id TEXT PRIMARY KEY,
    call_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    policy_version TEXT NOT NULL,
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,
    host TEXT NOT NULL,
    role TEXT NOT NULL,
    obligations TEXT NOT NULL,
    summary TEXT NOT NULL,
    host_calls_max INTEGER NOT NULL,
    principal_calls_max INTEGER NOT NULL,
    created REAL NOT NULL,
    approve_by REAL NOT NULL,
    execute_within_seconds INTEGER NOT NULL,
    state TEXT NOT NULL,
    execute_by REAL,
    decided_by TEXT NOT NULL DEFAULT '',
    decided REAL,
    reason TEXT NOT NULL DEFAULT '',
    audit_seq INTEGER NOT NULL
) STRICT;
CREATE INDEX approvals_live ON approvals (principal) WHERE state = 'pending';
CREATE INDEX approvals_by_time ON approvals (created);
CREATE INDEX approvals_by_call ON approvals (call_id);

-- What a run changed, by the call that made it: held on its host, or landed with an undo. `changes` stands last, so that
-- the other columns are read without it; changes_sha256 stands for it in the audit record.
CREATE TABLE layers (
    run_id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    principal TEXT NOT NULL,
    call_digest TEXT NOT NULL,
    digest TEXT NOT NULL,
    changes_sha256 TEXT NOT NULL,
    truncated INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    state TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    landed REAL,
    landed_by TEXT NOT NULL,
    undo_until REAL,
    undone REAL,
    undone_by TEXT NOT NULL,
    approval_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    audit_seq INTEGER NOT NULL,
    changes TEXT NOT NULL
) STRICT;
CREATE INDEX layers_by_time ON layers (created);
CREATE INDEX layers_held_host ON layers (host) WHERE state IN ('held', 'landing');
CREATE INDEX layers_held_principal ON layers (principal) WHERE state IN ('held', 'landing');
CREATE INDEX layers_in_flight ON layers (run_id) WHERE state IN ('landing', 'undoing');
CREATE INDEX layers_expiring ON layers (expires) WHERE state = 'held';
CREATE INDEX layers_undoable ON layers (undo_until) WHERE undo_until IS NOT NULL;
CREATE INDEX layers_landed_by ON layers (landed_by) WHERE landed_by <> '';

-- One row a deployment, by the call that made it; at most one that has not ended for each app, and its fence is higher
-- than that of every one before it. phase: forward | closing | back | ended. plan: the whole rollout as it was decided on.
CREATE TABLE deployments (
    call_id TEXT PRIMARY KEY,
    app TEXT NOT NULL,
    kind TEXT NOT NULL,
    release TEXT NOT NULL,
    principal TEXT NOT NULL,
    fence INTEGER NOT NULL,
    phase TEXT NOT NULL,
    plan TEXT NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    created REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX deployments_open ON deployments (app) WHERE phase <> 'ended';
CREATE INDEX deployments_by_app ON deployments (app, fence);

-- One row a step on a host, written before it happens. A step that is tried again has a row of its own.
CREATE TABLE deploy_steps (
    call_id TEXT NOT NULL,
    host TEXT NOT NULL,
    step TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    place INTEGER NOT NULL,
    state TEXT NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    detail TEXT NOT NULL,
    PRIMARY KEY (call_id, host, step, attempt)
) STRICT, WITHOUT ROWID;

-- What a principal may still do. tat: GCRA's theoretical arrival time of its next call. used: units of the day.
CREATE TABLE allowances (
    principal TEXT PRIMARY KEY,
    tat REAL NOT NULL,
    day TEXT NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How often in a row one call gave one result. stamp: the host's change counter when it last did.
CREATE TABLE loops (
    principal TEXT NOT NULL,
    digest TEXT NOT NULL,
    result_digest TEXT NOT NULL,
    repeats INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    last REAL NOT NULL,
    stamp INTEGER NOT NULL,
    PRIMARY KEY (principal, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE host_changes (host TEXT PRIMARY KEY, counter INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE pauses (
    principal TEXT NOT NULL,
    session TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (principal, session)
) STRICT, WITHOUT ROWID;

-- The kill switch. scope: all | principal:NAME | host:NAME
CREATE TABLE stops (
    scope TEXT PRIMARY KEY,
    stopped_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    stopped REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE breakers (
    host TEXT NOT NULL,
    kind TEXT NOT NULL,
    failures INTEGER NOT NULL,
    opened_at REAL,
    PRIMARY KEY (host, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    token_id TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    principal TEXT NOT NULL,
    label TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    revoked REAL,
    last_used REAL
) STRICT, WITHOUT ROWID;

-- Sums, so that scores outlive the calls that retention deletes.
CREATE TABLE scores (
    principal TEXT NOT NULL,
    tool TEXT NOT NULL,
    environment TEXT NOT NULL,
    calls INTEGER NOT NULL,
    validity_count INTEGER NOT NULL,
    validity_sum REAL NOT NULL,
    success_count INTEGER NOT NULL,
    success_sum REAL NOT NULL,
    side_effects_count INTEGER NOT NULL,
    side_effects_sum REAL NOT NULL,
    PRIMARY KEY (principal, tool, environment)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- The hash chain. digest covers the row the event wrote, or detail where the event has no row of its own.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    digest TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;

-- The signed head (one row, rewritten with every commit) and the signed heads that are kept.
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL,
    time REAL NOT NULL,
    signature TEXT NOT NULL
) STRICT;
CREATE TABLE checkpoints (
    seq INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    time REAL NOT NULL,
    signature TEXT NOT NULL
) STRICT;
