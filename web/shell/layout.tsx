/** What is around every view: where one can go, and whether what is seen is current. */
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Menu as MenuIcon, Moon, Search, Sun, X } from "lucide-react";
import { useEffect, useState } from "react";
import { useLive } from "../data/live.ts";
import { useMe } from "../data/queries.ts";
import { Button, Hint } from "../kit/button.tsx";
import { Dialog } from "../kit/dialog.tsx";
import { ageOf } from "../kit/time.tsx";
import { useKeys } from "./keys.ts";
import { Palette } from "./palette.tsx";
import { PLACES } from "./places.ts";
import { setTheme, useTheme } from "./theme.ts";

const KEYS: [keys: string, what: string][] = [
  ["Ctrl K", "Search, and everything there is to do"],
  ["/", "Filter this list"],
  ["c", "Create a machine"],
  ["j k ↑ ↓", "Move in a list"],
  ["Enter", "Open what is chosen"],
  ["x", "Mark it, to do something with several"],
  ["g, then a letter", "Go: o m i v n d e s, as in the side bar"],
  ["?", "This list"],
];

export function Layout() {
  const navigate = useNavigate();
  const [palette, setPalette] = useState(false);
  const [help, setHelp] = useState(false);
  const [menu, setMenu] = useState(false);
  const path = useRouterState({ select: (s) => s.location.pathname });
  useEffect(() => setMenu(false), [path]);
  useKeys({
    "mod+k": () => setPalette((open) => !open),
    "?": () => setHelp(true),
    "/": () => document.querySelector<HTMLInputElement>("[data-search]")?.focus(),
    c: () => void navigate({ to: "/machines/new" }),
    ...Object.fromEntries(PLACES.map((p) => [`g ${p.key}`, () => void navigate({ to: p.to })])),
  });
  return (
    <div className="flex h-full flex-col md:flex-row">
      <a href="#view" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:bg-raised focus:p-2">
        Skip to the view
      </a>
      <header className="flex h-12 shrink-0 items-center gap-2 border-b border-line px-3 md:hidden">
        <Button look="quiet" icon={menu ? X : MenuIcon} label={menu ? "Close the menu" : "Menu"} onClick={() => setMenu(!menu)} />
        <Mark />
        <Connection short />
        <Button look="quiet" icon={Search} label="Search" className="ml-auto" onClick={() => setPalette(true)} />
      </header>
      <nav
        aria-label="Views"
        className={`${menu ? "flex" : "hidden"} shrink-0 flex-col gap-3 border-line p-3 max-md:border-b md:flex md:w-52 md:border-r`}
      >
        <div className="hidden h-7 items-center px-1.5 md:flex">
          <Mark />
        </div>
        <button
          type="button"
          onClick={() => setPalette(true)}
          className="hidden h-7 items-center gap-2 rounded-md border border-line bg-panel px-2 text-soft hover:border-edge md:flex"
        >
          <Search size={13} aria-hidden /> Search <kbd className="ml-auto font-sans text-xs">Ctrl K</kbd>
        </button>
        <ul className="flex flex-col gap-px">
          {PLACES.map(({ to, label, icon: Icon, key }) => (
            <li key={to}>
              <Link
                to={to}
                activeOptions={{ exact: to === "/" }}
                title={`g ${key}`}
                className="flex h-7 items-center gap-2.5 rounded-md px-2 text-soft hover:bg-hover hover:text-ink data-[status=active]:bg-hover data-[status=active]:font-medium data-[status=active]:text-ink"
              >
                <Icon size={14} aria-hidden /> {label}
              </Link>
            </li>
          ))}
        </ul>
        <Foot />
      </nav>
      <main id="view" tabIndex={-1} className="relative flex min-h-0 min-w-0 flex-1 flex-col overflow-y-auto outline-none">
        <Outlet />
      </main>
      <Palette open={palette} onOpenChange={setPalette} />
      <Dialog open={help} onOpenChange={setHelp} title="Keys">
        <dl className="grid grid-cols-[auto_1fr] gap-x-6 gap-y-2 p-4">
          {KEYS.map(([keys, what]) => (
            <div key={keys} className="contents">
              <dt className="font-mono text-xs">{keys}</dt>
              <dd className="text-soft">{what}</dd>
            </div>
          ))}
        </dl>
      </Dialog>
    </div>
  );
}

function Mark() {
  return (
    <Link to="/" className="flex items-center gap-2 font-semibold tracking-tight">
      <svg viewBox="0 0 16 16" className="size-5" aria-hidden>
        <rect width="16" height="16" rx="3.5" className="fill-ink" />
        <path d="M4 12 6.5 4M9.5 12 12 4" className="stroke-page" strokeWidth="1.8" strokeLinecap="round" />
        <path d="M6.6 8h2.8" className="stroke-accent" strokeWidth="1.8" strokeLinecap="round" />
      </svg>
      hyperlane
    </Link>
  );
}

function Foot() {
  const { me } = useMe();
  const theme = useTheme();
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  return (
    <div className="mt-auto flex items-center gap-2 px-1.5 pt-2">
      <div className="flex min-w-0 flex-1 flex-col">
        <span className="truncate">{me?.name}</span>
        <Connection />
      </div>
      <Button
        look="quiet"
        icon={dark ? Sun : Moon}
        label={dark ? "Light theme" : "Dark theme"}
        className="text-soft"
        onClick={() => setTheme(dark ? "light" : "dark")}
      />
    </div>
  );
}

/** Whether what is shown is current. short: nothing is said while all is well. */
function Connection({ short = false }: { short?: boolean }) {
  const live = useLive();
  const [, tick] = useState(0);
  useEffect(() => {
    if (live.state !== "offline") return;
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, [live]);
  if (live.state === "offline")
    return (
      <Hint text="The control plane does not answer. What you see is as it was then; it goes on by itself, and nothing is missed.">
        <span role="status" tabIndex={0} className="flex items-center gap-1.5 text-xs text-bad">
          <span aria-hidden className="size-1.5 rounded-full bg-bad busy" /> offline, {ageOf(live.since, Date.now())}
        </span>
      </Hint>
    );
  if (short) return null;
  return (
    <span role="status" className="flex items-center gap-1.5 text-xs text-soft">
      <span aria-hidden className={`size-1.5 rounded-full ${live.state === "live" ? "bg-ok" : "bg-idle busy"}`} />
      {live.state === "live" ? "live" : "connecting"}
    </span>
  );
}
