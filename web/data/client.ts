/** The SDK, with the session's cookie in place of a token. */
import { createClient } from "#sdk/client.ts";

export const client = createClient({ url: location.origin, token: null });
