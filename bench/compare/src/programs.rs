//! The programs to measure: where they are, which versions, and how to get what is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::options::Product;

/// Where Debian puts what is written in Java.
const JARS: &str = "/usr/share/java";

/// What ZooKeeper's server needs beside what its own jar asks for: somewhere to write its log.
const ZOOKEEPER_JARS: [&str; 2] = ["zookeeper.jar", "slf4j-simple.jar"];

const ETCD_PACKAGES: &str = "etcd-server";
const ZOOKEEPER_PACKAGES: &str = "zookeeper libslf4j-java";
const JAVA_PACKAGES: &str = "default-jre-headless";
const SETPRIV_PACKAGES: &str = "util-linux";

/// What builds paxosd as it is shipped.
const BUILD: &str = "scripts/optimize.sh";

/// Where the programs are. Those of products that are not measured need not be there.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    pub(crate) paxosd: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) java: PathBuf,
    pub(crate) zookeeper_classes: String,
}

impl Programs {
    /// Finds what the `products` need; paxosd is at `paxosd`, or else where [`BUILD`] puts it.
    ///
    /// # Errors
    /// When something is missing, with the commands that install all of it.
    pub(crate) fn find(products: &[Product], paxosd: Option<&Path>) -> Result<Self> {
        let mut programs = Self::default();
        let mut missing = Missing::default();
        missing.look("setpriv", SETPRIV_PACKAGES);
        for product in products {
            match product {
                Product::Paxosd => match find_paxosd(paxosd) {
                    Ok(found) => programs.paxosd = found,
                    Err(error) => missing.others.push(error.to_string()),
                },
                Product::Etcd => programs.etcd = missing.look("etcd", ETCD_PACKAGES),
                Product::Zookeeper => {
                    programs.java = missing.look("java", JAVA_PACKAGES);
                    let jars = ZOOKEEPER_JARS.map(|jar| format!("{JARS}/{jar}"));
                    if !jars.iter().all(|jar| Path::new(jar).exists()) {
                        missing.packages.push(ZOOKEEPER_PACKAGES);
                    }
                    programs.zookeeper_classes = jars.join(":");
                }
            }
        }
        missing.none().map(|()| programs)
    }

    /// What `products` say of their versions.
    pub(crate) fn versions(&self, products: &[Product]) -> Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        for product in products {
            let (name, version) = match product {
                Product::Paxosd => ("paxosd", first_line(&self.paxosd, "--version")?),
                Product::Etcd => ("etcd", first_line(&self.etcd, "--version")?),
                Product::Zookeeper => {
                    let java = first_line(&self.java, "-version")?;
                    ("ZooKeeper", format!("{} on {java}", zookeeper_version()?))
                }
            };
            versions.insert(name.to_owned(), version);
        }
        Ok(versions)
    }
}

/// What to say where `paxosd` was built before the newest of its sources was written.
pub(crate) fn is_stale(paxosd: &Path) -> Option<String> {
    let built = fs::metadata(paxosd).and_then(|it| it.modified()).ok()?;
    let changed = newest(&root().join("src"))?;
    (built < changed).then(|| {
        format!("{} is older than what is in src/; this builds it anew: {BUILD}", paxosd.display())
    })
}

/// When the newest file in `dir` was written.
fn newest(dir: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let written = |path: PathBuf| {
        if path.is_dir() { newest(&path) } else { fs::metadata(path).ok()?.modified().ok() }
    };
    entries.filter_map(written).max()
}

/// What is missing, by how to get it.
#[derive(Debug, Default)]
struct Missing {
    packages: Vec<&'static str>,
    others: Vec<String>,
}

impl Missing {
    /// The program `name`; when it is not there, it is in `packages`.
    fn look(&mut self, name: &str, packages: &'static str) -> PathBuf {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|it| it.is_file());
        if found.is_none() {
            self.packages.push(packages);
        }
        found.unwrap_or_default()
    }

    fn none(mut self) -> Result<()> {
        if !self.packages.is_empty() {
            let packages = self.packages.join(" ");
            self.others.push(format!(
                "programs are missing; on Debian this installs them, or leave them out with \
                 --only:\n  apt-get install --no-install-recommends {packages}"
            ));
        }
        if self.others.is_empty() { Ok(()) } else { bail!("{}", self.others.join("\n")) }
    }
}

fn find_paxosd(told: Option<&Path>) -> Result<PathBuf> {
    let path = match told {
        Some(told) => told.to_owned(),
        None => own_folder()?.join("../optimized/release/paxosd"),
    };
    fs::canonicalize(&path).with_context(|| {
        let path = path.display();
        format!("{path} is missing; this builds it, or name another with --paxosd:\n  {BUILD}")
    })
}

/// The folder of this program.
pub(crate) fn own_folder() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    own.parent().map(Path::to_owned).context("this program is in no folder")
}

/// The root of this repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The first line that `program` says when it is asked for its version, wherever it says so.
fn first_line(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default().trim();
    let told = [("etcd Version:", "etcd"), ("openjdk version", "OpenJDK"), ("\"", "")];
    Ok(told.into_iter().fold(line.to_owned(), |line, (long, short)| line.replace(long, short)))
}

/// As the name of Debian's jar has it.
fn zookeeper_version() -> Result<String> {
    let names = fs::read_dir(JARS).with_context(|| format!("list {JARS}"))?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let version = names.filter_map(|name| version_in(&name).map(str::to_owned)).max();
    Ok(format!("ZooKeeper {}", version.as_deref().unwrap_or("of an unknown version")))
}

/// The version in a name like zookeeper-3.8.0.jar.
fn version_in(name: &str) -> Option<&str> {
    let version = name.strip_prefix("zookeeper-")?.strip_suffix(".jar")?;
    version.starts_with(|letter: char| letter.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_older_than_its_sources_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("paxosd");
        let file = fs::File::create(&program).unwrap();
        assert_eq!(is_stale(&program), None);
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert!(is_stale(&program).unwrap().contains(BUILD));
        assert_eq!(is_stale(Path::new("/no/paxosd")), None);
    }

    #[test]
    fn a_version_is_found_in_the_name_of_its_jar() {
        let names = ["zookeeper-3.8.0.jar", "zookeeper-jute-3.8.0.jar", "zookeeper.jar"];
        assert_eq!(names.map(version_in), [Some("3.8.0"), None, None]);
    }

    #[test]
    fn what_is_missing_is_named_with_what_installs_it() {
        let mut missing = Missing::default();
        assert!(missing.look("sh", "dash").ends_with("sh"));
        missing.look("no-such-program-here", ETCD_PACKAGES);
        missing.look("nor-this-one", JAVA_PACKAGES);
        let told = missing.none().unwrap_err().to_string();
        let line = "apt-get install --no-install-recommends etcd-server default-jre-headless";
        assert!(told.contains(line), "{told}");
        let told = find_paxosd(Some(Path::new("/no/paxosd"))).unwrap_err().to_string();
        assert!(told.contains(BUILD), "{told}");
    }
}
