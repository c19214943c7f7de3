#!/bin/sh
# One day's labels are planned, scored and checked: `nightly.sh [YYYY-MM-DD]`, without a date yesterday (UTC).
#
# It prints nothing where all is well, so that cron mails what somebody has to read and no more. It may be run again at any
# time: what is done stays done, and a day that is complete is recognised. It ends with 0, or with the exit code of the
# command that stopped it (6: a limit is broken), or with 75 where another one is at work. Images that were left out
# stop nothing unless a limit does: they are listed.
#
#   MASKSIFT_SOURCE    folder or bucket with dt=YYYY-MM-DD/site=*, one Zarr group a site    s3://lake/seg
#   MASKSIFT_QUALITY   where results go, one folder dt=YYYY-MM-DD a day                     s3://lake/quality
#   MASKSIFT_CONFIG    TOML file with the other keys of a run, if there are any             /etc/masksift/run.toml
#   MASKSIFT_LIMITS    limits of the check         default: --max-flagged 5% --max-quarantined 1%
#   MASKSIFT_DROP      what a class may have lost since the day before          default: 5%
#   MASKSIFT_PAUSE     seconds before what was interrupted goes on              default: 300
#   MASKSIFT_LOCK      file that keeps a second one out                         default: ~/.masksift-nightly.lock
set -eu

source=${MASKSIFT_SOURCE:?is where the days of the lake lie}
quality=${MASKSIFT_QUALITY:?is where the results go}
limits=${MASKSIFT_LIMITS:---max-flagged 5% --max-quarantined 1%}
day=$(date -u -d "${1:-yesterday}" +%F)
out=$quality/dt=$day
before=$quality/dt=$(date -u -d "$day 1 day ago" +%F)

said=$(mktemp)
trap 'rm -f "$said"' EXIT

# One command of masksift, quietly; its exit code.
masksift_quietly() { masksift "$@" >"$said" 2>&1; }

# End with an exit code, and with what the last command said.
give_up() {
    printf 'masksift, %s: %s\n' "$day" "$2" >&2
    tail -n 40 "$said" >&2
    exit "$1"
}

exec 9>"${MASKSIFT_LOCK:-$HOME/.masksift-nightly.lock}"
flock --nonblock 9 || { echo "masksift, $day: another one is at work" >&2; exit 75; }

set -- ${MASKSIFT_CONFIG:+"$MASKSIFT_CONFIG"} --source "$source/dt=$day/site=*" --out "$out"

# Yesterday's results, where they are complete: 2 says that there are none.
code=0
masksift_quietly check "$before" --max-quarantined 100% --top 0 || code=$?
case $code in
    0) set -- "$@" --base "$before" ;;
    2) before= ;;
    *) give_up "$code" "whether $before is complete cannot be found out" ;;
esac

code=0
masksift_quietly plan "$@" || code=$?
[ "$code" -eq 0 ] || give_up "$code" "it was not begun"

# 5 is what was interrupted, and goes on where it was; nothing else gets better by waiting.
for attempt in 1 2 3 4; do
    code=0
    masksift_quietly run "$@" || code=$?
    if [ "$code" -ne 5 ] || [ "$attempt" -eq 4 ]; then break; fi
    sleep "${MASKSIFT_PAUSE:-300}"
done
case $code in
    0) ;;
    3)
        echo "masksift, $day: images were left out; all others are scored" >&2
        masksift check "$out" --max-quarantined 0 --top 20 >&2 || [ $? -eq 6 ]
        ;;
    *) give_up "$code" "it is not complete" ;;
esac

code=0
# shellcheck disable=SC2086 # several words are meant
masksift_quietly check "$out" $limits \
    ${before:+--base "$before" --max-drop-in-class-quality "${MASKSIFT_DROP:-5%}"} || code=$?
[ "$code" -eq 0 ] || give_up "$code" "its labels are not to be used: look at $out/report/index.html"
