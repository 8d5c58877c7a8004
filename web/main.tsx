/** The web UI: a client like any other, with a session's cookie in place of a token. */
import "./theme.css";
import { CSPProvider } from "@base-ui/react/csp-provider";
import { Tooltip } from "@base-ui/react/tooltip";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { createRouter, RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import type { HyperlaneError } from "#contract/errors.ts";
import { Toasts } from "./kit/toast.tsx";
import { nonce } from "./kit/nonce.ts";
import { routeTree } from "./routes.tsx";
import { readTheme, setTheme } from "./shell/theme.ts";

const RETRIES = 2;

// The stream says what has changed, so nothing grows old by itself.
const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: Infinity,
      refetchOnWindowFocus: false,
      retry: (count, error) => (error as HyperlaneError).code === "UNAVAILABLE" && count < RETRIES,
    },
  },
});

const router = createRouter({ routeTree, basepath: "/web", defaultPreload: "intent", context: { queryClient } });
declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

setTheme(readTheme());
createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <CSPProvider nonce={nonce()}>
      <QueryClientProvider client={queryClient}>
        <Tooltip.Provider>
          <RouterProvider router={router} />
          <Toasts />
        </Tooltip.Provider>
      </QueryClientProvider>
    </CSPProvider>
  </StrictMode>,
);
