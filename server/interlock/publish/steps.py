"""Steps: what an agent does after an error, family by family. Text only; `runbooks` puts it together."""

INVALID = """\
1. Read `error.path`: it names the one argument that does not fit. Leave the others as they are.
2. If `error.recovery.action` is `change_arguments`, merge its `arguments` into yours (null removes one) and send the
   call again. Do not rewrite the rest of the call at the same time.
3. If it is `use_tool`, make that call first (`hosts_list` names the hosts), then send yours with what it said.
4. `error.allowed` holds values that would pass. Choose from it; never invent a host, a path or an argument.
5. COMMAND_UNREADABLE: send simpler commands, one a call, without the construct that the message names.
6. Two refusals with the same code for the same argument mean that you are guessing: ask the human.
"""

DECISION = """\
1. EFFECT_UNDECLARED: `recovery.arguments` is the declaration that would be honest. Take it if that is what you mean to
   change. If it surprises you, the command does more than you thought: change the command instead.
2. APPROVAL_REQUIRED: a person has been asked. Call `call_status` with `call_id` and `wait_seconds: 50`, again and again
   while the state is `awaiting_approval`. The call runs by itself. Do not send it a second time.
3. APPROVAL_DENIED: tell the human the reason you were given. Do not look for another way to the same effect.
4. APPROVAL_EXPIRED: if it is still wanted, send the same call again; it asks anew.
5. POLICY_DENIED, SCOPE_DENIED: read `error.rules` and `interlock://policy`. Use `call_check` to see whether a narrower
   call (another path, a staging host, no `network`) would pass. If none does, report it and stop.
6. STOPPED: a person pulled the stop. Only a person lifts it. Do nothing further.
"""

LIMITS = """\
1. With `recovery.action: wait`, wait `error.retry_after_seconds` and send the same call, unchanged, once.
2. RATE_LIMITED, CONCURRENCY_LIMITED: make fewer calls at once. Join what belongs together into one call.
3. BUDGET_EXHAUSTED: `interlock://budget` says what is left and when it refills. Finish looking, write down what remains
   to be done, and tell the human.
4. LOOP_DETECTED: the same call gave the same result several times. Something else has to change first; say what.
5. OUTPUT_LIMITED: narrow it (a line range, a pattern, `limit`), or page with `call_status`, `stream`, `offset`.
"""

RECORD = """\
1. STALE_STATE: somebody changed it since you looked. Read it again, redo your change on what is there now, and send it
   with the new `expected_sha256`. Never drop the guard to get your version in.
2. IDEMPOTENCY_CONFLICT: the key was used for another call. Take a new key, or none; keep the old one for retries of
   exactly the same call.
3. CALL_UNKNOWN: copy the `call_id` from the envelope that you got. Calls of other principals do not exist for you.
4. UNDO_UNAVAILABLE: nothing was put back. Say what would have to be restored, and let the human decide.
"""

HOST = """\
1. With `recovery.action: wait`, wait `error.retry_after_seconds` and send the same call again; `attempts` says what was
   tried already. After three refusals stop and report.
2. For a read, `any:GROUP` as the host goes to a healthy member of the group.
3. HOST_KEY_MISMATCH: stop. A changed key can mean another machine. Only a human compares fingerprints.
4. AUTH_FAILED: stop. The human mends credentials; never look for other ones on any host.
5. CONTAINMENT_UNAVAILABLE: this host cannot contain the call. `interlock://hosts/{name}` says what it can.
6. ENGINE_UNAVAILABLE: no podman or docker answers there. Only a human installs or starts one.
"""

OUTCOME = """\
1. COMMAND_FAILED: read `result.exit_code`, `result.stderr`, then `result.stdout`. Mend the cause, not the symptom.
2. VERIFICATION_FAILED: the command ended well and a postcondition does not hold. `verified` says which, and what was
   seen instead. The change is there: decide whether to finish it or to take it back.
3. TIMED_OUT, CANCELLED: it was ended in the middle; `result` holds what is known. Look at the host with reading calls
   first. A longer `timeout_seconds` is right only if it was making progress.
4. OUTCOME_UNKNOWN: it may have happened. Ask `call_status`; look at the host. Never simply send it again.
"""
