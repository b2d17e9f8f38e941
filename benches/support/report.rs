//! The rows: a Markdown table for people, JSON lines for machines.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

/// One row; what was not measured is `None`.
#[derive(Clone, Default, Debug)]
pub struct Row {
    pub workload: &'static str,
    pub row: String,
    pub entities: Option<u64>,
    pub events: Option<u64>,
    pub store: Option<&'static str>,
    pub transport: Option<&'static str>,
    pub cpu_s: Option<f64>,
    pub wall_s: Option<f64>,
    pub bytes: Option<u64>,
    pub messages: Option<u64>,
    pub round_trips: Option<f64>,
    pub peak_rss_bytes: Option<u64>,
    /// The figure, in words.
    pub figure: String,
    /// What was aimed at; empty where the row only stands beside another.
    pub target: &'static str,
}

impl Row {
    /// Events a CPU second.
    pub fn events_per_cpu_s(&self) -> Option<f64> {
        Some(self.events? as f64 / self.cpu_s?)
    }

    fn json(&self) -> Value {
        json!({
            "workload": self.workload,
            "row": self.row,
            "entities": self.entities,
            "events": self.events,
            "store": self.store,
            "transport": self.transport,
            "cpu_s": self.cpu_s,
            "wall_s": self.wall_s,
            "events_per_cpu_s": self.events_per_cpu_s(),
            "bytes": self.bytes,
            "messages": self.messages,
            "round_trips": self.round_trips,
            "peak_rss_bytes": self.peak_rss_bytes,
        })
    }
}

/// Takes rows as they come, and shows each at once.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub fn add(&mut self, row: Row) {
        println!("{:3} {:70} {}", row.workload, row.row, row.figure);
        self.rows.push(row);
    }

    /// Writes `target/bench-sync.jsonl` and prints the table.
    pub fn finish(self) {
        let mut table = "| workload | row | figure | target |\n|---|---|---|---|\n".to_owned();
        let mut lines = String::new();
        for row in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(table, "| {} | {} | {} | {} |", row.workload, row.row, row.figure, row.target);
            let _ = writeln!(lines, "{}", row.json());
        }
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target")), PathBuf::from);
        let path = target.join("bench-sync.jsonl");
        std::fs::write(&path, lines).expect("a target folder that can be written");
        println!("\n{table}\n{}", path.display());
    }
}

/// A number as people read it.
pub fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number);
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
