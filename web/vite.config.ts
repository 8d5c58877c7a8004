/** One page, its code cut by view; every file but the page has a hash in its name. */
import tailwind from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  root: import.meta.dirname,
  base: "/web/",
  plugins: [react(), tailwind()],
  // The server puts a new one in its place at each answer; see control/api/site.ts.
  html: { cspNonce: "__NONCE__" },
  build: {
    outDir: `${import.meta.dirname}/../build/web`,
    emptyOutDir: true,
    target: "es2023",
    // Nothing is read from data: URLs, which the page's policy would not allow for fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
