-- Every statement of the store, in named blocks. Named parameters only.

-- ── admission ──

-- name: idempotency_of
SELECT digest, call_id, life, envelope FROM calls
WHERE principal = :principal AND idempotency_key = :idempotency_key AND holds_key = 1

-- name: admission_facts
SELECT
    (SELECT scope FROM stops WHERE scope IN ('all', :principal_scope, :host_scope) ORDER BY scope LIMIT 1) AS stopped,
    (SELECT reason FROM stops WHERE scope IN ('all', :principal_scope, :host_scope) ORDER BY scope LIMIT 1)
        AS stopped_reason,
    (SELECT until FROM pauses WHERE principal = :principal AND session = :session) AS paused_until,
    a.tat AS tat,
    CASE WHEN a.day >= :day THEN a.used ELSE 0 END AS used,
    (SELECT count(*) FROM (SELECT 1 FROM calls WHERE life = 'dispatched' AND host = :host LIMIT :host_max))
        AS host_running,
    (SELECT count(*) FROM
        (SELECT 1 FROM calls WHERE life = 'dispatched' AND principal = :principal LIMIT :principal_max))
        AS principal_running,
    (SELECT count(*) FROM
        (SELECT 1 FROM approvals WHERE state = 'pending' AND principal = :principal LIMIT :pending_max))
        AS approvals_pending,
    l.repeats AS repeats,
    l.refused AS refused,
    l.last AS last,
    l.stamp AS stamp,
    coalesce((SELECT counter FROM host_changes WHERE host = :host), 0) AS changed
FROM (SELECT 1)
LEFT JOIN allowances AS a ON a.principal = :principal
LEFT JOIN loops AS l ON l.principal = :principal AND l.digest = :digest

-- name: allowance_take
INSERT INTO allowances (principal, tat, day, used) VALUES (:principal, :now + :interval, :day, :units)
ON CONFLICT (principal) DO UPDATE SET
    tat = max(tat, :now) + :interval,
    used = CASE WHEN day < :day THEN :units ELSE used + :units END,
    day = max(day, :day)
WHERE tat <= :now + :tolerance AND (:units = 0 OR day < :day OR used + :units <= :cap)
RETURNING used

-- name: budget_refund
UPDATE allowances SET used = max(0, used - :units) WHERE principal = :principal AND day = :day

-- name: budget_used
SELECT day, used FROM allowances WHERE principal = :principal

-- name: idempotency_release
UPDATE calls SET holds_key = 0 WHERE call_id = :call_id

-- name: call_insert
INSERT INTO calls (
    seq, call_id, principal, session, tool, host, environment, intent, arguments, arguments_exact, digest, effects,
    verdict, rules, policy_version, cost_units, day, changes, first_attempt_valid, idempotency_key, holds_key,
    traceparent, approval_id, created, dispatched, life, state, charged_units
) VALUES (
    :seq, :call_id, :principal, :session, :tool, :host, :environment, :intent, :arguments, :arguments_exact, :digest,
    :effects, :verdict, :rules, :policy_version, :cost_units, :day, :changes, :first_attempt_valid, :idempotency_key,
    :holds_key, :traceparent, :approval_id, :created, :dispatched, :life, :state, :charged_units
)

-- ── loops ──

-- name: loop_of
SELECT result_digest, repeats, last, stamp FROM loops WHERE principal = :principal AND digest = :digest

-- name: loop_put
INSERT INTO loops (principal, digest, result_digest, repeats, refused, last, stamp)
VALUES (:principal, :digest, :result_digest, :repeats, 0, :now, :stamp)
ON CONFLICT (principal, digest) DO UPDATE SET
    result_digest = excluded.result_digest, repeats = excluded.repeats, refused = 0, last = excluded.last,
    stamp = excluded.stamp

-- name: loop_refused
UPDATE loops SET refused = refused + 1 WHERE principal = :principal AND digest = :digest

-- name: loop_forget
DELETE FROM loops WHERE principal = :principal AND digest = :digest

-- name: host_changed
INSERT INTO host_changes (host, counter) VALUES (:host, 1)
ON CONFLICT (host) DO UPDATE SET counter = counter + 1

-- name: host_counter
SELECT counter FROM host_changes WHERE host = :host

-- name: pause_put
INSERT INTO pauses (principal, session, until) VALUES (:principal, :session, :until)
ON CONFLICT (principal, session) DO UPDATE SET until = excluded.until

