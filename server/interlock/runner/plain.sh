# The sh form: runs on a host without Python, each started at most once, followed, ended, expired. It contains nothing.
#
# No host keeps this text: each request is an exec of /bin/sh that reads it, without its comments and as one line, from
# its standard input; then one more line, the request, in $request; then the command's standard input. Their lengths are
# checked before anything is read in them, so that an upload that was cut starts nothing. What it needs: POSIX sh (dash,
# busybox ash, bash, ksh), /proc, setsid, and dd, tail, tee, wc, mkfifo, ln of coreutils or busybox.
#
# A request is fields divided by "|", in which whatever is not plain text is an octal escape that `printf %b` reads:
#   start|ID|HOME|WAIT|OUT|ERR|DIGEST|TIMEOUT|SPOOL_BYTES|STDIN_BYTES|MINUTES|KILOBYTES
#     |SHELL|CWD|COMMAND|NAME=VALUE|...  with MINUTES, old runs are removed on the way
#   attach|ID|HOME|WAIT|OUT|ERR     follow a run; an id that is not there is claimed as void, so that it never starts
#   cancel|ID|HOME|GRACE|OUT|ERR    end a run's processes, or keep it from starting
#   void|ID|HOME                    keep a run from starting
#   expire|-|HOME|MINUTES|KILOBYTES remove old runs; their ids are kept in RUNS/.expired, so that none begins again
# Times are hundredths of a second; OUT and ERR are how many bytes of each stream were seen. An answer is any number of
# `data STREAM OFFSET LENGTH` lines, each followed by so many bytes, and one `state WORD ...` or `refused CODE REASON`.
#
# RUNS/ID is a run. In order of life: `claim` (the request, then the boot), `end` (blank, so that a full disk cannot keep
# the end from being written), `sup` (the gate: made once, by the supervisor that lets the command begin, or as void),
# `leader`, `out`, `err` (the heads of the streams), `out.tail`, `out.rest` (the end and the length of what was over the
# cap), `cancel` (the grace), `why` and `killed` (an end that was forced: found, left). No end and no supervisor: lost.

