//! The figures of a run: told as they are measured, and at the end as a table or as JSON.

use serde_json::json;

/// What was measured, row by row.
pub struct Report {
    as_json: bool,
    rows: Vec<Row>,
}

struct Row {
    store: &'static str,
    what: String,
    figure: f64,
    unit: &'static str,
}

impl Report {
    /// A report with nothing in it.
    pub fn new(as_json: bool) -> Report {
        Report { as_json, rows: Vec::new() }
    }

    /// Adds a row, and tells it on standard error: a run takes minutes.
    pub fn add(
        &mut self,
        store: &'static str,
        what: impl Into<String>,
        figure: f64,
        unit: &'static str,
    ) {
        let what = what.into();
        eprintln!("{store:<10} {what:<44}{figure:>12.2} {unit}");
        self.rows.push(Row { store, what, figure, unit });
    }

    /// Prints all rows on standard output. Rates also as a ratio to `yardstick`, in rows a second.
    pub fn print(&self, yardstick: f64) {
        let ratio = |row: &Row| (row.unit == "/s").then(|| row.figure / yardstick);
        if self.as_json {
            let rows: Vec<_> = self
                .rows
                .iter()
                .map(|row| {
                    json!({ "store": row.store, "what": row.what, "figure": row.figure,
                            "unit": row.unit, "ratio_to_yardstick": ratio(row) })
                })
                .collect();
            println!("{:#}", json!({ "yardstick_per_second": yardstick, "rows": rows }));
            return;
        }
        println!("| store | what | figure | of the yardstick |\n| --- | --- | --- | --- |");
        println!("| | the yardstick | {yardstick:.0} /s | 1 |");
        for row in &self.rows {
            let Row { store, what, figure, unit } = row;
            let figure = match figure.abs() {
                figure if figure >= 100.0 => format!("{figure:.0}"),
                figure => format!("{figure:.2}"),
            };
            let ratio = ratio(row).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            println!("| {store} | {what} | {figure} {unit} | {ratio} |");
        }
    }
}
