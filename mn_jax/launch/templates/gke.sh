{# What a pod runs; GKE tells TPU pods of each other by variables of its own. #}
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
