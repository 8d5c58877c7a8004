/** xterm.js in our colours, in a page whose policy lets no style sheet in but those with its nonce. */
import { FitAddon } from "@xterm/addon-fit";
import { Terminal, type ITerminalOptions } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { colour, onTheme } from "../shell/theme.ts";
import { nonce } from "./nonce.ts";

/** xterm.js makes style sheets for itself, and has no word for nonces: from here on each that is made has this page's. */
const make = document.createElement.bind(document);
document.createElement = ((tag: string, options?: ElementCreationOptions) => {
  const element = make(tag, options);
  if (tag === "style") element.nonce = nonce();
  return element;
}) as typeof document.createElement;

function colours(): ITerminalOptions["theme"] {
  return {
    background: colour("panel"),
    foreground: colour("ink"),
    cursor: colour("accent"),
    selectionBackground: colour("accent").replace(/^rgba?\((\d+), (\d+), (\d+).*$/, "rgba($1, $2, $3, 0.3)"),
  };
}

/** Fills its box, and keeps filling it. onSize: rows and columns, whenever they change. */
export function openTerminal(box: HTMLElement, options: ITerminalOptions, onSize: (rows: number, cols: number) => void) {
  const terminal = new Terminal({
    fontFamily: getComputedStyle(box).getPropertyValue("--font-mono") || "monospace",
    fontSize: 13,
    lineHeight: 1.15,
    scrollback: 10_000,
    minimumContrastRatio: 4.5,
    theme: colours() ?? {},
    ...options,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.open(box);
  fit.fit();
  terminal.onResize(({ rows, cols }) => onSize(rows, cols));
  const resized = new ResizeObserver(() => fit.fit());
  resized.observe(box);
  const off = onTheme(() => (terminal.options.theme = colours() ?? {}));
  // Ctrl-Shift-C copies, as in every terminal; what is chosen is copied by the browser's own key too.
  terminal.attachCustomKeyEventHandler((e) => {
    if (e.type !== "keydown" || !e.ctrlKey || !e.shiftKey || e.code !== "KeyC") return true;
    if (terminal.hasSelection()) void navigator.clipboard.writeText(terminal.getSelection());
    e.preventDefault();
    return false;
  });
  return {
    terminal,
    close(): void {
      off();
      resized.disconnect();
      terminal.dispose();
    },
  };
}
