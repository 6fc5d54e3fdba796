//! The command line. Each command's arguments stand in its own file; their doc comments are the help text.

use crate::commands::{
    catalog, cert, completions, destroy, dns, doctor, hetzner, image, key, logs, man, orphans, plan, proxmox, rebuild,
    rescue, resume, schema, secret, site, ssh, status, up, verify, wizard,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  2    wrong use: unknown command, flag or server, or another Ostler is working on the server
  3    the spec, or a file or variable that it names, is at fault
  4    this machine or the vendor is at fault: disk space, QEMU, the image site, a catalog's server
  5    the server is at fault: no SSH, a failed task
  10   `plan --exit-code`: there is something to do
  70   a bug in Ostler, or a damaged state directory
  130  stopped by Ctrl-C; `ostler resume` goes on
Of several servers that failed, the greatest of their codes counts.";

/// Turns nothing into a provisioned Debian 13 server, and keeps it that way.
///
/// Without a command, in a terminal: asks what you want, as `ostler wizard` does.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do; without it, in a terminal, the wizard asks.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// How results and progress are shown.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    pub output: Output,
    /// Where Ostler keeps its state [default: /var/lib/ostler as root, else ~/.local/state/ostler]
    #[arg(long, global = true, env = crate::environment::STATE_DIR, hide_env_values = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Never ask; where a question would be needed, fail and name the flag that answers it.
    #[arg(long, global = true)]
    pub non_interactive: bool,
}

/// How results and progress are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people: live in a terminal, plain lines elsewhere.
    Human,
    /// For programs: JSON; on `up`, `resume`, `destroy` and `logs` one event a line.
    Json,
    /// Nothing but errors.
    Quiet,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask what you want, write it down as a spec file, and make the server if you like.
    Wizard(wizard::Arguments),
    /// Create the servers of a spec file, or bring them in line with it.
    Up(up::Arguments),
    /// Show what `up` would do; nothing is touched.
    Plan(plan::Arguments),
    /// Show servers: phase, address, last operation.
    Status(status::Arguments),
    /// Try what servers promise, on them and from here.
    Verify(verify::Arguments),
    /// Go on with a failed or interrupted operation, with the plan that it recorded.
    Resume(resume::Arguments),
    /// Make a server anew in its place: the same address, an empty disk.
    Rebuild(rebuild::Arguments),
    /// Undo everything that was created for a server.
    Destroy(destroy::Arguments),
    /// Show what happened to a server.
    Logs(logs::Arguments),
    /// Log in to a server, over its pinned host key.
    Ssh(ssh::Arguments),
    /// Open the SSH port of a server again whose tunnel is dead.
    Rescue(rescue::Arguments),
    /// Get the images that servers boot from.
    #[command(subcommand)]
    Image(image::Command),
    /// Make a key pair that lets you in.
    #[command(subcommand)]
    Key(key::Command),
    /// Store the secrets that spec files name, encrypted.
    #[command(subcommand)]
    Secret(secret::Command),
    /// Look at the records of zones.
    #[command(subcommand)]
    Dns(dns::Command),
    /// Deploy sites to servers that have Traefik, look at them, and take them away.
    #[command(subcommand)]
    Site(site::Command),
    /// Show certificates, and renew them.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Prepare a Proxmox VE host for Ostler, and keep templates there.
    #[command(subcommand)]
    Proxmox(proxmox::Command),
    /// Show what Hetzner Cloud has to offer: server types with prices, locations, images.
    #[command(subcommand)]
    Hetzner(hetzner::Command),
    /// Find what Ostler made at a provider's and no record knows any more.
    Orphans(orphans::Arguments),
    /// Fetch, show, check and create catalogs of apps.
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// Print the JSON Schema of the spec file, for editors.
    Schema(schema::Arguments),
    /// Report what this machine lacks, with the commands that mend it.
    Doctor(doctor::Arguments),
    /// Print the script that lets a shell complete commands and flags.
    Completions(completions::Arguments),
    /// Print the manual page, or write those of all commands.
    #[command(hide = true)]
    Man(man::Arguments),
}
