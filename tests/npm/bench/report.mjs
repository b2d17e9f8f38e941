import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

export const median = numbers => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = sorted.length >> 1;
  return sorted.length % 2 ? sorted[at] : (sorted[at - 1] + sorted[at]) / 2;
};

const shown = number => (Math.abs(number) >= 1_000 ? Math.round(number).toLocaleString("en-US") : String(Number(number.toPrecision(3))));

/** Rows as they come, for people and for programs. */
export class Report {
  rows = [];

  /** `raw` are the numbers that the figure is the median of. */
  add({ browser, workload, row, unit, raw, aim = null, note = null, ...more }) {
    const figure = median(raw);
    this.rows.push({ browser, workload, row, figure, unit, aim, note, raw, ...more });
    console.log(`  ${workload} | ${row} | ${shown(figure)} ${unit}${aim ? ` (aim ${aim})` : ""}${note ? ` | ${note}` : ""}`);
  }

  /** A row that cannot be had here. */
  omit({ browser, workload, row, why }) {
    this.rows.push({ browser, workload, row, figure: null, unit: null, aim: null, note: why, raw: [] });
    console.log(`  ${workload} | ${row} | omitted: ${why}`);
  }

  /** One line a row, the browsers side by side. */
  table() {
    const browsers = [...new Set(this.rows.map(row => row.browser))];
    const lines = new Map();
    for (const row of this.rows) {
      const key = `${row.workload} | ${row.row}`;
      lines.set(key, { ...lines.get(key), [row.browser]: row, aim: row.aim ?? lines.get(key)?.aim });
    }
    const cell = row => (row === undefined ? "" : row.figure === null ? "omitted" : `${shown(row.figure)} ${row.unit}`);
    return [
      `| of | row | ${browsers.join(" | ")} | aim |`, `|---|---|${browsers.map(() => "---|").join("")}---|`,
      ...[...lines].map(([key, line]) => `| ${key} | ${browsers.map(name => cell(line[name])).join(" | ")} | ${line.aim ?? ""} |`),
    ].join("\n");
  }

  async save(file) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, this.rows.map(row => `${JSON.stringify(row)}\n`).join(""));
  }
}
