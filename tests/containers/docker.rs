//! The `docker` of the command line, and the image that all tests share.

use std::ffi::OsStr;
use std::fs;
use std::io::{Write as _, stderr};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// Set: a machine without Docker fails the tests instead of skipping them.
const REQUIRED: &str = "PAXOSD_DOCKER_REQUIRED";

/// Set: they are skipped wherever they run.
const SKIP: &str = "PAXOSD_DOCKER_SKIP";

/// The image that the node's image is built upon, of `base.sh`.
const BARE: &str = "paxosd-test-bare";

/// What the image is called when it is done, for those who look for it afterwards.
const TAG: &str = "paxosd-test-node";

/// What every object of these tests is labelled with.
pub(crate) const LABEL: &str = "paxosd-test";

/// The program under test, the release build or the other.
const PAXOSD: &str = env!("CARGO_BIN_EXE_paxosd");

/// An engine that is there, with the node's image.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The identity of the image: a name could be taken over by another run of these tests.
    pub(crate) image: String,
    /// Bytes of the image.
    pub(crate) bytes: u64,
    /// Of these, bytes that it takes over from its base.
    pub(crate) base_bytes: u64,
}

impl Engine {
    /// The engine; `None` where a test has to be skipped, which is said aloud.
    pub(crate) fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Result<Engine, String>> = OnceLock::new();
        if is_set(SKIP) {
            say(&format!("SKIPPED, NOTHING WAS TESTED: {SKIP} is set"));
            return None;
        }
        match FOUND.get_or_init(|| run(base_script()).map(|_| Self::build())) {
            Ok(engine) => Some(engine),
            Err(why) if is_set(REQUIRED) => panic!("{REQUIRED} is set, but {why}"),
            Err(why) => {
                say(&format!("SKIPPED, NOTHING WAS TESTED: {why}"));
                None
            }
        }
    }

    /// Builds the image as a person would who has a finished program.
    fn build() -> Self {
        let context = TempDir::new().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in ["Dockerfile", ".dockerignore"] {
            fs::copy(root.join(file), context.path().join(file)).unwrap();
        }
        fs::create_dir(context.path().join("dist")).unwrap();
        let program = context.path().join("dist/paxosd");
        fs::copy(PAXOSD, &program).unwrap();
        if cfg!(debug_assertions) {
            // Nobody ships a debug build, and with all its symbols it takes 80 MB.
            run(Command::new("strip").arg(&program)).unwrap();
        }
        let of_old_runs = format!("label={LABEL}");
        docker(&["image", "prune", "--force", "--filter", &of_old_runs, "--filter", "until=24h"]);
        let bare = format!("RUNTIME_IMAGE={BARE}");
        let image = docker(&[
            "build",
            "--quiet",
            "--label",
            LABEL,
            "--tag",
            TAG,
            "--build-arg",
            "RUST_IMAGE=paxosd-test-base",
            "--build-arg",
            &bare,
            context.path().to_str().unwrap(),
        ]);
        let (bytes, base_bytes) = (size_of(&image), size_of(BARE));
        Self { image, bytes, base_bytes }
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn size_of(image: &str) -> u64 {
    docker(&["image", "inspect", "--format", "{{.Size}}", image]).parse().unwrap()
}

/// Makes the base images where they are missing.
fn base_script() -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers/base.sh"))
}

/// What `docker` printed. It must succeed.
pub(crate) fn docker<S: AsRef<OsStr>>(arguments: &[S]) -> String {
    try_docker(arguments).unwrap_or_else(|why| panic!("{why}"))
}

/// Likewise, or its complaint.
pub(crate) fn try_docker<S: AsRef<OsStr>>(arguments: &[S]) -> Result<String, String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    run(command)
}

/// What a command printed, without the newline at its end; or its complaint.
pub(crate) fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Result<String, String> {
    let command = command.borrow_mut();
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout);
        return Ok(text.trim_end().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, said.trim_end()))
}

/// Says something that the test harness must not keep to itself, as it does with what is printed.
pub(crate) fn say(text: &str) {
    stderr().write_all(format!("containers: {text}\n").as_bytes()).unwrap();
}
