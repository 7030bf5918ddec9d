"""A language model's chat template, made to understand messages that hold images.

transformers' pipelines and processors give a message's images and texts as a list, where templates of
language models take a string. What is put before the template makes the string that training gives: a line
for each image, then the texts.
"""

_FLATTEN = """\
{%- set turns = namespace(flat=[]) -%}
{%- for message in messages -%}
{%- if message['content'] is iterable and message['content'] is not string -%}
{%- set images = message['content'] | selectattr('type', 'equalto', 'image') | list | length -%}
{%- set texts = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') -%}
{%- set message = dict(message, content='<image>\\n' * images + texts | join('\\n')) -%}
{%- endif -%}
{%- set turns.flat = turns.flat + [message] -%}
{%- endfor -%}
{%- set messages = turns.flat -%}
{{ '' }}"""


def taking_images(template: str) -> str:
    """The template, which renders messages of plain text as it did."""
    return template if template.startswith(_FLATTEN) else _FLATTEN + template
