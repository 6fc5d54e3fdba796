//! `cargo xtask bench` measures the figures in docs/benchmarks.md.
//!
//! Speed is the ratio to stock `ansible-playbook`: the same ansible-core from the same bundle, with its own defaults and the
//! same roles, on the same machine. The machine is reset to the same snapshot before each first run. The two take turns, and the
//! median of three rounds counts.

mod machine;
mod report;
mod stock;

use crate::{
    bundle, setup,
    shell::{ShellError, output, run},
};
use machine::Machine;
use report::{Figure, median};
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Measures.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only what needs no virtual machine.
    #[arg(long)]
    quick: bool,
    /// Rounds of the comparison; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only this comparison.
    #[arg(long, value_enum)]
    only: Option<Comparison>,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Comparison {
    /// One virtual machine.
    One,
    /// Eight servers at once.
    Eight,
    /// A template on Proxmox VE, with the image.
    Template,
    /// A bare server to a Swarm, with a shell script.
    Vps,
}

const OSTLER: &str = "target/release/ostler";
const SCRATCH: &str = "target/bench";

/// Runs the benchmarks. Fails if a figure exceeds its limit.
pub fn run_bench(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    setup::run_setup(setup::For::Use)?;
    bundle::run(&bundle::Arguments::default())?;
    run(Command::new(env!("CARGO")).args(["build", "--release", "--package", "ostler"]))?;
    std::fs::create_dir_all(SCRATCH)?;
    let mut figures = vec![version()?, status()?];
    let wanted = |comparison| !arguments.quick && arguments.only.is_none_or(|only| only == comparison);
    if wanted(Comparison::One) {
        figures.extend(against_stock(arguments.rounds)?);
    }
    if wanted(Comparison::Eight) {
        if rustix::process::geteuid().is_root() {
            figures.extend(eight_servers(arguments.rounds)?);
        } else {
            eprintln!("eight servers at once are not measured: that needs root");
        }
    }
    if wanted(Comparison::Template) {
        if rustix::process::geteuid().is_root() {
            figures.push(from_template()?);
        } else {
            eprintln!("a template is not measured: that needs root");
        }
    }
    if wanted(Comparison::Vps) {
        if rustix::process::geteuid().is_root() {
            figures.push(bare_to_swarm(arguments.rounds)?);
        } else {
            eprintln!("a bare server to a Swarm is not measured: that needs root");
        }
    }
    println!("{}", report::table(&figures));
    let missed: Vec<_> = figures.iter().filter(|figure| !figure.kept()).map(|figure| figure.name.as_str()).collect();
    if missed.is_empty() {
        Ok(())
    } else {
        Err(ShellError::Unmet(format!("over the limit: {}", missed.join(", "))).into())
    }
}

fn version() -> Result<Figure, ShellError> {
    let seconds = median(times(20, || output(Command::new(OSTLER).arg("--version")).map(drop))?);
    Ok(Figure { name: "`ostler --version`".into(), value: seconds * 1e3, unit: "ms", limit: 10.0 })
}

fn status() -> Result<Figure, ShellError> {
    const SERVERS: &str = "1000";
    let state = format!("{SCRATCH}/thousand");
    if !Path::new(&state).exists() {
        let begun = format!("{state}.begun");
        run(Command::new("rm").args(["-rf", &begun]))?;
        let populate = ["run", "--quiet", "--release", "--package", "ostler", "--example", "populate", "--"];
        run(Command::new(env!("CARGO")).args(populate).args([&begun, SERVERS]))?;
        run(Command::new("mv").args([&begun, &state]))?;
    }
    let seconds = median(times(20, || output(Command::new(OSTLER).args(["--state-dir", &state, "status"])).map(drop))?);
    Ok(Figure { name: format!("`ostler status`, {SERVERS} servers"), value: seconds * 1e3, unit: "ms", limit: 50.0 })
}

fn times(count: usize, mut work: impl FnMut() -> Result<(), ShellError>) -> Result<Vec<f64>, ShellError> {
    (0..count).map(|_| seconds(&mut work)).collect()
}

