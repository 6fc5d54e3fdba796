//! Figures and their limits.

/// One measured figure.
pub struct Figure {
    /// Its row in the table.
    pub name: String,
    /// The measured value, in `unit`.
    pub value: f64,
    /// Empty for a ratio.
    pub unit: &'static str,
    /// The highest value that is allowed, in `unit`.
    pub limit: f64,
}

impl Figure {
    /// Whether the value is within the limit.
    pub fn kept(&self) -> bool {
        self.value <= self.limit
    }
}

/// The middle value; the greater of the two middle ones if their number is even.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The figures as a Markdown table.
pub fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | measured | limit | |\n|---|---|---|---|\n");
    for figure in figures {
        let Figure { name, value, unit, limit } = figure;
        let word = if figure.kept() { "kept" } else { "MISSED" };
        text.push_str(&format!("| {name} | {value:.2} {unit} | {limit} {unit} | {word} |\n"));
    }
    text
}
