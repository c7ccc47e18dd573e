//! `cargo museum`: plants every bug there is, one after the other, tells which rule killed it and
//! after how many seeds, and fails when one survives.
#![expect(clippy::print_stdout, reason = "a command line tells on standard output")]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use paxosd::types::Bug;
use sim::museum::{self, Exhibit, NotPlanted, Seeds};
use sim::runner;

/// Where a document keeps the table.
const BEGIN: &str = "<!-- cargo museum: begin -->\n";
const END: &str = "<!-- cargo museum: end -->";

/// Plants bugs in the core and counts the seeds that it takes to notice each.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only this bug; may be given again.
    #[arg(long = "bug", value_parser = bug)]
    bugs: Vec<Bug>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The most seeds that a bug may live through.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// So many seeds are run without any bug first, and must hold.
    #[arg(long, default_value_t = 200)]
    controls: u64,
    /// Tells everything that happens in the seed that kills the one bug.
    #[arg(long, requires = "bugs")]
    trace: bool,
    /// Draws the shrunk story of each bug into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    html: Option<PathBuf>,
    /// Puts the table between the two marks in this document.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Why the museum cannot be shown.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    NotPlanted(#[from] NotPlanted),
    #[error("cannot put the table into {path}: {source}")]
    Document { path: PathBuf, source: io::Error },
    #[error("cannot draw the story in {path}: {source}")]
    Story { path: PathBuf, source: io::Error },
    #[error("{0} has no lines `<!-- cargo museum: begin -->` and `<!-- cargo museum: end -->`")]
    NoMarks(PathBuf),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match show(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("museum: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything that was planted was killed, and by nothing but itself.
fn show(arguments: &Arguments) -> Result<bool, Error> {
    let bugs = if arguments.bugs.is_empty() { Bug::ALL } else { arguments.bugs.as_slice() };
    let seeds = Seeds { from: arguments.from, most: arguments.seeds };
    let began = Instant::now();
    let exhibits = museum::visit(bugs, seeds, tell)?;
    let controls = runner::run_many(arguments.from, arguments.controls, |seed, violation| {
        println!("seed {seed} breaks without any bug: {violation}");
    });
    let took = began.elapsed();
    if arguments.trace {
        trace(&exhibits)?;
    }
    if let Some(folder) = &arguments.html {
        draw(&exhibits, folder)?;
    }
    let killed = exhibits.iter().filter(|it| it.kill.is_some()).count();
    println!(
        "\n{}\n{killed} of {} bugs killed; {} seeds without a bug, {} broken; in {:.0} s",
        table(&exhibits),
        exhibits.len(),
        controls.seeds,
        controls.failures.len(),
        took.as_secs_f64(),
    );
    if let Some(path) = &arguments.write {
        write(path, &document(&exhibits, seeds, took))?;
    }
    let is_killed = |it: &Exhibit| it.kill.as_ref().is_some_and(museum::Kill::is_its_own);
    Ok(exhibits.iter().all(is_killed) && controls.failures.is_empty())
}

fn tell(exhibit: &Exhibit) {
    let name = exhibit.bug.name();
    let Some(kill) = &exhibit.kill else {
        println!("{name}: SURVIVED");
        return;
    };
    println!("{name}: seed {}, the {}. one: {}", kill.seed, kill.seeds, kill.violation);
    if let Some(otherwise) = &kill.otherwise {
        println!("{name}: NOT ITS DOING: without it, {otherwise}");
    }
}

fn trace(exhibits: &[Exhibit]) -> Result<(), NotPlanted> {
    for Exhibit { bug, kill } in exhibits {
        let Some(kill) = kill else { continue };
        for line in museum::tell(*bug, kill.seed)? {
            println!("{line}");
        }
    }
    Ok(())
}

fn draw(exhibits: &[Exhibit], folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder)
        .map_err(|source| Error::Story { path: folder.to_owned(), source })?;
    for Exhibit { bug, kill } in exhibits {
        let Some(kill) = kill else { continue };
        let story = museum::story(*bug, kill.seed)?;
        let path = folder.join(format!("{}.html", bug.name()));
        println!("{}: {}\n{}", bug.name(), path.display(), story.text);
        fs::write(&path, story.html).map_err(|source| Error::Story { path, source })?;
    }
    Ok(())
}

fn table(exhibits: &[Exhibit]) -> String {
    let mut table = String::from("| bug | what it does | killed by | seeds |\n|---|---|---|---|\n");
    for Exhibit { bug, kill } in exhibits {
        let (rule, seeds) = match kill {
            None => ("nothing: it survived".to_owned(), "–".to_owned()),
            Some(kill) => (rule(&kill.violation), kill.seeds.to_string()),
        };
        let line = writeln!(table, "| `{}` | {} | {rule} | {seeds} |", bug.name(), bug.what());
        line.expect("a string takes every line");
    }
    table
}

/// The rule in the words of the oracle; for an assertion of the core, in those of the assertion.
fn rule(violation: &sim::Violation) -> String {
    if !violation.is_assertion() {
        return violation.rule.to_owned();
    }
    let (words, _) = violation.detail.rsplit_once(", at ").unwrap_or((&violation.detail, ""));
    format!("an assertion: {words}")
}

fn document(exhibits: &[Exhibit], seeds: Seeds, took: Duration) -> String {
    let most = exhibits.iter().filter_map(|it| it.kill.as_ref()).map(|kill| kill.seeds).max();
    format!(
        "{}\n{} bugs, each planted alone, seeds from {} on; the hardest took {} seeds, all of them \
         {:.0} s.\n",
        table(exhibits),
        exhibits.len(),
        seeds.from,
        most.unwrap_or(0),
        took.as_secs_f64(),
    )
}

/// Replaces what stands between the marks.
fn write(path: &Path, table: &str) -> Result<(), Error> {
    let failed = |source| Error::Document { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some(format!("{before}{BEGIN}{table}{END}{after}"))
    });
    let text = parts.ok_or_else(|| Error::NoMarks(path.to_owned()))?;
    fs::write(path, text).map_err(failed)
}

fn bug(name: &str) -> Result<Bug, String> {
    let known = || Bug::ALL.iter().map(|bug| bug.name()).collect::<Vec<_>>().join(", ");
    let bug = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
    bug.ok_or_else(|| format!("no such bug; there are {}", known()))
}
