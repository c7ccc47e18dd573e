//! What machine it was measured on, and how fast its disk really syncs.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::procfs::kibibytes;
use crate::tally::micros;

/// Bytes of a write whose sync is timed.
const BLOCK: [u8; 4096] = [7; 4096];

/// How many of them make a median that can be trusted.
const SYNCS: usize = 200;

/// Above this many waiting processes a machine is not idle.
const IDLE_LOAD_MAX: f64 = 0.5;

/// The machine, as it was before the first load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) file_system: String,
    pub(crate) kernel: String,
    /// The median of a write of 4 KiB into a written file and its `fdatasync`.
    pub(crate) sync_us: u64,
    /// The load average of the minute before.
    pub(crate) load_before: f64,
    /// Whether the packet filter follows connections of the loopback.
    pub(crate) is_filtered: bool,
}

impl Machine {
    /// This machine, with the disk that `dir` is on.
    pub(crate) fn look(dir: &Path) -> Result<Self> {
        let mounts = read("/proc/self/mounts")?;
        let full = fs::canonicalize(dir).with_context(|| format!("find {}", dir.display()))?;
        let memory = kibibytes(&read("/proc/meminfo")?, "MemTotal:").context("find MemTotal")?;
        let load = read("/proc/loadavg")?;
        let load = load.split(' ').next().and_then(|load| load.parse().ok());
        Ok(Self {
            processor: processor(&read("/proc/cpuinfo")?),
            cores: std::thread::available_parallelism().context("count the cores")?.get(),
            memory_bytes: memory * 1024,
            file_system: file_system(&mounts, &full),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease")?.trim()),
            sync_us: sync_us(dir)?,
            load_before: load.context("understand /proc/loadavg")?,
            is_filtered: is_filtered()?,
        })
    }

    /// What makes these figures lower than they could be.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let load = self.load_before;
        let busy = (load > IDLE_LOAD_MAX).then(|| {
            format!("the machine was not idle: its load average was {load:.2} before the start")
        });
        let filtered = self.is_filtered.then(|| {
            "the packet filter follows every connection of the loopback, as rules of Docker's make \
             it do, and takes a part of the processors; root can measure without by `unshare --net \
             sh -c 'ip link set lo up && cargo compare'`"
                .to_owned()
        });
        busy.into_iter().chain(filtered).collect()
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {path}"))
}

fn processor(cpuinfo: &str) -> String {
    let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    let name = named.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The kind of the file system that holds `path`.
fn file_system(mounts: &str, path: &Path) -> String {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let holding = mounted.filter(|(at, _)| path.starts_with(at));
    // Of two at one place, the later one hides the earlier.
    let nearest = holding.max_by_key(|(at, _)| at.len());
    nearest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// Whether a connection over the loopback is tracked by the kernel's packet filter.
fn is_filtered() -> Result<bool> {
    const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen on the loopback")?;
    let address = listener.local_addr().context("ask for the port")?;
    let _connection = TcpStream::connect(address).context("connect over the loopback")?;
    // A kernel that cannot track has no such file.
    Ok(fs::read_to_string(TRACKED).is_ok_and(|count| count.trim() != "0"))
}

fn sync_us(dir: &Path) -> Result<u64> {
    let path = dir.join("sync-probe");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&BLOCK, 0).context("write to the disk")?;
        file.sync_data().context("sync the disk")?;
        times.push(micros(started.elapsed()));
    }
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    times.sort_unstable();
    times.get(SYNCS / 2).copied().context("time a sync")
}

/// Today, in UTC, as YYYY-MM-DD.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86_400)
}

/// The date of a day since 1970-01-01, by the reckoning from 0000-03-01 that makes a leap day the
/// last of its year.
fn date(days: u64) -> String {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (19_722, "2023-12-31"),
            (19_723, "2024-01-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ];
        for (days, expected) in cases {
            assert_eq!(date(days), expected);
        }
    }

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/b /home xfs rw 0 0\n";
        let of = |path| file_system(mounts, Path::new(path));
        assert_eq!([of("/home/x"), of("/homely"), of("/run/a/b")], ["xfs", "ext4", "tmpfs"]);
        assert_eq!(file_system("", Path::new("/")), "unknown");
    }

    #[test]
    fn a_processor_without_a_name_is_told_by_its_kind() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: A  B\nmodel name\t: C\n"), "A  B");
        assert_eq!(processor("Features: fp"), std::env::consts::ARCH);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let machine = Machine::look(tempfile::tempdir().unwrap().path()).unwrap();
        assert!(machine.cores > 0 && machine.memory_bytes > 1 << 20, "{machine:?}");
        let idle = Machine { load_before: 0.1, is_filtered: false, ..machine };
        let busy = Machine { load_before: 2.0, ..idle.clone() };
        let filtered = Machine { is_filtered: true, ..idle.clone() };
        assert!(idle.warnings().is_empty(), "{:?}", idle.warnings());
        assert!(busy.warnings()[0].contains("not idle"), "{:?}", busy.warnings());
        assert!(filtered.warnings()[0].contains("unshare --net"), "{:?}", filtered.warnings());
    }
}
