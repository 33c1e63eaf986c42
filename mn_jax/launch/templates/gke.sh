{# The script of a pod; GKE sets variables by which TPU pods find each other. #}
{% import "rank.sh" as rank %}
{% macro text() %}
set -uo pipefail
logs={{ job.logs | sh }}
rank=$JOB_COMPLETION_INDEX
{{ rank.prepare(job) -}}
{{ rank.command(job, flags) -}}
{{ rank.train() -}}
exit "$code"
{% endmacro %}
