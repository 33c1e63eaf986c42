{# What a machine runs; the task's id stays when it is recovered. #}
{% import "rank.sh" as rank %}
{% macro text() %}
set -uo pipefail
logs={{ job.logs | sh }}
rank=$SKYPILOT_NODE_RANK
failures=$logs/failures.${SKYPILOT_TASK_ID//\//_}.$rank
{{ rank.prepare(job) -}}
{{ rank.command(job, flags) -}}
{{ rank.train() -}}
# Done, wrong input, Ctrl-C: another attempt would change nothing. 143 is
# stopped and saved, which is no failure.
case $code in 0 | 2 | 130 | 143) exit "$code" ;; esac
echo "$code" >> "$failures"
if (($(wc -l < "$failures") > {{ job.restarts }})); then
  exit "$code"
fi
exit 75
{% endmacro %}