-- name: pause_end
DELETE FROM pauses WHERE principal = :principal AND session = :session

-- ── settling ──

-- name: call_of
SELECT * FROM calls WHERE call_id = :call_id

-- name: call_settle
UPDATE calls SET
    life = :life, state = :state, code = :code, charged_units = :charged_units, settled = :settled, envelope = :envelope,
    spans = :spans, attempts = :attempts, validity = :validity, success = :success, side_effects = :side_effects,
    result_digest = :result_digest, outcome_seq = :outcome_seq
WHERE call_id = :call_id

-- name: invalid_attempt_put
INSERT INTO invalid_attempts (principal, session, tool, time) VALUES (:principal, :session, :tool, :now)
ON CONFLICT (principal, session, tool) DO UPDATE SET time = excluded.time

-- name: invalid_attempt_end
DELETE FROM invalid_attempts WHERE principal = :principal AND session = :session AND tool = :tool

-- name: calls_running
SELECT * FROM calls WHERE life = 'dispatched' ORDER BY seq

-- name: call_add_span
UPDATE calls SET spans_added = json_insert(spans_added, '$[#]', json(:span))
WHERE call_id = :call_id AND json_array_length(spans_added) < :spans_max

-- name: score_add
INSERT INTO scores (
    principal, tool, environment, calls, validity_count, validity_sum, success_count, success_sum, side_effects_count,
    side_effects_sum
) VALUES (
    :principal, :tool, :environment, :calls, :validity IS NOT NULL, coalesce(:validity, 0.0), :success IS NOT NULL,
    coalesce(:success, 0.0), :side_effects IS NOT NULL, coalesce(:side_effects, 0.0)
)
ON CONFLICT (principal, tool, environment) DO UPDATE SET
    calls = calls + excluded.calls,
    validity_count = validity_count + excluded.validity_count,
    validity_sum = validity_sum + excluded.validity_sum,
    success_count = success_count + excluded.success_count,
    success_sum = success_sum + excluded.success_sum,
    side_effects_count = side_effects_count + excluded.side_effects_count,
    side_effects_sum = side_effects_sum + excluded.side_effects_sum

-- ── approvals ──

-- name: approval_insert
INSERT INTO approvals (
    approval_id, call_id, digest, policy_version, principal, tool, host, role, obligations, summary, host_calls_max,
    principal_calls_max, created, approve_by, execute_within_seconds, state, audit_seq
) VALUES (
    :approval_id, :call_id, :digest, :policy_version, :principal, :tool, :host, :role, :obligations, :summary,
    :host_calls_max, :principal_calls_max, :created, :approve_by, :execute_within_seconds, :state, :audit_seq
)

-- name: approval_of
SELECT * FROM approvals WHERE approval_id = :approval_id

-- name: approval_of_call
SELECT * FROM approvals WHERE call_id = :call_id
ORDER BY state IN ('pending', 'approved') DESC, created DESC, audit_seq DESC LIMIT 1

-- name: approval_move
UPDATE approvals SET
    state = :state, execute_by = :execute_by, decided_by = :decided_by, decided = :decided, reason = :reason,
    audit_seq = :audit_seq
WHERE approval_id = :approval_id

-- name: approvals_lapsed
SELECT * FROM approvals
WHERE (state = 'pending' AND approve_by <= :now) OR (state = 'approved' AND execute_by <= :now)
ORDER BY created LIMIT :limit

-- name: approvals_stranded
SELECT a.* FROM approvals AS a JOIN calls AS c ON c.call_id = a.call_id
LEFT JOIN layers AS l ON l.run_id = a.call_id AND l.approval_id = a.approval_id
WHERE (c.life = 'awaiting' AND a.state IN ('denied', 'expired', 'withdrawn'))
    OR (c.life = 'held' AND l.state = 'held' AND a.state IN ('denied', 'expired'))
ORDER BY a.created LIMIT :limit

-- name: approvals_page
SELECT * FROM approvals WHERE :state = '' OR state = :state ORDER BY created DESC, approval_id LIMIT :limit

