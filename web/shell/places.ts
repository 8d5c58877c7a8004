/** The views there are, for the side bar, the keys and the palette. */
import { Activity, Box, Cpu, HardDrive, Layers, LayoutDashboard, Network, Settings, type LucideIcon } from "lucide-react";

export type Place = { to: string; label: string; key: string; icon: LucideIcon };

export const PLACES: readonly Place[] = [
  { to: "/", label: "Overview", key: "o", icon: LayoutDashboard },
  { to: "/machines", label: "Machines", key: "m", icon: Box },
  { to: "/images", label: "Images", key: "i", icon: Layers },
  { to: "/volumes", label: "Volumes", key: "v", icon: HardDrive },
  { to: "/networks", label: "Networks", key: "n", icon: Network },
  { to: "/nodes", label: "Nodes", key: "d", icon: Cpu },
  { to: "/events", label: "Events", key: "e", icon: Activity },
  { to: "/settings", label: "Settings", key: "s", icon: Settings },
];
