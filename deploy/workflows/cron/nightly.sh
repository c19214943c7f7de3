#!/bin/sh
# Plan, score and check one day's labels: `nightly.sh [YYYY-MM-DD]`, by default yesterday (UTC).
#
# It prints nothing on success, so that cron mails only what somebody has to read. Running it again is safe at any time:
# completed work stays, and a complete day is recognized. It exits with 0, with the exit code of the command that stopped
# it (6: a limit is broken), or with 75 if another instance is running. Quarantined images are listed and stop nothing
# unless a limit does.
#
#   MASKSIFT_SOURCE    folder or bucket with dt=YYYY-MM-DD/site=*, one Zarr group per site    s3://lake/seg
#   MASKSIFT_QUALITY   location of results, one folder dt=YYYY-MM-DD per day                  s3://lake/quality
#   MASKSIFT_CONFIG    optional TOML file with the other keys of a run                        /etc/masksift/run.toml
#   MASKSIFT_LIMITS    limits of the check    default: --max-flagged 5% --max-quarantined 1%
#   MASKSIFT_DROP      quality that a class may lose since the day before    default: 5%
#   MASKSIFT_PAUSE     seconds before an interrupted run is retried          default: 300
#   MASKSIFT_LOCK      lock file                                             default: ~/.masksift-nightly.lock
set -eu

source=${MASKSIFT_SOURCE:?must be the location of the data lake}
quality=${MASKSIFT_QUALITY:?must be the location of the results}
limits=${MASKSIFT_LIMITS:---max-flagged 5% --max-quarantined 1%}
day=$(date -u -d "${1:-yesterday}" +%F)
out=$quality/dt=$day
before=$quality/dt=$(date -u -d "$day 1 day ago" +%F)

output=$(mktemp)
trap 'rm -f "$output"' EXIT

# Run one masksift command with its output in a file.
masksift_quietly() { masksift "$@" >"$output" 2>&1; }

# Exit with a code, after printing the output of the last command.
give_up() {
    printf 'masksift, %s: %s\n' "$day" "$2" >&2
    tail -n 40 "$output" >&2
    exit "$1"
}

exec 9>"${MASKSIFT_LOCK:-$HOME/.masksift-nightly.lock}"
flock --nonblock 9 || { echo "masksift, $day: another instance is running" >&2; exit 75; }

set -- ${MASKSIFT_CONFIG:+"$MASKSIFT_CONFIG"} --source "$source/dt=$day/site=*" --out "$out"

# The results of the day before, if they are complete; 2: they are not.
code=0
masksift_quietly check "$before" --max-quarantined 100% --top 0 || code=$?
case $code in
    0) set -- "$@" --base "$before" ;;
    2) before= ;;
    *) give_up "$code" "cannot find out whether $before is complete" ;;
esac

code=0
masksift_quietly plan "$@" || code=$?
[ "$code" -eq 0 ] || give_up "$code" "the run was not started"

# 5 is an interrupted run, which resumes; waiting does not help with anything else.
for attempt in 1 2 3 4; do
    code=0
    masksift_quietly run "$@" || code=$?
    if [ "$code" -ne 5 ] || [ "$attempt" -eq 4 ]; then break; fi
    sleep "${MASKSIFT_PAUSE:-300}"
done
case $code in
    0) ;;
    3)
        echo "masksift, $day: images are quarantined; all others are scored" >&2
        masksift check "$out" --max-quarantined 0 --top 20 >&2 || [ $? -eq 6 ]
        ;;
    *) give_up "$code" "the run is not complete" ;;
esac

code=0
# shellcheck disable=SC2086 # split into words on purpose
masksift_quietly check "$out" $limits \
    ${before:+--base "$before" --max-drop-in-class-quality "${MASKSIFT_DROP:-5%}"} || code=$?
[ "$code" -eq 0 ] || give_up "$code" "do not use its labels; see $out/report/index.html"
