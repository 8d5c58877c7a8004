/** Short words in a corner: what was done, or why not. */
import { Toast } from "@base-ui/react/toast";
import { X } from "lucide-react";
import { toHyperlaneError } from "#contract/errors.ts";
import { Button } from "./button.tsx";

const manager = Toast.createToastManager();

export const say = (title: string): void => void manager.add({ title, timeout: 3500 });
export function complain(thrown: unknown): void {
  const { message, hint } = toHyperlaneError(thrown);
  manager.add({ title: message, description: hint, type: "error", timeout: 9000, priority: "high" });
}

export function Toasts() {
  return (
    <Toast.Provider toastManager={manager} limit={4}>
      <Toast.Portal>
        <Toast.Viewport className="fixed right-3 bottom-3 z-50 flex w-[min(24rem,calc(100vw-1.5rem))] flex-col gap-2">
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  const { toasts } = Toast.useToastManager();
  return toasts.map((toast) => (
    <Toast.Root
      key={toast.id}
      toast={toast}
      className={`grow-in rounded-lg border border-line bg-raised shadow-lg ${toast.type === "error" ? "border-l-2 border-l-bad" : ""}`}
    >
      <Toast.Content className="flex items-start gap-2 py-2 pr-2 pl-3">
        <div className="min-w-0 flex-1 py-0.5">
          <Toast.Title className="font-medium break-words" />
          <Toast.Description className="text-soft break-words" />
        </div>
        <Toast.Close render={<Button look="quiet" icon={X} label="Dismiss" className="h-6 w-6!" />} />
      </Toast.Content>
    </Toast.Root>
  ));
}
