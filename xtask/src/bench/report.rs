//! Figures and their limits.

/// One measured figure.
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what; empty for a ratio.
    pub unit: &'static str,
    /// Most that it may be.
    pub limit: f64,
}

impl Figure {
    /// Whether the limit is kept.
    pub fn kept(&self) -> bool {
        self.value <= self.limit
    }
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Markdown.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | measured | limit | |\n|---|---|---|---|\n");
    for figure in figures {
        let Figure { name, value, unit, limit } = figure;
        let word = if figure.kept() { "kept" } else { "MISSED" };
        text.push_str(&format!("| {name} | {value:.2} {unit} | {limit} {unit} | {word} |\n"));
    }
    text
}
