/**
 * A table of any length: only the rows in sight are drawn. Its order is in the address; arrows and j k move, Enter opens, x marks.
 */
import {
  createColumnHelper,
  createSortedRowModel,
  rowSelectionFeature,
  rowSortingFeature,
  tableFeatures,
  useTable,
  type RowSelectionState,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { memo, useMemo, useRef, useState, type ReactNode } from "react";
import { useKeys } from "../shell/keys.ts";

/** by: what it is ordered by. width: CSS. from: the narrowest screen that has it. */
export type Column<T> = {
  id: string;
  label: string;
  cell: (row: T) => ReactNode;
  by?: (row: T) => string | number;
  width?: string;
  right?: boolean;
  from?: "sm" | "md" | "lg";
};
type Props<T> = {
  label: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
  /** "name", or "-name" for the other way round. */
  sort?: string | undefined;
  onSort?: (sort: string) => void;
  onOpen?: (row: T) => void;
  marked?: RowSelectionState;
  onMarked?: (marked: RowSelectionState) => void;
  rowHeight?: number;
  /** In the place of rows. */
  empty?: ReactNode;
};

const features = tableFeatures({ rowSortingFeature, rowSelectionFeature, sortedRowModel: createSortedRowModel() });
const FROM = { sm: "max-sm:hidden", md: "max-md:hidden", lg: "max-lg:hidden" };
const compare = (a: string | number, b: string | number): number => (a < b ? -1 : a > b ? 1 : 0);

export function Table<T extends object>(props: Props<T>) {
  const { label, columns, rows, keyOf, sort = "", onSort, onOpen, marked, onMarked, rowHeight = 34, empty } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const helper = createColumnHelper<typeof features, T>();
  const defs = useMemo(
    () =>
      helper.columns(
        columns.map((c) =>
          helper.accessor((row: T) => c.by?.(row) ?? "", {
            id: c.id,
            header: c.label,
            enableSorting: c.by !== undefined,
            sortFn: (a, b, id) => compare(a.getValue<string | number>(id), b.getValue<string | number>(id)),
          }),
        ),
      ),
    [columns],
  );
  const table = useTable({
    features,
    columns: defs,
    data: rows as T[],
    getRowId: keyOf,
    enableRowSelection: onMarked !== undefined,
    state: {
      sorting: sort ? [{ id: sort.replace(/^-/, ""), desc: sort.startsWith("-") }] : [],
      rowSelection: marked ?? {},
    },
    onRowSelectionChange: (next) => onMarked?.(typeof next === "function" ? next(marked ?? {}) : next),
  });
  const shown = table.getRowModel().rows;
  const virtual = useVirtualizer({
    count: shown.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    getItemKey: (i) => shown[i]!.id,
    overscan: 12,
  });
  const move = (by: number): void => {
    if (!shown.length) return;
    const next = Math.max(0, Math.min(shown.length - 1, at + by));
    setAt(next);
    virtual.scrollToIndex(next);
  };
  const open = (): void => void (shown[at] && onOpen?.(shown[at].original));
  useKeys({
    ArrowDown: () => move(1),
    j: () => move(1),
    ArrowUp: () => move(-1),
    k: () => move(-1),
    ...(at >= 0 && { Enter: open, x: () => shown[at]?.toggleSelected(), Escape: () => (onMarked?.({}), setAt(-1)) }),
  });
  // What rows do, always the same function, so that a row is drawn anew only when it shows something else.
  const latest = useRef({ table, onOpen });
  latest.current = { table, onOpen };
  const acts = useRef<Acts<T>>({
    open: (row) => latest.current.onOpen?.(row),
    mark: (id, event) => latest.current.table.getRow(id).getToggleSelectedHandler()(event),
  }).current;
  const items = virtual.getVirtualItems();
  const above = items[0]?.start ?? 0;
  const below = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const width = columns.length + (onMarked ? 1 : 0);
  return (
    <div ref={scroller} tabIndex={-1} className="min-h-0 flex-1 overflow-auto outline-none">
      <table className="w-full border-collapse text-left" aria-label={label} aria-rowcount={shown.length + 1}>
        <thead className="sticky top-0 z-10 bg-page">
          <tr className="shadow-[inset_0_-1px_var(--line)]">
            {onMarked && (
              <th className="w-9 pl-4 sm:pl-6">
                <input
                  type="checkbox"
                  aria-label="Mark all"
                  className="block size-3.5 accent-accent"
                  checked={shown.length > 0 && table.getIsAllRowsSelected()}
                  ref={(box) => void (box && (box.indeterminate = table.getIsSomeRowsSelected() && !table.getIsAllRowsSelected()))}
                  onChange={() => table.toggleAllRowsSelected()}
                />
              </th>
            )}
            {columns.map((c) => (
              <Head key={c.id} column={c} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {above > 0 && <Gap height={above} width={width} />}
          {items.map(({ index }) => {
            const row = shown[index]!;
            return (
              <Row
                key={row.id}
                id={row.id}
                value={row.original}
                index={index}
                columns={columns}
                height={rowHeight}
                marked={onMarked ? row.getIsSelected() : undefined}
                current={index === at}
                acts={acts}
              />
            );
          })}
          {below > 0 && <Gap height={below} width={width} />}
        </tbody>
      </table>
      {!shown.length && empty}
    </div>
  );
}

type Acts<T> = { open: (row: T) => void; mark: (id: string, event: unknown) => void };
type RowProps<T> = {
  id: string;
  value: T;
  index: number;
  columns: readonly Column<T>[];
  height: number;
  /** undefined: rows of this table are not marked. */
  marked: boolean | undefined;
  current: boolean;
  acts: Acts<T>;
};

function RowOf<T>({ id, value, index, columns, height, marked, current, acts }: RowProps<T>) {
  return (
    <tr
      aria-rowindex={index + 2}
      aria-selected={marked || undefined}
      data-at={current || undefined}
      style={{ height }}
      onClick={() => acts.open(value)}
      className="border-b border-line hover:bg-hover data-at:bg-hover aria-selected:bg-chosen"
    >
      {marked !== undefined && (
        <td className="w-9 pl-4 sm:pl-6" onClick={(e) => e.stopPropagation()}>
          <input
            type="checkbox"
            aria-label={`Mark ${id}`}
            className="block size-3.5 accent-accent"
            checked={marked}
            onChange={(e) => acts.mark(id, e)}
          />
        </td>
      )}
      {columns.map((c) => (
        <td key={c.id} className={`${CELL} ${c.right ? "text-right" : ""} ${c.from ? FROM[c.from] : ""}`}>
          {c.cell(value)}
        </td>
      ))}
    </tr>
  );
}
const Row = memo(RowOf) as typeof RowOf;

const CELL = "max-w-0 truncate py-0 align-middle pr-2 pl-2 first:pl-4 last:pr-4 sm:first:pl-6 sm:last:pr-6";

function Head<T>({ column, sort, onSort }: { column: Column<T>; sort: string; onSort: ((sort: string) => void) | undefined }) {
  const { id, label, by, width, right, from } = column;
  const order = sort === id ? "ascending" : sort === `-${id}` ? "descending" : undefined;
  const Arrow = order === "descending" ? ArrowDown : ArrowUp;
  return (
    <th
      scope="col"
      aria-sort={order}
      style={{ width }}
      className={`h-8 pr-2 pl-2 font-normal whitespace-nowrap text-soft first:pl-4 last:pr-4 sm:first:pl-6 sm:last:pr-6 ${right ? "text-right" : ""} ${from ? FROM[from] : ""}`}
    >
      {by && onSort ? (
        <button
          type="button"
          onClick={() => onSort(order === "ascending" ? `-${id}` : id)}
          className="inline-flex items-center gap-1 hover:text-ink"
        >
          {label}
          {order && <Arrow size={12} aria-hidden />}
        </button>
      ) : (
        label || <span className="sr-only">Actions</span>
      )}
    </th>
  );
}

function Gap({ height, width }: { height: number; width: number }) {
  return (
    <tr aria-hidden style={{ height }}>
      <td colSpan={width} />
    </tr>
  );
}