-- name: dispatch_facts
SELECT
    (SELECT scope FROM stops WHERE scope IN ('all', :principal_scope, :host_scope) ORDER BY scope LIMIT 1) AS stopped,
    (SELECT reason FROM stops WHERE scope IN ('all', :principal_scope, :host_scope) ORDER BY scope LIMIT 1)
        AS stopped_reason,
    (SELECT count(*) FROM (SELECT 1 FROM calls WHERE life = 'dispatched' AND host = :host LIMIT :host_max))
        AS host_running,
    (SELECT count(*) FROM
        (SELECT 1 FROM calls WHERE life = 'dispatched' AND principal = :principal LIMIT :principal_max))
        AS principal_running

-- name: call_dispatch
UPDATE calls SET life = 'dispatched', state = 'running', dispatched = :now
WHERE call_id = :call_id AND life = 'awaiting'

-- name: call_resume
UPDATE calls SET life = 'dispatched', state = 'running', dispatched = :now, settled = NULL, outcome_seq = NULL
WHERE call_id = :call_id AND life = 'held'

-- ── layers ──

-- name: layer_at
SELECT run_id, host, principal, call_digest, digest, changes_sha256, truncated, bytes, state, created, expires, landed,
    landed_by, undo_until, undone, undone_by, approval_id, reason
FROM layers WHERE run_id = :run_id

-- name: layer_of
SELECT * FROM layers WHERE run_id = :call_id OR (landed_by = :call_id AND landed_by <> '')
ORDER BY run_id = :call_id DESC LIMIT 1

-- name: layer_insert
INSERT INTO layers (
    run_id, host, principal, call_digest, digest, changes_sha256, truncated, bytes, state, created, expires, landed,
    landed_by, undo_until, undone, undone_by, approval_id, reason, audit_seq, changes
) VALUES (
    :run_id, :host, :principal, :call_digest, :digest, :changes_sha256, :truncated, :bytes, :state, :created, :expires,
    :landed, :landed_by, :undo_until, :undone, :undone_by, :approval_id, :reason, :audit_seq, :changes
)

-- name: layer_move
UPDATE layers SET
    state = :state, bytes = :bytes, expires = :expires, landed = :landed, landed_by = :landed_by,
    undo_until = :undo_until, undone = :undone, undone_by = :undone_by, approval_id = :approval_id, reason = :reason,
    audit_seq = :audit_seq
WHERE run_id = :run_id

-- name: layer_facts
SELECT
    (SELECT count(*) FROM
        (SELECT 1 FROM layers WHERE state IN ('held', 'landing') AND host = :host LIMIT :layers_max)) AS on_host,
    (SELECT count(*) FROM
        (SELECT 1 FROM layers WHERE state IN ('held', 'landing') AND principal = :principal LIMIT :layers_max))
        AS of_principal,
    (SELECT coalesce(sum(bytes), 0) FROM layers WHERE state IN ('held', 'landing') AND host = :host) AS host_bytes,
    (SELECT count(*) FROM
        (SELECT 1 FROM approvals WHERE state = 'pending' AND principal = :principal LIMIT :pending_max))
        AS approvals_pending

-- name: layers_lapsed
SELECT run_id, state FROM layers WHERE state = 'held' AND expires <= :now
UNION ALL
SELECT run_id, state FROM layers WHERE undo_until IS NOT NULL AND undo_until <= :now AND state = 'landed'
LIMIT :limit

-- name: layers_page
SELECT * FROM layers
WHERE (:state = '' OR state = :state) AND (:host = '' OR host = :host) AND (:principal = '' OR principal = :principal)
ORDER BY created DESC, run_id LIMIT :limit

-- name: layers_claimed
SELECT * FROM layers WHERE state IN ('landing', 'undoing')

-- name: runs_open
WITH open (call_id) AS (
    SELECT call_id FROM calls WHERE life = 'dispatched' AND host <> ''
    UNION SELECT call_id FROM calls WHERE life = 'unknown' AND host <> ''
    UNION SELECT call_id FROM deployments WHERE phase <> 'ended'
    UNION SELECT CASE state WHEN 'landing' THEN landed_by ELSE undone_by END FROM layers
        WHERE state IN ('landing', 'undoing')
)
SELECT c.* FROM open AS o JOIN calls AS c ON c.call_id = o.call_id
WHERE c.seq > :after_seq ORDER BY c.seq LIMIT :limit

-- ── deployments ──

-- name: deployment_open
SELECT * FROM deployments WHERE app = :app AND phase <> 'ended'

