#!/usr/bin/env bash
# Goal: the last line of `./dev test` counts what happened, and nothing that went wrong is left out.
# Method: a report with one test of each outcome, and the whole text expected of it.
set -euo pipefail
tally=$(dirname "$0")/tally.awk

report() { printf '<?xml version="1.0" encoding="UTF-8"?>\n<testsuite name="x"\n\ttests="7"\n\t>\n%s\n</testsuite>\n' "$1"; }
testcase() { # name status element output
  printf '\t<testcase name="%s" classname="%s" time="0.1" status="%s">\n' "$1" "$1" "$2"
  [[ -z $3 ]] || printf '\t\t%s\n' "$3"
  printf '\t\t<system-out>%s</system-out>\n\t</testcase>\n' "$4"
}

actual=$(report "$(
  testcase a.passes run '' $'[==========] Running 1 test\n[  PASSED  ] 1 test.\n'
  testcase a.fails fail '<failure message=""/>' $'[==========] Running\nx.cc:4: Failure\n  a &lt; b &amp;&amp; &quot;c&quot;\n'
  testcase a.hangs fail '<failure message=""/>' $'[ RUN      ] A.hangs\n'
  testcase a.is_skipped notrun '<skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/>' \
    $'[ RUN      ] X\nx.cc:5: Skipped\nno io_uring &amp; no device\n[  SKIPPED ] X (0 ms)\n'
  testcase a.script_is_skipped notrun '<skipped message="SKIP_RETURN_CODE=77"/>' $'looking\nneeds root\n'
  testcase a.is_missing notrun '<skipped message="Unable to find executable"/>' ''
  testcase a.is_disabled disabled '<skipped message="Disabled"/>' $'Disabled\n'
)" | awk -f "$tally")

expected='Failed:
--- a.fails (0.1 s)
    x.cc:4: Failure
      a < b && "c"

--- a.hangs (0.1 s)
    no result: it was killed, crashed, or took longer than it may
    [ RUN      ] A.hangs

--- a.is_missing (0.1 s)
    Unable to find executable

--- a.is_disabled (0.1 s)
    Disabled
    disabled: make it pass or delete it

Skipped:
  a.is_skipped: no io_uring & no device
  a.script_is_skipped: needs root

1 passed, 4 failed, 2 skipped'
diff <(echo "$expected") <(echo "$actual")

actual=$(report "$(testcase a.passes run '' '')" | awk -f "$tally")
diff <(echo '1 passed, 0 failed, 0 skipped') <(echo "$actual")
