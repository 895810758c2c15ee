"""The words that the page's script says: the script itself holds no language.

A name in braces is filled in by the script.
"""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

STRINGS = {
    "copied": _("Copied"),
    "rename": _("Rename: {title}"),
    "delete": _("Delete: {title}"),
    # A reply under way and its numbers.
    "replying": _("The model is replying."),
    "hello": _("Hello!"),
    "reply_done": _("Reply: {reply}"),
    "reply_failed": _("The reply failed."),
    "waiting": _("Waiting for the first token: {time}"),
    "ttft": _("First token {time}"),
    "rate": _("{rate} tokens/s"),
    "tokens_in": _("{count} tokens in"),
    "tokens_out": _("{count} tokens out"),
    "milliseconds": _("{value} ms"),
    "seconds": _("{value} s"),
    "stopped": _("You stopped this reply."),
    "length": _("Cut off at the token limit. Raise Max tokens for longer replies."),
    # Why a message cannot be sent now.
    "connecting": _("Connecting…"),
    "connection_lost": _("The connection is lost. Trying again…"),
    "signed_out": _("Your session has ended. Sign in to go on; your chats stay in this browser."),
    "model_loading": _("{model} is still loading: {share}"),
    "model_failed": _("{model} could not be loaded: {reason}"),
    # What to do after an error.
    "error_rate_limit": _("Too many requests at once. Wait a moment, then try again."),
    "error_quota": _("Your budget is used up. Ask the administrator for more."),
    "error_context_length": _(
        "This chat is longer than the model can read. Start a new chat, lower Max tokens, or shorten the "
        "system prompt."
    ),
    "error_model_not_found": _("This model is not offered any more. Choose another one under Parameters."),
    "error_connection_lost": _("The connection was lost before the reply was complete."),
    "error_too_large": _("This chat is too large to send. Start a new chat or shorten the message."),
    "error_invalid_request": _("The server did not accept the request. Check the parameters."),
    "error_unavailable": _("The model is not available right now. Try again in a moment."),
    "error_other": _(
        "Something went wrong on the server. Try again; if it happens again, tell the administrator."
    ),
}
