# Reads the JUnit file of ctest and prints what a person wants to know of it:
#   every failed test with its output, every skipped test with its reason, and as the last line
#   "N passed, N failed, N skipped".
# A test that could not be run at all, or that is disabled, has failed: nobody gets to overlook it.

function plain(text) {
  gsub(/&lt;/, "<", text)
  gsub(/&gt;/, ">", text)
  gsub(/&quot;/, "\"", text)
  gsub(/&apos;/, "'", text)
  gsub(/&#[xX]?[0-9a-fA-F]+;/, "", text)
  gsub(/&amp;/, "\\&", text)
  return text
}

function attribute(line, key,    rest) {
  if (!match(line, " " key "=\"[^\"]*\"")) return ""
  rest = substr(line, RSTART, RLENGTH)
  sub(/^[^"]*"/, "", rest)
  sub(/"$/, "", rest)
  return plain(rest)
}

function finish(    reason, i, lines, count) {
  if (status == "disabled") output = output "disabled: make it pass or delete it\n"
  else if (message != "" && message !~ /^SKIP_/) output = output message "\n"
  count = split(output, lines, "\n")
  if (status == "run") {
    ++passed
  } else if (status == "notrun" && message ~ /^SKIP_/) {
    ++skipped
    # GoogleTest prints "file:line: Skipped" and the reason below it; a script ends with its reason.
    reason = ""
    for (i = 1; i < count; ++i) {
      if (lines[i] ~ /: Skipped$/) reason = lines[i + 1]
    }
    for (i = count; reason == "" && i >= 1; --i) reason = lines[i]
    if (reason == "" || reason ~ /^\[/) reason = "no reason given"
    skips = skips sprintf("  %s: %s\n", name, reason)
  } else {
    ++failed
    failures = failures sprintf("\n--- %s (%.1f s)\n", name, time)
    if (status == "fail" && output ~ /\[ RUN/ && output !~ /\[  FAILED/) {
      failures = failures "    no result: it was killed, crashed, or took longer than it may\n"
    }
    for (i = 1; i <= count; ++i) {
      # What GoogleTest prints around a single case says nothing.
      if (lines[i] ~ /^\[(---|===)/ || lines[i] ~ /^(Note: Google Test filter|Running main)/) continue
      if (lines[i] != "") failures = failures "    " lines[i] "\n"
    }
  }
}

/^\t?<testcase / {
  name = attribute($0, "name")
  status = attribute($0, "status")
  time = attribute($0, "time")
  message = ""
  output = ""
  inside = 0
  next
}
!inside && /<(skipped|failure|error) / { message = attribute($0, "message") }
/<system-out>/ { inside = 1; sub(/^.*<system-out>/, "") }
inside {
  ends = sub(/<\/system-out>.*$/, "")
  if (length($0) > 0 || !ends) output = output plain($0) "\n"
  if (ends) inside = 0
  next
}
/^\t?<\/testcase>/ { finish() }

END {
  if (failures != "") printf "Failed:%s\n", failures
  if (skips != "") printf "Skipped:\n%s\n", skips
  printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
