{# The script of a machine; a recovered task keeps its id. #}
{% import "rank.sh" as rank %}
{% macro text() %}
set -uo pipefail
logs={{ job.logs | sh }}
rank=$SKYPILOT_NODE_RANK
failures=$logs/failures.${SKYPILOT_TASK_ID//\//_}.$rank
{{ rank.prepare(job) -}}
{{ rank.command(job, flags) -}}
{{ rank.train() -}}
# After success, wrong input or Ctrl-C, another attempt would change nothing.
# 143, stopped after saving, is not a failure.
case $code in 0 | 2 | 130 | 143) exit "$code" ;; esac
echo "$code" >> "$failures"
if (($(wc -l < "$failures") > {{ job.restarts }})); then
  exit "$code"
fi
exit 75
{% endmacro %}