-- name: deployment_fence
SELECT coalesce(max(fence), 0) AS fence FROM deployments WHERE app = :app

-- name: deployment_of
SELECT * FROM deployments WHERE call_id = :call_id

-- name: deployment_insert
INSERT INTO deployments (
    call_id, app, kind, release, principal, fence, phase, plan, code, reason, created, ended, outcome, result
) VALUES (
    :call_id, :app, :kind, :release, :principal, :fence, 'forward', :plan, '', '', :created, NULL, '', ''
)

-- name: deployment_turn
UPDATE deployments SET phase = 'back', code = :code, reason = :reason WHERE call_id = :call_id AND phase = 'forward'

-- name: deployment_close
UPDATE deployments SET phase = 'closing' WHERE call_id = :call_id AND phase = 'forward'

-- name: deployment_end
UPDATE deployments SET phase = 'ended', ended = :now, outcome = :outcome, result = :result
WHERE call_id = :call_id AND phase <> 'ended'

-- name: step_insert
INSERT INTO deploy_steps (call_id, host, step, attempt, place, state, began, ended, detail)
VALUES (:call_id, :host, :step, :attempt, :place, 'begun', :began, NULL, '')

-- name: step_end
UPDATE deploy_steps SET state = :state, ended = :now, detail = :detail
WHERE call_id = :call_id AND host = :host AND step = :step AND attempt = :attempt
    AND state IN ('begun', 'unknown')

-- name: step_next
SELECT coalesce(max(attempt), 0) + 1 AS attempt FROM deploy_steps
WHERE call_id = :call_id AND host = :host AND step = :step

-- name: step_places
SELECT count(*) AS place FROM deploy_steps WHERE call_id = :call_id

-- name: step_hosts
SELECT DISTINCT host FROM deploy_steps WHERE call_id = :call_id

-- name: steps_of
SELECT * FROM deploy_steps WHERE call_id = :call_id ORDER BY place LIMIT 20000

-- name: deployments_page
SELECT * FROM deployments WHERE (:app = '' OR app = :app) ORDER BY created DESC LIMIT :limit

-- name: prune_steps
DELETE FROM deploy_steps WHERE call_id = :call_id

-- name: prune_deployment
DELETE FROM deployments WHERE call_id = :call_id AND phase = 'ended'
    AND fence < (SELECT max(fence) FROM deployments AS newer WHERE newer.app = deployments.app)

-- ── reading ──

-- name: calls_page
SELECT * FROM calls
WHERE (:before_seq = 0 OR seq < :before_seq)
    AND (:principal = '' OR principal = :principal)
    AND (:host = '' OR host = :host)
    AND (:state = '' OR state = :state)
ORDER BY seq DESC LIMIT :limit

-- name: call_ids_between
SELECT call_id AS id FROM calls WHERE call_id >= :low AND call_id < :high ORDER BY call_id LIMIT :limit

-- name: approval_ids_between
SELECT approval_id AS id FROM approvals WHERE approval_id >= :low AND approval_id < :high
ORDER BY approval_id LIMIT :limit

-- name: calls_after
SELECT * FROM calls WHERE seq > :after_seq ORDER BY seq LIMIT :limit

-- name: calls_ended_after
SELECT * FROM calls WHERE outcome_seq > :position AND life <> 'held' ORDER BY outcome_seq LIMIT :limit

-- name: ended_invalid
SELECT 1 FROM invalid_attempts WHERE principal = :principal AND session = :session AND tool = :tool

-- name: scores_all
SELECT * FROM scores WHERE :principal = '' OR principal = :principal ORDER BY principal, tool, environment

-- ── operating ──

-- name: stop_put
INSERT INTO stops (scope, stopped_by, reason, stopped) VALUES (:scope, :stopped_by, :reason, :now)
ON CONFLICT (scope) DO NOTHING

-- name: stop_lift
DELETE FROM stops WHERE scope = :scope

-- name: stop_of
SELECT * FROM stops WHERE scope = :scope

-- name: stops_all
SELECT * FROM stops ORDER BY stopped

-- name: breakers_all
SELECT * FROM breakers ORDER BY host, kind

-- name: breaker_put
INSERT INTO breakers (host, kind, failures, opened_at) VALUES (:host, :kind, :failures, :opened_at)
ON CONFLICT (host, kind) DO UPDATE SET failures = excluded.failures, opened_at = excluded.opened_at

