/** Files into the machine and out of it. */
import { Download, Upload } from "lucide-react";
import { useRef, useState, type FormEvent } from "react";
import { formatBytes, plural } from "../kit/amounts.ts";
import { Button } from "../kit/button.tsx";
import { Field } from "../kit/field.tsx";
import { Panel, Problem, Section } from "../kit/page.tsx";
import { saveBlob } from "../kit/save.ts";
import { say } from "../kit/toast.tsx";
import { useWho } from "./act.ts";
import { refusal } from "./actions.ts";
import { copyIn, copyOut, type Outgoing } from "./copy.ts";
import { useCurrent } from "./machine.tsx";

export function FilesTab() {
  const machine = useCurrent();
  const why = refusal("copy", machine, useWho());
  return (
    <div className="grid max-w-5xl grid-cols-[minmax(0,1fr)] gap-6 p-4 sm:p-6 lg:grid-cols-2">
      <Section title="Into the machine">
        <Into why={why} />
      </Section>
      <Section title="Out of it">
        <OutOf why={why} />
      </Section>
    </div>
  );
}

/** What goes on, and what went wrong; one at a time. */
function useCopy() {
  const [progress, setProgress] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  async function run(work: (done: (bytes: number) => void) => Promise<void>): Promise<void> {
    setError(null);
    setProgress(0);
    try {
      await work(setProgress);
    } catch (thrown) {
      setError(thrown);
    } finally {
      setProgress(null);
    }
  }
  return { progress, error, run };
}

function Into({ why }: { why: string | null }) {
  const machine = useCurrent();
  const picker = useRef<HTMLInputElement>(null);
  const [folder, setFolder] = useState("/root");
  const [files, setFiles] = useState<readonly Outgoing[]>([]);
  const [over, setOver] = useState(false);
  const { progress, error, run } = useCopy();
  const bytes = files.reduce((n, f) => n + f.file.size, 0);
  const take = (list: FileList | null): void =>
    setFiles([...(list ?? [])].map((file) => ({ name: file.webkitRelativePath || file.name, file })));
  function onSubmit(e: FormEvent): void {
    e.preventDefault();
    if (why !== null || progress !== null || !files.length) return;
    void run(async (done) => {
      await copyIn(machine.id, folder, files, done);
      say(`${plural(files.length, "file")} copied to ${folder}`);
      setFiles([]);
      picker.current!.value = "";
    });
  }
  return (
    <Panel className="p-3.5">
      <form onSubmit={onSubmit} className="flex flex-col gap-3.5">
        <label
          onDragOver={(e) => (e.preventDefault(), setOver(true))}
          onDragLeave={() => setOver(false)}
          onDrop={(e) => (e.preventDefault(), setOver(false), take(e.dataTransfer.files))}
          className={`flex min-h-24 flex-col items-center justify-center gap-1 rounded-md border border-dashed px-3 text-center ${over ? "border-accent bg-chosen" : "border-edge"}`}
        >
          <span>{files.length ? `${plural(files.length, "file")}, ${formatBytes(bytes)}` : "Drop files here, or choose some"}</span>
          {files.length > 0 && <span className="max-w-full truncate text-soft">{files.map((f) => f.name).join(", ")}</span>}
          <input
            ref={picker}
            type="file"
            multiple
            aria-label="Files"
            onChange={(e) => take(e.target.files)}
            className="mt-1 max-w-full text-xs text-soft file:mr-2 file:h-6 file:rounded file:border file:border-edge file:bg-raised file:px-2 file:text-ink"
          />
        </label>
        <Field label="To the folder">
          <input required value={folder} onChange={(e) => setFolder(e.target.value)} spellCheck={false} className="mono" />
        </Field>
        {error !== null && <Problem error={error} />}
        <div className="flex items-center gap-3">
          {progress !== null && (
            <span role="status" className="text-soft">
              {formatBytes(progress)} of {formatBytes(bytes)}
            </span>
          )}
          <Button
            type="submit"
            look="main"
            icon={Upload}
            busy={progress !== null}
            whyNot={why ?? (files.length ? null : "Choose files first")}
            className="ml-auto"
          >
            Copy in
          </Button>
        </div>
      </form>
    </Panel>
  );
}

function OutOf({ why }: { why: string | null }) {
  const machine = useCurrent();
  const [path, setPath] = useState("");
  const { progress, error, run } = useCopy();
  function onSubmit(e: FormEvent): void {
    e.preventDefault();
    if (why !== null || progress !== null) return;
    void run(async (done) => {
      const { name, blob } = await copyOut(machine.id, path, done);
      saveBlob(name, blob);
    });
  }
  return (
    <Panel className="p-3.5">
      <form onSubmit={onSubmit} className="flex flex-col gap-3.5">
        <Field label="Path" hint="A file as it is; a folder as a tar archive.">
          <input
            required
            value={path}
            onChange={(e) => setPath(e.target.value)}
            placeholder="/var/log/syslog"
            spellCheck={false}
            className="mono"
          />
        </Field>
        {error !== null && <Problem error={error} />}
        <div className="flex items-center gap-3">
          {progress !== null && (
            <span role="status" className="text-soft">
              {formatBytes(progress)}
            </span>
          )}
          <Button type="submit" look="main" icon={Download} busy={progress !== null} whyNot={why} className="ml-auto">
            Copy out
          </Button>
        </div>
      </form>
    </Panel>
  );
}
