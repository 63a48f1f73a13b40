"""The page of ``mailhaul serve``, and its API: what is on record, to look at and to act from.

Owns what is shown and who is let in. What is done is done by operations of the queue. The only package that
imports starlette, jinja2, sse_starlette and uvicorn; nothing here is imported before somebody serves.
"""
