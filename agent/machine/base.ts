/** What a machine's RAM is the difference to: as long as it runs or sleeps, it must be there. A link to a template's, or its own. */
export function baseFile(recordsDir: string, id: string): string {
  return `${recordsDir}/${id}/base`;
}
