// What a failed request means for the person at the page, and what to do next.

import { text } from "./strings.js";

const HINTS = {
  rate_limit_exceeded: "error_rate_limit",
  insufficient_quota: "error_quota",
  context_length_exceeded: "error_context_length",
  model_not_found: "error_model_not_found",
  connection_lost: "error_connection_lost",
  frame_too_large: "error_too_large",
  model_not_ready: "error_unavailable",
  engine_overloaded: "error_unavailable",
  engine_unavailable: "error_unavailable",
};

/** OpenAI's error object as {hint, detail}: our advice, and the server's own words (English). */
export function explain(error) {
  const other = error.type === "invalid_request_error" ? "error_invalid_request" : "error_other";
  const name = HINTS[error.code] ?? other;
  return { hint: text(name), detail: error.message ?? "" };
}
