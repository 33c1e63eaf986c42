{# What one machine or container runs: the trainer, with a log of its own, and
   with SIGTERM passed on to it. #}
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
{# flags: words of the shell, already quoted. #}
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
{# Needs $logs, $rank and $command; sets $code. #}
{% macro train() %}
mkdir -p -- "$logs" || exit 1
exec {output}> >(exec tee -ia -- "$logs/rank$rank.log")
tee=$!
child=
again=1
# Without a trap, bash would end and not pass the signal on.
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
