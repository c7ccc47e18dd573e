//! What the kernel says of processes: processor time and memory.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Processor time of the processes `pids`, all their threads, in user and system mode.
///
/// # Errors
/// When one of them has ended.
pub(crate) fn cpu(pids: &[u32]) -> Result<Duration> {
    pids.iter().map(|pid| cpu_of(&pid.to_string())).sum()
}

/// Processor time of this process.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu_of("self")
}

fn cpu_of(process: &str) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let ticks = ticks(&stat).with_context(|| format!("understand {path}"))?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_micros(ticks.saturating_mul(1_000_000) / ticks_per_second.max(1)))
}

/// User and system time in a line of /proc/PID/stat, in clock ticks. The second field is the
/// program's name in brackets, which may itself hold spaces and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The most memory that one of the processes `pids` has had resident so far, in bytes.
///
/// # Errors
/// When one of them has ended.
pub(crate) fn largest_peak(pids: &[u32]) -> Result<u64> {
    let mut largest = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let peak = kibibytes(&status, "VmHWM:").with_context(|| format!("understand {path}"))?;
        largest = largest.max(peak * 1024);
    }
    Ok(largest)
}

/// The number behind `name` in a file of lines like `VmHWM:   1234 kB`.
pub(crate) fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Whether the process `pid` still runs. One that has ended and was not waited for does not.
pub(crate) fn runs(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let state = stat.rsplit_once(')').and_then(|(_, fields)| fields.trim().chars().next());
    !matches!(state, Some('Z' | 'X') | None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "4211 (odd) name (x) S 1 4211 4211 0 -1 4194560 2310 0 3 0 157 43 9 8 20 0 7 0";
        assert_eq!(ticks(stat), Some(200));
        assert_eq!(ticks("4211 (etcd) S 1"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn peaks_are_read_in_kibibytes() {
        let status = "Name:\tetcd\nVmPeak:\t  999 kB\nVmHWM:\t   61544 kB\nVmRSS:\t 9 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(61_544));
        assert_eq!(kibibytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_runs_and_has_taken_memory() {
        let own = std::process::id();
        assert!(runs(own) && !runs(u32::MAX));
        assert!(largest_peak(&[own]).unwrap() > 100_000);
        assert_eq!(cpu(&[]).unwrap(), Duration::ZERO);
        own_cpu().unwrap();
    }
}