fn seconds(work: &mut impl FnMut() -> Result<(), ShellError>) -> Result<f64, ShellError> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn against_stock(rounds: usize) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let machine = Machine::create()?;
    let stock = stock::Stock::prepare(&machine)?;
    let (mut first, mut unchanged, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for round in 1..=rounds {
        machine.reset()?;
        let stock_first = stock.play(round)?;
        let stock_unchanged = stock.play(round)?;
        machine.reset()?;
        let (ostler_first, peak) = machine.up()?;
        let (ostler_unchanged, _) = machine.up()?;
        memory.push(peak);
        first.push(ratio(ostler_first, stock_first));
        unchanged.push(ratio(ostler_unchanged, stock_unchanged));
        let took = [stock_first, ostler_first, stock_unchanged, ostler_unchanged];
        for (all, one) in times.iter_mut().zip(took) {
            all.push(one.as_secs_f64());
        }
        eprintln!(
            "round {round}: first run {stock_first:.1?} stock, {ostler_first:.1?} ostler; \
             no change {stock_unchanged:.1?} stock, {ostler_unchanged:.1?} ostler"
        );
    }
    let [stock_first, ostler_first, stock_unchanged, ostler_unchanged] = times.map(median);
    println!("medians: first run {stock_first:.1} s stock, {ostler_first:.1} s ostler");
    println!("         no change {stock_unchanged:.1} s stock, {ostler_unchanged:.1} s ostler");
    Ok(vec![
        Figure { name: "first run, of stock".into(), value: median(first), unit: "", limit: 0.6 },
        Figure { name: "no-change run, of stock".into(), value: median(unchanged), unit: "", limit: 0.3 },
        Figure { name: "Ostler's own process, peak".into(), value: median(memory), unit: "MiB", limit: 60.0 },
    ])
}

/// Compares eight throw-away servers at once with stock Ansible, as ratios of time.
fn eight_servers(rounds: usize) -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    setup::run_setup(setup::For::Tests)?;
    let fleet = ["run", "--quiet", "--release", "--package", "ostler", "--example", "fleet", "--", OSTLER];
    let lines = output(Command::new(env!("CARGO")).args(fleet).arg(rounds.to_string()))?;
    let mut figures = Vec::new();
    for (run, name, limit) in [
        ("first", "eight servers, first run, of stock", 0.5),
        ("again", "eight servers, no-change run, of stock", 0.25),
    ] {
        let mut ratios = Vec::new();
        for line in lines.lines() {
            let round: serde_json::Value = serde_json::from_str(line)?;
            let [stock, ostler] = [0, 1].map(|index| round[run][index].as_f64().unwrap_or(f64::NAN));
            eprintln!("eight servers, {run}: {stock:.1} s stock, {ostler:.1} s ostler");
            ratios.push(ostler / stock);
        }
        figures.push(Figure { name: name.into(), value: median(ratios), unit: "", limit });
    }
    Ok(figures)
}

/// Compares a whole `up` on a Proxmox VE node from a template with one from the image, as a ratio of time.
fn from_template() -> Result<Figure, Box<dyn std::error::Error>> {
    let images = machine::images()?;
    let template = ["run", "--quiet", "--release", "--package", "ostler", "--example", "template", "--", OSTLER];
    let line = output(Command::new(env!("CARGO")).args(template).arg(images))?;
    let took: serde_json::Value = serde_json::from_str(line.trim())?;
    let [image, build, template] = ["image", "build", "template"].map(|key| took[key].as_f64().unwrap_or(f64::NAN));
    println!(
        "first boot: {image:.1} s from the image, {template:.1} s from a template, which takes {build:.1} s to build"
    );
    Ok(Figure {
        name: "first boot from a template, of from its image".into(),
        value: template / image,
        unit: "",
        limit: 0.6,
    })
}

/// Compares a bare server to a verified Swarm behind Traefik with the same by a shell script, as a ratio of time.
fn bare_to_swarm(rounds: usize) -> Result<Figure, Box<dyn std::error::Error>> {
    setup::run_setup(setup::For::Tests)?;
    let vps = ["run", "--quiet", "--release", "--package", "ostler", "--example", "vps", "--", OSTLER];
    let lines = output(Command::new(env!("CARGO")).args(vps).arg(rounds.to_string()))?;
    let mut ratios = Vec::new();
    for line in lines.lines() {
        let took: serde_json::Value = serde_json::from_str(line)?;
        let [script, first, again, login] =
            ["script", "first", "again", "login"].map(|key| took[key].as_f64().unwrap_or(f64::NAN));
        println!(
            "bare server to Swarm: {script:.1} s by a script, {first:.1} s ostler; no change {again:.1} s, a bare login {login:.1} s"
        );
        ratios.push(first / script);
    }
    Ok(Figure { name: "bare server to Swarm, of a script".into(), value: median(ratios), unit: "", limit: 1.3 })
}

fn ratio(ostler: Duration, stock: Duration) -> f64 {
    ostler.as_secs_f64() / stock.as_secs_f64()
}
