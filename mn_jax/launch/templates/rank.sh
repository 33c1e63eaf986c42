{# What runs on one machine or in one container, for the engines that start it
   there: the trainer, with a log of its own and SIGTERM passed on. #}
{% macro prepare(job) %}
{% for name, value in job.environment() %}
export {{ name }}={{ value | sh }}
{% endfor %}
{% if job.code %}
cd -- {{ job.code | sh }} || exit 1
{% endif %}
{% if job.activate %}
{{ job.activate }} || exit 1
{% endif %}
{% endmacro %}
{# flags: words for this shell, quoted where they need it. #}
{% macro command(job, flags) %}
command=(
{% for word in job.command() %}
  {{ word | sh }}
{% endfor %}
{% for flag in flags %}
  {{ flag }}
{% endfor %}
)
{% endmacro %}
{# From $logs, $rank and the command to $code. #}
{% macro train() %}
mkdir -p -- "$logs" || exit 1
exec {output}> >(exec tee -ia -- "$logs/rank$rank.log")
tee=$!
child=
again=1
# Bash would end at once and leave the trainer without the signal.
trap 'again=1; [[ -z $child ]] || kill -TERM "$child"' TERM
"${command[@]}" >&"$output" 2>&1 < /dev/null &
child=$!
while ((again)); do
  again=0
  code=0
  wait "$child" || code=$?
done
exec {output}>&-
wait "$tee"
{% endmacro %}