-- name: meta_of
SELECT value FROM meta WHERE key = :key

-- name: meta_put
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- ── tokens ──

-- name: token_insert
INSERT INTO tokens (token_id, sha256, principal, label, created, expires)
VALUES (:token_id, :sha256, :principal, :label, :created, :expires)

-- name: token_of
SELECT * FROM tokens WHERE token_id = :token_id

-- name: tokens_all
SELECT * FROM tokens ORDER BY created, token_id

-- name: token_revoke
UPDATE tokens SET revoked = :now WHERE token_id = :token_id AND revoked IS NULL

-- name: token_used
UPDATE tokens SET last_used = :now WHERE token_id = :token_id

-- ── retention ──

-- name: prune_choose
SELECT c.call_id, c.life FROM calls AS c
WHERE c.life IN ('refused', 'settled', 'reconciled') AND c.settled < :before
    AND NOT EXISTS (
        SELECT 1 FROM layers AS l
        WHERE l.run_id = c.call_id AND (l.state IN ('held', 'landing', 'undoing') OR l.undo_until IS NOT NULL))
    AND NOT EXISTS (
        SELECT 1 FROM layers AS l
        WHERE l.landed_by = c.call_id AND l.landed_by <> ''
            AND (l.state IN ('landing', 'undoing') OR l.undo_until IS NOT NULL))
    AND NOT EXISTS (SELECT 1 FROM layers AS l WHERE l.state IN ('landing', 'undoing') AND l.undone_by = c.call_id)
ORDER BY c.seq LIMIT :limit

-- name: prune_approval
DELETE FROM approvals WHERE call_id = :call_id

-- name: prune_layer
DELETE FROM layers WHERE run_id = :call_id

-- name: prune_call
DELETE FROM calls WHERE call_id = :call_id

-- name: prune_loops
DELETE FROM loops WHERE last < :before

-- name: prune_pauses
DELETE FROM pauses WHERE until < :before

-- name: prune_allowances
DELETE FROM allowances WHERE tat < :before AND day < :day

-- name: prune_invalid_attempts
DELETE FROM invalid_attempts WHERE time < :before

-- ── audit ──

-- name: audit_insert
INSERT INTO audit (seq, time, kind, subject, digest, detail, hash) VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: audit_last
SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1

-- name: audit_at
SELECT * FROM audit WHERE seq = :seq

-- name: audit_after
SELECT * FROM audit WHERE seq > :seq ORDER BY seq

-- name: head_put
INSERT INTO head (id, seq, hash, time, signature) VALUES (1, :seq, :hash, :time, :signature)
ON CONFLICT (id) DO UPDATE SET
    seq = excluded.seq, hash = excluded.hash, time = excluded.time, signature = excluded.signature

-- name: head_of
SELECT seq, hash, time, signature FROM head

-- name: checkpoint_put
INSERT INTO checkpoints (seq, hash, time, signature) VALUES (:seq, :hash, :time, :signature)
ON CONFLICT (seq) DO NOTHING

-- name: checkpoints_all
SELECT seq, hash, time, signature FROM checkpoints ORDER BY seq

-- name: checkpoint_last
SELECT seq, hash, time, signature FROM checkpoints ORDER BY seq DESC LIMIT 1

-- name: counts
SELECT
    (SELECT count(*) FROM calls) AS calls,
    (SELECT count(*) FROM calls WHERE outcome_seq IS NOT NULL) AS "ended calls",
    (SELECT count(*) FROM calls WHERE life = 'held') AS "held calls",
    (SELECT count(*) FROM calls WHERE life = 'reconciled') AS "reconciled calls"

-- name: calls_with_records
SELECT c.*,
    i.kind AS intent_kind, i.subject AS intent_subject, i.digest AS intent_digest,
    o.subject AS outcome_subject, o.digest AS outcome_digest
FROM calls AS c
LEFT JOIN audit AS i ON i.seq = c.seq
LEFT JOIN audit AS o ON o.seq = c.outcome_seq
ORDER BY c.seq

-- name: approvals_all
SELECT * FROM approvals

-- name: layers_all
SELECT * FROM layers

-- name: checkpoint_keep
INSERT INTO checkpoints (seq, hash, time, signature) SELECT seq, hash, time, signature FROM head WHERE true
ON CONFLICT (seq) DO NOTHING
