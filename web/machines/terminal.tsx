/** A shell in the machine, or what its console prints. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { RotateCw } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { toHyperlaneError } from "#contract/errors.ts";
import { decodeExit, decodeU32, encodeResize, encodeU32, exitCode, F } from "#contract/wire/messages.ts";
import type { Stream } from "#sdk/client.ts";
import { createWindow } from "#sdk/window.ts";
import { client } from "../data/client.ts";
import { Button } from "../kit/button.tsx";
import { Choice } from "../kit/field.tsx";
import { Empty } from "../kit/page.tsx";
import { openTerminal } from "../kit/terminal.ts";
import { useWho } from "./act.ts";
import { refusal } from "./actions.ts";
import { useCurrent } from "./machine.tsx";

const SHELL = ["/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash -l; fi; exec sh -l"];

export function TerminalTab() {
  const machine = useCurrent();
  const who = useWho();
  const { view = "shell" } = useSearch({ strict: false });
  const navigate = useNavigate();
  const [ended, setEnded] = useState<string | null>(null);
  const [round, setRound] = useState(0);
  const why = refusal(view === "console" ? "logs" : "exec", machine, who);
  const again = (): void => {
    setEnded(null);
    setRound((n) => n + 1);
  };
  return (
    <div className="flex min-h-72 flex-1 flex-col gap-2 p-3 sm:p-4">
      <div className="flex items-center gap-2">
        <Choice
          aria-label="What to show"
          value={view}
          options={[
            ["shell", "Shell"],
            ["console", "Console"],
          ]}
          onChange={(e) => (
            again(),
            void navigate({ to: "/machines/$name/terminal", params: { name: machine.name }, search: { view: e.target.value } })
          )}
        />
        {ended !== null && (
          <>
            <span className="text-soft" role="status">
              {ended}
            </span>
            <Button icon={RotateCw} onClick={again}>
              Again
            </Button>
          </>
        )}
        <span className="ml-auto text-xs text-soft max-sm:hidden">Ctrl-Shift-C copies</span>
      </div>
      {why ? (
        <Empty title={why} />
      ) : (
        <Screen key={`${machine.id} ${view} ${round}`} machine={machine.id} name={machine.name} view={view} onEnd={setEnded} />
      )}
    </div>
  );
}

function Screen({ machine, name, view, onEnd }: { machine: string; name: string; view: string; onEnd: (why: string) => void }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let stream: Stream | undefined;
    let over = false;
    const shell = view === "shell";
    const { terminal, close } = openTerminal(box.current!, shell ? {} : { disableStdin: true, convertEol: true }, (rows, cols) =>
      stream?.send(F.RESIZE, encodeResize(rows, cols)),
    );
    const window = createWindow();
    const end = (why: string): void => {
      if (over) return;
      over = true;
      onEnd(why);
    };
    const query = shell
      ? {
          argv: JSON.stringify(SHELL),
          tty: true,
          stdin: true,
          rows: terminal.rows,
          cols: terminal.cols,
          env: JSON.stringify(["TERM=xterm-256color"]),
        }
      : { source: "console", follow: true, tail: 2000 };
    const opening = client.stream(
      shell ? "machineExec" : "machineLogs",
      { params: { machine }, query },
      {
        message(type, payload) {
          if (type === F.STDOUT || type === F.STDERR)
            // What is drawn is paid for, so a machine prints no faster than it is read.
            terminal.write(payload, () => stream?.send(F.CREDIT, encodeU32(payload.length)));
          else if (type === F.CREDIT_BACK) window.credit(decodeU32(payload));
          else if (type === F.EXIT) end(ending(shell, decodeExit(payload)));
        },
        close: (error) => end(error ? error.message : "The connection was lost."),
      },
    );
    opening.then(
      (opened) => {
        stream = opened;
        if (over) return opened.close();
        if (!shell) return;
        const typed = new TextEncoder();
        let sending = Promise.resolve();
        terminal.onData((text) => void (sending = sending.then(() => window.send(opened, typed.encode(text)))));
        opened.send(F.RESIZE, encodeResize(terminal.rows, terminal.cols));
        terminal.focus();
      },
      (thrown) => end(toHyperlaneError(thrown).message),
    );
    return () => {
      over = true;
      stream?.close();
      close();
    };
  }, []);
  return (
    <div className="min-h-0 flex-1 rounded-lg border border-line bg-panel p-2">
      <div
        ref={box}
        aria-label={`${view === "shell" ? "Shell in" : "Console of"} ${name}`}
        role="group"
        className="h-full overflow-hidden"
      />
    </div>
  );
}

function ending(shell: boolean, exit: ReturnType<typeof decodeExit>): string {
  if (exit.kind === "errno") return `The shell could not be started: ${exit.text}`;
  return shell ? `The shell ended with code ${exitCode(exit)}.` : "The machine does not run: this is all it has printed.";
}