now() { # $now: a clock that nobody can set
  read -r now _ </proc/uptime
  now=$((${now%.*} * 100 + 1${now#*.} - 100))
}

seconds() { # $seconds: $1 hundredths
  seconds=$(($1 % 100))
  [ $seconds -gt 9 ] || seconds=0$seconds
  seconds=$(($1 / 100)).$seconds
}

nap() { # for $1 hundredths of a second
  seconds "$1"
  sleep "$seconds" 2>/dev/null || sleep 1
}

look_at() { # of process $1: $parent, $group, $session, $ticks (when it started; 0 = it has ended)
  stat='' ticks=0
  # A process may have a line end in its name.
  { while read -r part; do stat="$stat $part"; done <"/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086 # to be split
  set -- ${stat##*\) }
  parent=${2-} group=${3-} session=${4-}
  case ${1:-Z} in [ZX]) ;; *) ticks=${20:-0} ;; esac
}

refuse() {
  echo "refused $1 $2"
  exit 0
}

# -- where runs lie ---------------------------------------------------------------------------------------------------

find_runs() { # $runs: this user's run directories, made where they are missing, refused where they are not ours alone
  while read -r key _ uid _; do [ "$key" != Uid: ] || break; done </proc/self/status
  above=/var/lib
  if [ "$uid" != 0 ]; then
    case ${XDG_STATE_HOME-} in /*) above=$XDG_STATE_HOME ;; *) above=$home/.local/state ;; esac
  fi
  runs=$above/interlock-runs
  # Checked whole when a connection is new; in between it could be changed by this user alone.
  if [ "$1" = 0 ] && [ -d "$runs" ] && [ ! -L "$runs" ] && [ -O "$runs" ]; then return 0; fi
  [ -d "$runs" ] || (umask 077 && mkdir -p "$above" && mkdir "$runs") 2>/dev/null
  # Each line has nine words: mode, links, user, group, size, three of the date, name.
  # shellcheck disable=SC2046 # to be split
  set -- $(cd "$above" 2>/dev/null && ls -ldn . interlock-runs 2>/dev/null)
  [ $# = 18 ] || refuse unavailable "$runs cannot be made"
  case ${10} in d*) [ "${12}" = "$uid" ] ;; *) false ;; esac ||
    refuse unavailable "$runs is no directory of this user's own"
  case ${10} in ?????w* | ????????w*) refuse unavailable "$runs can be written by others" ;; esac
  case $1:$3 in
    ????????w[!tT]*) refuse unavailable "what lies above $runs can be written by others" ;;
    *:0 | *:"$uid") ;;
    *) refuse unavailable "what lies above $runs belongs to another user" ;;
  esac
  case ${10} in ????------*) ;; *) chmod 700 "$runs" ;; esac
}

has_expired() { # whether a run of this id was removed here; a new directory of its own is taken away again
  [ -s "$runs/.expired" ] && grep -qxF -e "$id" "$runs/.expired" && rmdir "$runs/$id" && state=expired
}

see() { # $state: absent, foreign, starting, void, running, ended (then $end), or lost
  state=absent
  [ -d "$runs/$id" ] && cd "$runs/$id" || return 0
  state=foreign # begun through the host's Python
  [ ! -e claim.json ] && [ ! -e sup.json ] || return 0
  state=starting
  read -r this_boot </proc/sys/kernel/random/boot_id
  # A power cut may take `sup` away, but not the claim: nobody knows then whether it had begun.
  if [ ! -s sup ]; then
    ! { read -r _ && read -r boot; } <claim 2>/dev/null || [ "$boot" = "$this_boot" ] || state=lost
    return 0
  fi
  read -r supervisor started boot <sup
  state=void
  [ "$supervisor" != void ] || return 0
  look_at "$supervisor"
  state=lost
  [ "$ticks" != "$started" ] || [ "$boot" != "$this_boot" ] || state=running
  # Looked at after the supervisor: in between it may have ended, never begun.
  [ -f end ] && read -r end <end && [ "${end:--}" != - ] && state=ended
  return 0
}

pass_gate() { # make `sup` with the words $1; fails where somebody did before. A file with no words yet says nothing
  set -C
  if echo "$1" 2>/dev/null >sup; then passed=0; else passed=1; fi
  set +C
  return $passed
}

close_gate() { # decide that a run which has not begun never will, because of $1; fails where it has begun
  pass_gate "void $1"
}

claim_void() { # where there is no such run, there never will be one
  see
  [ "$state" = absent ] && mkdir -m 700 "$runs/$id" 2>/dev/null || return 1
  if has_expired; then
    tell_state
    exit 0
  fi
  cd "$runs/$id" && close_gate absent
}

# -- the answer -------------------------------------------------------------------------------------------------------

tell_piece() { # of stream $1, in file $2, what lies between the offsets $3 and $4
  [ "$4" -gt "$3" ] || return 0
  echo "data $1 $3 $(($4 - $3))"
  if [ "$state" = ended ]; then
    tail -c "+$(($3 + 1))" "$2"
  else
    tail -c "+$(($3 + 1))" "$2" | head -c "$(($4 - $3))"
  fi
}

tell_output() { # what is new in both streams
  [ -f err ] || return 0
  # shellcheck disable=SC2046 # to be split: 4 out 0 err 4 total
  set -- $(wc -c out err)
  tell_piece 1 out "$out" "$1"
  tell_piece 2 err "$err" "$3"
  [ "$1" -le "$out" ] || out=$1
  [ "$3" -le "$err" ] || err=$3
  out_all=$1 err_all=$3
}

tell_rest() { # of stream $1, in files $2.*, after $3 bytes: the end of what was over the cap; $all: how long it was
  all=$3
  [ -s "$2.rest" ] && read -r rest <"$2.rest" || return 0
  all=$(($3 + rest))
  kept=$(($(wc -c <"$2.tail")))
  echo "data $1 $((all - kept)) $kept"
  cat "$2.tail"
}

tell_state() {
  case $state in
    ended)
      tell_rest 1 out "${out_all:-0}" && out_all=$all
      tell_rest 2 err "${err_all:-0}" && err_all=$all
      echo "state ended $end $out_all $err_all"
      ;;
    lost)
      know_leader
      find_mine
      echo "state lost $(words "$mine")"
      ;;
    *) echo "state $state" ;;
  esac
}

follow() { # tell what comes, until it has ended or $1 hundredths of a second are over
  now
  until=$((now + $1)) pause=5
  stalled=$((now + 300))
  while :; do
    see
    tell_output
    case $state in running | starting) ;; *) break ;; esac
    now
    [ "$now" -lt "$until" ] || break
    if [ "$state" = starting ] && [ "$now" -ge "$stalled" ]; then
      # Whoever claimed it was ended before its supervisor began; the gate lets one through, however many try.
      if [ "$verb" = start ]; then launch; else close_gate stalled; fi
      stalled=$((now + 300))
    fi
    nap $pause
    [ $pause -ge 40 ] || pause=$((pause * 2))
  done
  tell_state
}

# -- the verbs --------------------------------------------------------------------------------------------------------

start() { # $1 timeout, $2 spool, $3 stdin: bytes, $4 minutes after which old runs go or 0, $5 kilobytes, $6 shell
  timeout=$1 cap=$2 stdin=$3 minutes=$4 kilobytes=$5 shell=$6 fresh=''
  command -v setsid >/dev/null || refuse unavailable "there is no setsid on the host"
  # Standard input is whole before the run is claimed.
  if [ "$stdin" -gt 0 ]; then
    fresh=$runs/.in.$id.$$
    cat >"$fresh"
    if [ "$(wc -c <"$fresh")" -ne "$stdin" ]; then
      rm -f "$fresh"
      refuse short "the command's input did not arrive whole"
    fi
  fi
  if mkdir -m 700 "$runs/$id" 2>/dev/null; then
    # An id is noted before its directory goes, so this is the time to look.
    if has_expired; then
      [ -z "$fresh" ] || rm -f "$fresh"
      tell_state
      exit 0
    fi
    launch
  else
    see
    [ "$state" != absent ] || refuse_full "a run directory cannot be made in $runs"
    [ "$state" = starting ] || [ -z "$fresh" ] || rm -f "$fresh"
  fi
  follow "$wait"
  make_room
}

make_room() { # what is old goes, and nobody waits for it
  [ "$minutes" = 0 ] || expire "$minutes" "$kilobytes" </dev/null >/dev/null 2>&1 &
}

refuse_full() {
  make_room
  refuse no_space "$1"
}

launch() { # start its supervisor and wait for it a little
  cd "$runs/$id" || return 0
  if [ ! -f claim ] && ! write_claim; then
    rm -f claim
    close_gate "no space"
    refuse_full "the run cannot be written in $runs"
  fi
  [ -z "$fresh" ] || mv -f "$fresh" in
  fresh=''
  know_option
  # shellcheck disable=SC2154
  setsid /bin/sh -c "$text" sh supervise "$id" "$timeout" "$cap" "$stdin" "$shell" "$option" \
    </dev/null >/dev/null 2>&1 &
  child=$!
  # Most commands end at once: their end is waited for, not polled. The clock interrupts the wait.
  trap : USR1
  (exec </dev/null >/dev/null 2>&1 && nap 30 && kill -USR1 $$) &
  clock=$!
  wait $child
  kill $clock 2>/dev/null
  see
  if [ "$state" != starting ] || kill -0 $child 2>/dev/null; then return 0; fi
  if ! close_gate "no supervisor"; then
    nap 50 # for the words of whoever passed the gate; where none come, the disk is full and nobody did
    see
  fi
  [ "$state" != starting ] || refuse_full "its supervisor could not begin in $runs"
}

know_option() { # $option: what an sh starts in the background ignores INT and QUIT; some env can take that back
  option=''
  if [ "$minutes" = 0 ] && [ -f "$runs/.env" ]; then
    read -r option <"$runs/.env"
  else
    ! env --default-signal=INT,QUIT true 2>/dev/null || option=--default-signal=INT,QUIT
    echo "$option" >"$runs/.env"
  fi
}

write_claim() { # on the disk before anything can begin: after a power cut, what began must not look as if it had not
  [ -f end ] || printf '%-160s\n' - >end || return 1
  read -r boot </proc/sys/kernel/random/boot_id
  # shellcheck disable=SC2154 # the request was read before this text was
  printf '%s\n' "$request" "$boot" | dd of=claim bs=65536 conv=fsync 2>/dev/null ||
    printf '%s\n' "$request" "$boot" >claim
}

attach() {
  claim_void
  follow "$wait"
}

cancel() { # whoever holds the run ends it; where nobody does any more, this one
  claim_void
  see
  [ "$state" != starting ] || close_gate cancelled
  see
  case $state in
    running)
      echo "$wait" >cancel
      [ ! -s watch ] || ! read -r watch <watch || kill -USR1 "$watch" 2>/dev/null
      follow $((wait + 600))
      ;;
    lost)
      know_leader
      end_tree "$wait"
      tell_output
      tell_state
      ;;
    *) follow 0 ;;
  esac
}

expire() { # remove runs that are older than $1 minutes, and the oldest beyond $2 kilobytes; never one that goes on
  cd "$runs" || return 0
  find . -name '.in.*' -mmin +60 -exec rm -f {} + 2>/dev/null
  all=0
  # shellcheck disable=SC2045 # newest first; ids are plain words
  for id in $(ls -t); do
    [ -f "$id/claim" ] || [ -f "$id/sup" ] || continue
    # shellcheck disable=SC2046 # to be split
    set -- "$1" "$2" $(du -sk "$id")
    all=$((all + $3))
    # What has ended just now may still be asked for.
    if [ $all -gt "$2" ]; then age=1; else age=$1; fi
    [ -n "$(find "$id" -prune -mmin "+$age")" ] || continue
    see
    cd "$runs" || return 0
    case $state in
      void | ended | lost)
        # On a full disk this is the room that the next line needs.
        for part in out err out.tail err.tail in; do rm -f "$runs/$id/$part"; done
        echo "$id" >>.expired && rm -rf "${runs:?}/$id" && all=$((all - $3))
        ;;
    esac
  done
  # The oldest half is forgotten when there are too many.
  if [ -s .expired ] && [ "$(wc -c <.expired)" -gt 1048576 ]; then
    tail -c 524288 .expired >.expired.new && mv -f .expired.new .expired
  fi
  echo "state expired"
}

# -- the supervisor: it outlives the connection -----------------------------------------------------------------------

# Read by the pinned bash alone. The order comes as the file that was claimed, so that no process list shows it.
begin='IFS="|" read -r -a w <&3 || exit 97; exec 3<&-;
printf -v d %b "${w[13]}"; printf -v INTERLOCK_TEXT %b "${w[14]}";
for v in "${w[@]:15}"; do printf -v v %b "$v"; export "$v"; done;
cd -- "$d" 2>/dev/null || { echo no_cwd >&4; exit 97; };
echo - >&4 || exit 97; exec 4>&-; unset w d v; eval "$INTERLOCK_TEXT"'

supervise() { # $1 run, $2 timeout, $3 spool bytes, $4 stdin bytes, $5 shell, $6 option of env
  id=$1 timeout=$2 cap=$3
  look_at $$
  sup_ticks=$ticks
  read -r boot </proc/sys/kernel/random/boot_id
  pass_gate "$$ $ticks $boot" || exit 0
  if mkfifo out.pipe err.pipe && open_pipe out 6 7 && open_pipe err 8 9; then
    drain out 6 &
    out_drain=$!
    drain err 8 &
    err_drain=$!
    # Its input is a pipe without a name, which nobody can open twice.
    if [ "$4" = 0 ]; then run_command "$5" "$6" </dev/null & else give_input | run_command "$5" "$6" & fi
    leader=$!
    exec 6<&- 7>&- 8<&- 9>&-
    look_at $leader
    leader_ticks=$ticks
    echo "$leader $ticks" >leader
    watch &
    watch=$!
    wait $leader
    code=$?
    wait $out_drain
    wait $err_drain
    # It ends at once, or once it has ended the processes of a run that was cancelled or is out of time.
    kill -TERM $watch 2>/dev/null
    wait $watch
  fi
  write_end
}

run_command() { # under the pinned bash $1, with an option of env
  exec >&7 2>&9 3<claim 4>begun 6<&- 7>&- 8<&- 9>&- || exit 126
  # shellcheck disable=SC2086 # no option is no word
  exec setsid env $2 -i INTERLOCK_CALL="$id" "$1" --noprofile --norc -c "$begin" bash
}

give_input() {
  exec 6<&- 7>&- 8<&- 9>&-
  exec cat in
}

open_pipe() { # stream $1: a pipe with its reading end at $2 and its writing end at $3; no open waits for another here
  eval "exec 5<>$1.pipe $2<$1.pipe $3>$1.pipe 5>&-" && : >"$1"
}

drain() { # copy fd $2 to file $1 unbuffered, so that it is seen as it comes; of what is over the cap, the end is kept
  exec 3<&"$2" 6<&- 7>&- 8<&- 9>&- # not as redirections of the call: a shell keeps copies of what those close
  reader='' stopped=
  trap 'stopped=1; [ -z "$reader" ] || kill $reader' TERM
  size=0
  while [ "$size" -lt "$cap" ] && [ -z "$stopped" ]; do
    count=$(((cap - size) / 65536 + 1))
    dd bs=65536 count=$count <&3 >>"$1" 2>"$1.copied" &
    reader=$!
    wait $reader || break # a full disk here must not end the command
    # "2+7 records in", maybe after a warning: fewer than were asked for means that the stream has ended.
    while IFS=' +' read -r whole part word _; do [ "$word" != records ] || break; done <"$1.copied"
    [ $((whole + part)) -ge $count ] || return 0
    size=$(wc -c <"$1")
  done
  [ -n "$stopped" ] || drain_rest "$1"
}

drain_rest() {
  mkfifo "$1.count" "$1.keep"
  wc -c <"$1.count" >"$1.rest" 3<&- &
  counter=$!
  tail -c 131072 <"$1.keep" >"$1.tail" 3<&- &
  keeper=$!
  tee "$1.count" <&3 >"$1.keep" &
  reader=$!
  wait $reader
  wait $counter
  wait $keeper
  rm -f "$1.count" "$1.keep"
}

watch() { # the time limit, a cancellation, and an end that something in the background does not let the streams tell
  sleeper=''
  trap : USR1
  trap '[ -z "$sleeper" ] || kill $sleeper; exit 0' TERM
  read -r me _ </proc/self/stat
  echo "$me" >watch
  now
  limit=$((now + timeout)) pause=20 quiet=0 patience=120 seen=''
  while :; do
    look_at $$
    [ "$ticks" = "$sup_ticks" ] || exit 0 # it must not outlive its supervisor
    [ ! -s cancel ] || ! read -r grace <cancel || force cancelled "$grace"
    look_at "$leader"
    if [ "$ticks" != "$leader_ticks" ]; then
      let_go
    else
      now
      [ "$now" -lt $limit ] || force timeout 200
      [ $((now + pause)) -le $limit ] || pause=$((limit - now + 1))
    fi
    doze $pause
    pause=100
  done
}

doze() { # as nap, and signals are heard
  seconds "$1"
  sleep "$seconds" 2>/dev/null &
  sleeper=$!
  wait $sleeper
  case $? in
    0) ;;
    ?) sleep 1 ;;
    *) kill $sleeper 2>/dev/null ;;
  esac
  sleeper=''
}

let_go() { # the command has ended: when its streams were silent for half a second, or after half a minute, nobody waits
  sizes=$(wc -c out err)
  quiet=$((quiet + 1)) patience=$((patience - 1)) pause=25
  [ "$sizes" = "$seen" ] || quiet=0
  seen=$sizes
  [ $quiet -ge 2 ] || [ $patience -le 0 ] || return 0
  kill -TERM $out_drain $err_drain
  exit 0
}

force() { # end its processes because of $1, with the grace $2
  trap '' TERM USR1
  echo "$1" >why
  end_tree "$2"
  echo "$found $left" >killed
  nap 10
  kill -TERM $out_drain $err_drain # what could not be found may hold them
  exit 0
}

write_end() { # in place: the room for it is there, however full the disk is
  began=0 why=- found=0 left=0 begun=''
  [ ! -f begun ] || read -r begun <begun
  case $begun in
    -) began=1 ;;
    no_cwd) why=no_cwd ;;
    *) why=no_shell ;;
  esac
  [ -n "${leader-}" ] || why=failed
  [ ! -s why ] || read -r why <why
  [ ! -s killed ] || read -r found left <killed
  [ "${code:=0}" -le 255 ] || code=$((code - 128)) # ksh counts signals from 256
  printf '%-160s\n' "$code $why $began $found $left" 1<>end
}

# -- a run's processes ------------------------------------------------------------------------------------------------

know_leader() {
  leader=0 leader_ticks=0
  [ "${boot-}" != "$this_boot" ] || [ ! -s leader ] || read -r leader leader_ticks <leader
}

find_mine() { # $mine: PID:START of each process that carries the run's mark, is in its leader's group or session while
  # that number still means the same leader, or descends from one of them
  known=${mine-} mine=' ' all='' marked=" $(marked) " ours=''
  look_at "$leader"
  [ "$leader" = 0 ] || { [ "$ticks" != 0 ] && [ "$ticks" != "$leader_ticks" ]; } || ours=1
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    look_at "$pid"
    [ "$ticks" != 0 ] && [ "$pid" != $$ ] && [ "$pid" != "${me-}" ] || continue
    all="$all $pid:$ticks:$parent"
    case "$known:$marked" in *" $pid:$ticks "* | *" $pid "*) mine="$mine$pid:$ticks " && continue ;; esac
    [ -z "$ours" ] || { [ "$group" != "$leader" ] && [ "$session" != "$leader" ]; } || mine="$mine$pid:$ticks "
  done
  before=''
  while [ "$mine" != "$before" ]; do
    before=$mine
    for entry in $all; do
      case $mine in *" ${entry%:*} "*) continue ;; *" ${entry##*:}:"*) mine="$mine${entry%:*} " ;; esac
    done
  done
  for entry in $mine; do
    case ${met:= } in *" $entry "*) ;; *) met="$met$entry " ;; esac
  done
}

marked() { # processes that carry the mark: a coarse look at all, in which one could feign another, then a close one
  tail -n +1 /proc/[0-9]*/environ 2>/dev/null | tr '\000' '\n' |
    grep -e '^==> /proc/[0-9]*/environ <==$' -e "^INTERLOCK_CALL=$id\$" |
    while read -r word path _; do
      case $word in
        '==>') pid=${path#/proc/} pid=${pid%/environ} ;;
        *) ! tr '\000' '\n' <"/proc/$pid/environ" | grep -qx "INTERLOCK_CALL=$id" || echo "$pid" ;;
      esac
    done 2>/dev/null | tr '\n' ' '
}

words() { # the process ids of a list
  for entry in $1; do printf '%s ' "${entry%%:*}"; done
}

signal_mine() { # with $1; what the run started through sudo can only be reached the same way
  # shellcheck disable=SC2046 # to be split
  set -- "$1" $(words "$mine")
  [ $# -gt 1 ] || return 0
  kill -s "$@" 2>/dev/null || ! command -v sudo >/dev/null || sudo -n kill -s "$@" 2>/dev/null
}

end_tree() { # TERM, the grace $1, KILL; $found: how many processes were seen, $left: how many are left
  mine='' met=''
  # All are stopped first: a parent whose child just died would otherwise go on with its next command.
  find_mine
  signal_mine STOP
  find_mine
  signal_mine STOP
  signal_mine TERM
  signal_mine CONT
  now
  grace=$((now + $1)) last=$((now + $1 + 300))
  while find_mine && [ "$mine" != ' ' ] && now && [ "$now" -lt $last ]; do
    if [ "$now" -ge $grace ]; then
      signal_mine STOP
      signal_mine KILL
    fi
    nap 5
  done
  # shellcheck disable=SC2086 # to be counted
  set -- $met
  found=$#
  # shellcheck disable=SC2086
  set -- $mine
  left=$#
}

# -- one request ------------------------------------------------------------------------------------------------------

if [ "${1-}" = supervise ]; then
  shift
  supervise "$@"
  exit 0
fi
set -f
IFS='|'
# shellcheck disable=SC2086,SC2154 # to be split; it was read before this text was
set -- $request
unset IFS
set +f
verb=$1 id=$2 home=$3 wait=${4:-0} out=${5:-0} err=${6:-0}
case $home in *\\*) home=$(printf %b "$home") ;; esac
case $id in '' | *[!A-Za-z0-9_-]*) [ "$verb" = expire ] || refuse bad_request "no run id" ;; esac
find_runs "${11:-1}"
cd "$runs" || refuse unavailable "$runs cannot be entered"
case $verb in
  start) start "$8" "$9" "${10}" "${11}" "${12}" "${13}" ;;
  attach) attach ;;
  cancel) cancel ;;
  void) claim_void || { see && [ "$state" != starting ]; } || close_gate void; follow 0 ;;
  expire) expire "$4" "$5" ;;
  *) refuse bad_request "no verb: $verb" ;;
esac
exit 0
